"""`AuditEvent`: one committed row of the host's audit table, as a value."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from datetime import date, datetime, timedelta, timezone
from enum import IntEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st

from sigra_forward import AuditEvent
from sigra_forward._event import FIELDS, events_of, is_event
from sigra_forward.testing import make_event
from tests.support_ids import spelled
from tests.support_values import SECRET, HidesItsClass, HostileInt, SelfSpelledStr

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
NAIVE = datetime.fromisoformat("2026-01-31T12:00:00")
UUID_TEXT = "0b8f4c1e-6a53-4c1d-9a57-2f1d8a0c7e11"

ID_FIELDS = ["actor_id", "target_id", "organization_id", "effective_user_id"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.binary(),
    st.decimals(),
    st.uuids(),
    st.datetimes(),
)
metadata = st.dictionaries(
    st.text(st.characters()),
    st.recursive(scalars, lambda children: st.lists(children) | st.dictionaries(st.text(), children), max_leaves=10),
    max_size=5,
)


class Number(IntEnum):
    """Ids by name."""

    ANSWER = 42


class Zoneless(datetime):
    """A datetime of another kind, such as pandas' or pendulum's."""


def test_three_fields_are_enough() -> None:
    """An event needs an id, an action and when it happened; the rest has defaults."""
    event = AuditEvent(id="42", action="session.create", occurred_at=NOON)
    expected = dict.fromkeys(FIELDS, None)
    expected.update(id="42", action="session.create", occurred_at=NOON, source="audit_events")
    expected.update(metadata={}, extra={})

    assert expected == {name: getattr(event, name) for name in FIELDS}


def test_the_fields_are_those_of_the_design() -> None:
    """The fields, and so the keys of `to_dict`, are exactly these, in this order."""
    expected = (
        "id action occurred_at source outcome actor_id actor_type target_id target_type ip_address user_agent"
        " organization_id effective_user_id inserted_at metadata extra"
    )

    assert tuple(expected.split()) == FIELDS


def test_fields_are_given_by_keyword() -> None:
    """No field goes by position."""
    with pytest.raises(TypeError):
        AuditEvent("42", "session.create", NOON)


def test_an_event_is_frozen() -> None:
    """An event cannot be changed."""
    event = make_event()

    with pytest.raises(FrozenInstanceError):
        event.action = "other"


@pytest.mark.parametrize("name", ["id", *ID_FIELDS])
@pytest.mark.parametrize(
    ("expected", "value"),
    [
        pytest.param("42", "42", id="text"),
        pytest.param("42", 42, id="int"),
        pytest.param("-1", -1, id="negative"),
        pytest.param("0", 0, id="zero"),
        pytest.param("42", Number.ANSWER, id="int-enum"),
        pytest.param("42", HostileInt(42), id="hostile-int"),
        pytest.param(UUID_TEXT, UUID(UUID_TEXT), id="uuid"),
        pytest.param(UUID_TEXT.upper(), UUID_TEXT.upper(), id="uuid-as-text"),
    ],
)
def test_ids_become_text(name: str, expected: str, value: object) -> None:
    """By any of the ids, integers and UUIDs become text, an exact `str`, and text is left as it is."""
    actual = getattr(make_event(**{name: value}), name)

    assert (expected, str) == (actual, type(actual))


@pytest.mark.parametrize("name", ["id", *ID_FIELDS])
@pytest.mark.parametrize(
    ("told", "value"),
    [
        pytest.param("bool", True, id="bool"),
        pytest.param("float", 42.0, id="float"),
        pytest.param("bytes", b"42", id="bytes"),
        pytest.param("list", [42], id="list"),
        pytest.param("SelfSpelledStr", SelfSpelledStr("42"), id="str-subclass"),
        pytest.param("HidesItsClass", HidesItsClass(), id="hides-its-class"),
    ],
)
def test_what_is_no_id_is_refused(name: str, told: str, value: object) -> None:
    """An id is text, an integer or a UUID; anything else is a `TypeError` that tells its type."""
    with pytest.raises(TypeError, match=f"^an id must be text, an integer or a UUID; got {told}$"):
        make_event(**{name: value})


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("a" * 256, id="too-long"),
        pytest.param(10**255, id="too-many-digits"),
        pytest.param(f"{SECRET}\x00", id="nul"),
        pytest.param(f"{SECRET}\ud800", id="surrogate"),
        pytest.param(f"{SECRET}\u2028", id="line-separator"),
    ],
)
def test_an_id_keeps_the_rule_of_job_args(value: object) -> None:
    """The id must be able to stand in job args, and the message does not echo it."""
    with pytest.raises(
        ValueError,
        match=r"^AuditEvent\(id=\.\.\.\) must be 1 to 255 characters, none of them a control, surrogate, line or"
        r" paragraph separator$",
    ):
        make_event(id=value)


@pytest.mark.parametrize("name", ID_FIELDS)
@pytest.mark.parametrize("value", [None, "", "a\nb" * 100], ids=["none", "empty", "any-text"])
def test_other_ids_take_any_text(name: str, value: str | None) -> None:
    """Whom and what an event is about may be missing, and is no key: any text will do."""
    assert value == getattr(make_event(**{name: value}), name)


@pytest.mark.parametrize("action", ["", None, 42, b"session.create"], ids=["empty", "none", "int", "bytes"])
def test_an_action_is_a_text(action: object) -> None:
    """The action is a text that is not empty."""
    with pytest.raises(ValueError, match=r"^AuditEvent\(action=\.\.\.\) must be a str that is not empty$"):
        make_event(action=action)


@pytest.mark.parametrize("source", ["", "a b", "a\n", "ä", None, 42, "a" * 256], ids=spelled)
def test_a_source_is_a_name(source: object) -> None:
    """The source is a permanent name, and keeps the rule of names."""
    with pytest.raises(ValueError, match=r"^AuditEvent\(source=\.\.\.\) must be 1 to 255 of A-Z a-z 0-9 _ \. : -$"):
        make_event(source=source)


@pytest.mark.parametrize("name", ["occurred_at", "inserted_at"])
def test_a_naive_time_is_refused(name: str) -> None:
    """A time without an offset names no moment; the message says what to do."""
    with pytest.raises(
        ValueError,
        match=rf"^AuditEvent\({name}=\.\.\.\) is naive: give it a tzinfo \(stock repositories take tz=\.\.\.\)$",
    ):
        make_event(**{name: NAIVE})


@pytest.mark.parametrize("name", ["occurred_at", "inserted_at"])
@pytest.mark.parametrize(
    ("told", "value"),
    [
        pytest.param("str", "2026-01-31T12:00:00Z", id="text"),
        pytest.param("int", 0, id="epoch"),
        pytest.param("date", date(2026, 1, 31), id="date"),
    ],
)
def test_what_is_no_time_is_refused(name: str, told: str, value: object) -> None:
    """A time is a datetime; the message tells the type of what is none."""
    with pytest.raises(TypeError, match=rf"^AuditEvent\({name}=\.\.\.\) must be an aware datetime; got {told}$"):
        make_event(**{name: value})


def test_when_it_happened_is_required() -> None:
    """``occurred_at`` cannot be ``None``; ``inserted_at`` can."""
    with pytest.raises(TypeError, match=r"occurred_at=.*got NoneType"):
        make_event(occurred_at=None)

    assert make_event(inserted_at=None).inserted_at is None


@pytest.mark.parametrize("name", ["occurred_at", "inserted_at"])
def test_a_time_is_kept_as_it_is(name: str) -> None:
    """An aware time keeps its offset and its kind."""
    moment = Zoneless(2026, 1, 31, tzinfo=timezone(timedelta(hours=2)))

    assert moment is getattr(make_event(**{name: moment}), name)


@pytest.mark.parametrize("name", ["metadata", "extra"])
@pytest.mark.parametrize(
    ("expected", "value"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"a": 1}, {"a": 1}, id="dict"),
        pytest.param({"a": 1}, OrderedDict(a=1), id="ordered-dict"),
        pytest.param({"a": 1}, MappingProxyType({"a": 1}), id="mapping"),
    ],
)
def test_details_become_a_plain_dict(name: str, expected: dict[str, object], value: object) -> None:
    """Any mapping becomes a plain dict, and none an empty one."""
    actual = getattr(make_event(**{name: value}), name)

    assert (expected, dict) == (actual, type(actual))


@pytest.mark.parametrize("name", ["metadata", "extra"])
def test_details_are_copied(name: str) -> None:
    """What the host does to its dict afterwards does not reach the event."""
    given_in = {"a": 1}
    event = make_event(**{name: given_in})
    given_in["a"] = 2

    assert {"a": 1} == getattr(event, name)


@pytest.mark.parametrize("name", ["metadata", "extra", "ip_address", "user_agent"])
def test_repr_hides_what_may_be_personal(name: str) -> None:
    """``repr`` shows neither the value nor the name of metadata, extra, IP address and agent."""
    value = {"key": SECRET} if name in {"metadata", "extra"} else SECRET
    shown = repr(make_event(**{name: value}))

    assert (False, False) == (SECRET in shown, name in shown)


def test_repr_shows_what_tells_events_apart() -> None:
    """``repr`` shows id, action and source."""
    shown = repr(make_event(id="42", action="auth.login", source="audit"))

    assert ["id='42'", "action='auth.login'", "source='audit'"] == [
        part for part in ("id='42'", "action='auth.login'", "source='audit'") if part in shown
    ]


def test_events_hash_by_source_and_id() -> None:
    """Two events of one row have one hash, whatever else differs."""
    assert hash(make_event(id="42")) == hash(make_event(id="42", action="other", metadata={"a": [1]}))


@pytest.mark.parametrize("changes", [{"id": "43"}, {"source": "other"}], ids=["id", "source"])
def test_events_of_other_rows_have_other_hashes(changes: dict[str, str]) -> None:
    """Another id or another source is another event."""
    event = make_event(id="42")

    assert hash(event) != hash(evolve(event, **changes))


@pytest.mark.parametrize("name", FIELDS)
def test_events_are_equal_in_all_fields(name: str) -> None:
    """Equal events are equal in every field: a row that was changed is seen."""
    times = {"occurred_at": NOON, "inserted_at": NOON}
    changes = {name: times.get(name, {"a": 1} if name in {"metadata", "extra"} else "other")}
    event = make_event(id="42")

    assert (True, False) == (event == evolve(event), event == evolve(event, **changes))


@pytest.mark.parametrize(
    ("expected", "audit_event_id"),
    [
        pytest.param(UUID_TEXT, UUID_TEXT, id="canonical-uuid"),
        pytest.param(f"audit:{UUID_TEXT.upper()}", UUID_TEXT.upper(), id="upper-case"),
        pytest.param(f"audit:{UUID_TEXT.replace('-', '')}", UUID_TEXT.replace("-", ""), id="without-dashes"),
        pytest.param(f"audit:A{UUID_TEXT[1:]}", f"A{UUID_TEXT[1:]}", id="one-upper-case-digit"),
        pytest.param(f"audit:{UUID_TEXT[:23]}{UUID_TEXT[24:]}", f"{UUID_TEXT[:23]}{UUID_TEXT[24:]}", id="a-dash-less"),
        pytest.param(f"audit:{{{UUID_TEXT}}}", f"{{{UUID_TEXT}}}", id="in-braces"),
        pytest.param(f"audit:{UUID_TEXT}0", f"{UUID_TEXT}0", id="a-digit-more"),
        pytest.param(f"audit:0{UUID_TEXT}", f"0{UUID_TEXT}", id="a-digit-before"),
        pytest.param(f"audit:{UUID_TEXT[:-1]}g", f"{UUID_TEXT[:-1]}g", id="no-digit"),
        pytest.param("audit:42", "42", id="number"),
    ],
)
def test_the_idempotency_key(expected: str, audit_event_id: str) -> None:
    """The key is the id if it is a canonical UUID of 36 characters, and else names the source too."""
    assert expected == make_event(id=audit_event_id, source="audit").idempotency_key


@given(st.uuids())
def test_every_uuid_is_its_own_key(audit_event_id: UUID) -> None:
    """The key of an event whose id is a UUID is that UUID."""
    assert str(audit_event_id) == make_event(id=audit_event_id).idempotency_key


def test_a_dict_spells_times_in_iso_8601() -> None:
    """`to_dict` has every field, times as text."""
    event = AuditEvent(id="42", action="session.create", occurred_at=NOON, inserted_at=NOON, metadata={"a": (1,)})
    expected: dict[str, object] = dict.fromkeys(FIELDS)
    expected.update(id="42", action="session.create", source="audit_events", metadata={"a": [1]}, extra={})
    expected.update(occurred_at="2026-01-31T12:00:00+00:00", inserted_at="2026-01-31T12:00:00+00:00")

    assert expected == event.to_dict()


@given(metadata, metadata, st.text(st.characters()))
def test_a_dict_is_safe_for_json_and_utf_8(
    details: dict[str, object], extra: dict[str, object], user_agent: str
) -> None:
    """Whatever the host recorded, `to_dict` is taken by a strict JSON encoder and by UTF-8, and read back equal."""
    as_dict = make_event(metadata=details, extra=extra, user_agent=user_agent).to_dict()
    encoded = json.dumps(as_dict, allow_nan=False, ensure_ascii=False).encode()

    assert as_dict == json.loads(encoded)


@given(metadata)
def test_a_dict_is_a_copy(details: dict[str, object]) -> None:
    """Changing what `to_dict` gave does not reach the event."""
    event = make_event(metadata=details)
    before = repr(event.metadata)
    event.to_dict()["metadata"].clear()

    assert before == repr(event.metadata)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_event_is_picklable(protocol: int) -> None:
    """An event survives pickle, for hosts that hand it to another process."""
    event = make_event(metadata={"a": [1]}, inserted_at=NOON)

    assert event == pickle.loads(pickle.dumps(event, protocol))


class Special(AuditEvent):
    """An event of the host's own kind."""


class Liar:
    """Says that it is an event."""

    @property
    def __class__(self) -> type:
        return AuditEvent


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        pytest.param(True, make_event(), id="event"),
        pytest.param(True, Special(id="42", action="a", occurred_at=NOON), id="subclass"),
        pytest.param(False, None, id="none"),
        pytest.param(False, {"id": "42"}, id="dict"),
        pytest.param(False, AuditEvent, id="the-class"),
        pytest.param(False, Liar(), id="liar"),
        pytest.param(False, HidesItsClass(), id="hides-its-class"),
    ],
)
def test_what_is_an_event(expected: bool, value: object) -> None:
    """An event is told by its type alone, not by what it says of its class."""
    assert expected is is_event(value)


COLUMNS: dict[str, list[Any]] = {
    "id": ["1", UUID_TEXT, "\N{GREEK SMALL LETTER ALPHA}"],
    "action": ["a", "b", "c"],
    "occurred_at": [NOON, NOON.astimezone(timezone(timedelta(hours=2))), NOON],
    "inserted_at": [NOON, None, NOON],
    "actor_id": ["7", None, "8"],
    "outcome": [None, "failure", None],
    "metadata": [{"a": 1}, {}, {"b": [2]}],
    "extra": [{}, {"tenant": 1}, {}],
}


class TestManyAtOnce:
    """`events_of` makes what `AuditEvent` makes, of what is as an event holds it."""

    @pytest.mark.parametrize("names", [list(COLUMNS), ["id", "action", "occurred_at"]])
    def test_they_are_equal(self, names: list[str]) -> None:
        """Field by field, those that are not given included; and no event shares a dict with another, or a row."""
        columns = {name: COLUMNS[name] for name in names}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

        events = events_of("logins", columns)

        assert [AuditEvent(source="logins", **row) for row in rows] == events  # type: ignore[arg-type]
        assert [list(FIELDS)] * len(rows) == [list(vars(event)) for event in events]
        dicts = [value for event in events for value in (event.metadata, event.extra)]
        given = [id(value) for row in rows for value in row.values()]
        assert 2 * len(rows) == len({id(value) for value in dicts} - set(given))
        assert [hash(event) for event in events] == [hash(AuditEvent(source="logins", **row)) for row in rows]  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("id", 1),
            ("id", ""),
            ("id", "x" * 256),
            ("id", "a\nb"),
            ("id", "a\u2028b"),
            ("id", None),
            ("id", SelfSpelledStr("a")),
            ("action", ""),
            ("action", None),
            ("occurred_at", NAIVE),
            ("occurred_at", None),
            ("occurred_at", "2026"),
            ("inserted_at", NAIVE),
            ("inserted_at", date(2026, 1, 1)),
            ("actor_id", 7),
            ("actor_id", UUID(UUID_TEXT)),
            ("metadata", None),
            ("metadata", OrderedDict(a=1)),
            ("extra", []),
        ],
        ids=spelled,
    )
    def test_what_is_not_as_an_event_holds_it(self, name: str, value: object) -> None:
        """It is left to `AuditEvent`, with all the others."""
        columns = {**COLUMNS, name: [*COLUMNS[name][:2], value]}

        assert events_of("logins", columns) is None

    def test_a_source_that_is_none(self) -> None:
        """Likewise."""
        assert events_of("no source", COLUMNS) is None
