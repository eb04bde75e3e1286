"""`JobArgs`: its round trip, and what it makes of hostile input."""

from __future__ import annotations

import json
import pickle
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from types import MappingProxyType

import pytest
from attrs.exceptions import FrozenInstanceError
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sigra_forward import InvalidJobArgsError, JobArgs
from tests.support_values import HOSTILE, SECRET, HidesItsName, HostileError, HostileMapping, HostileStr, SelfSpelledStr

KEYS = ("forwarder", "audit_event_id", "occurred_at")
NOON = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)

references = st.text(
    st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")),
    min_size=1,
    max_size=255,
)
offsets = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# Two days off the ends of the calendar, where UTC cannot overflow.
FIRST, LAST = datetime.fromisoformat("0001-01-03"), datetime.fromisoformat("9999-12-29")
instants = st.datetimes(FIRST, LAST, timezones=offsets)
job_args = st.builds(JobArgs, references, references, st.none() | instants)

anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.binary(max_size=20),
        st.text(st.characters(), max_size=300),
        st.text(st.sampled_from("a\x00\x1f\x7f\x85\u2028\u2029\ud800\udfff"), max_size=5),
        st.just("a" * 256),
        st.datetimes(),
    ),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=4),
    max_leaves=8,
)

NO_REFERENCES = [
    pytest.param("", id="empty"),
    pytest.param(SECRET * 50, id="too-long"),
    pytest.param(SECRET * 10**6, id="huge"),
    pytest.param(f"{SECRET}\x00", id="nul"),
    pytest.param(f"{SECRET}\n", id="newline"),
    pytest.param(f"{SECRET}\x85", id="c1-control"),
    pytest.param(f"{SECRET}\u2028", id="line-separator"),
    pytest.param(f"{SECRET}\u2029", id="paragraph-separator"),
    pytest.param(f"{SECRET}\ud800", id="lone-surrogate"),
    pytest.param(None, id="none"),
    pytest.param(42, id="int"),
    pytest.param(True, id="bool"),
    pytest.param(SECRET.encode(), id="bytes"),
    pytest.param([SECRET], id="list"),
    pytest.param({SECRET: [{SECRET: SECRET}]}, id="nested"),
    pytest.param(SelfSpelledStr(SECRET), id="subclass"),
    *(pytest.param(value, id=name) for name, value in HOSTILE.items()),
]


class RaisingZone(tzinfo):
    """A time zone that cannot say its offset."""

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        raise HostileError


class HostileDatetime(datetime):
    """An instant that raises when it is asked for its offset."""

    def utcoffset(self) -> timedelta:
        raise HostileError


def refusal(mapping: object) -> InvalidJobArgsError:
    """Return the error with which *mapping* is refused."""
    with pytest.raises(InvalidJobArgsError) as caught:
        JobArgs.from_dict(mapping)
    return caught.value


def raw(**changes: object) -> dict[str, object]:
    """Return well-formed job args as a dict, with *changes*."""
    return {"forwarder": "siem", "audit_event_id": "42", "occurred_at": None, **changes}


@given(job_args)
def test_a_round_trip_through_a_dict_loses_nothing(args: JobArgs) -> None:
    """What `to_dict` gives, `from_dict` reads back as the same args."""
    assert args == JobArgs.from_dict(args.to_dict())


@given(job_args)
def test_a_round_trip_through_json_loses_nothing(args: JobArgs) -> None:
    """The dict survives a JSON serializer, and UTF-8."""
    assert args == JobArgs.from_dict(json.loads(json.dumps(args.to_dict(), ensure_ascii=False).encode()))


@given(job_args, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_round_trip_through_pickle_loses_nothing(args: JobArgs, protocol: int) -> None:
    """Args are picklable as they are."""
    assert args == pickle.loads(pickle.dumps(args, protocol))


@given(job_args)
def test_a_dict_has_exactly_the_three_keys_as_text(args: JobArgs) -> None:
    """`to_dict` gives the three keys and no other, each an exact `str`, ``occurred_at`` perhaps ``None``."""
    actual = args.to_dict()

    assert KEYS == tuple(actual)
    assert {str} == {type(value) for value in actual.values() if value is not None}


def test_a_dict_spells_the_instant_in_iso_8601_and_utc() -> None:
    """``occurred_at`` is spelled in ISO 8601, in UTC."""
    args = JobArgs("siem", "42", NOON.astimezone(timezone(timedelta(hours=2))))

    assert {"forwarder": "siem", "audit_event_id": "42", "occurred_at": "2026-01-31T12:00:00+00:00"} == args.to_dict()


def test_a_dict_without_an_instant_says_none() -> None:
    """A missing ``occurred_at`` stays ``None``; the key is there all the same."""
    assert {"forwarder": "siem", "audit_event_id": "42", "occurred_at": None} == JobArgs("siem", "42").to_dict()


@given(instants)
def test_the_instant_is_held_as_utc(moment: datetime) -> None:
    """Whatever offset it came with, ``occurred_at`` is the same moment in UTC."""
    held = JobArgs("siem", "42", moment).occurred_at

    assert (moment, True) == (held, held is not None and held.tzinfo is timezone.utc)


@pytest.mark.parametrize(
    "spelling",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.000Z",
        "2026-01-31 12:00:00+00",
        "2026-01-31T14:00:00+0200",
        "2026-01-31T14:00+02:00",
    ],
)
def test_other_spellings_of_an_instant_are_read(spelling: str) -> None:
    """``Z``, and offsets and fractions that Python 3.10 does not know, are read on every Python."""
    assert JobArgs("siem", "42", NOON) == JobArgs.from_dict(raw(occurred_at=spelling))


@pytest.mark.parametrize(
    "occurred_at",
    [
        pytest.param("", id="empty"),
        pytest.param("yesterday", id="word"),
        pytest.param("2026-13-01T00:00:00Z", id="month-13"),
        pytest.param("2026-01-31T12:00:00", id="naive"),
        pytest.param("0001-01-01T00:00:00+23:59", id="before-the-calendar"),
        pytest.param("9999-12-31T23:59:59-23:59", id="after-the-calendar"),
        pytest.param(1769860800, id="epoch"),
        pytest.param(NOON, id="datetime"),
        pytest.param(SelfSpelledStr("2026-01-31T12:00:00Z"), id="subclass"),
        pytest.param(["2026-01-31T12:00:00Z"], id="nested"),
        *(pytest.param(value, id=name) for name, value in HOSTILE.items()),
    ],
)
def test_a_malformed_instant_is_none(occurred_at: object) -> None:
    """``occurred_at`` is for tracing alone: a malformed one is ``None``, and the job is not refused."""
    assert JobArgs("siem", "42") == JobArgs.from_dict(raw(occurred_at=occurred_at))


@given(anything)
def test_no_instant_is_a_reason_to_refuse_a_job(occurred_at: object) -> None:
    """Whatever stands under ``occurred_at``, the args are read, with an aware instant or none."""
    held = JobArgs.from_dict(raw(occurred_at=occurred_at)).occurred_at

    assert held is None or held.tzinfo is timezone.utc


def test_a_missing_instant_is_none() -> None:
    """Only two keys are required."""
    assert JobArgs("siem", "42") == JobArgs.from_dict({"forwarder": "siem", "audit_event_id": "42"})


def test_an_instant_that_cannot_be_read_is_none() -> None:
    """A mapping that raises for ``occurred_at`` alone is read."""
    mapping = HostileMapping(HostileError(), "occurred_at", forwarder="siem", audit_event_id="42")

    assert JobArgs("siem", "42") == JobArgs.from_dict(mapping)


@given(st.dictionaries(st.text(), anything, max_size=4))
def test_other_keys_are_ignored(others: dict[str, object]) -> None:
    """Whatever else stands in the mapping changes nothing."""
    mapping = {**others, **raw()}

    assert JobArgs("siem", "42") == JobArgs.from_dict(mapping)


@pytest.mark.parametrize(
    "mapping",
    [
        pytest.param(OrderedDict(raw()), id="ordered-dict"),
        pytest.param(UserDict(raw()), id="user-dict"),
        pytest.param(ChainMap(raw()), id="chain-map"),
        pytest.param(MappingProxyType(raw()), id="mapping-proxy"),
        pytest.param(HostileMapping(HostileError(), **raw()), id="hostile-but-for-its-items"),
    ],
)
def test_any_mapping_is_read(mapping: Mapping[str, object]) -> None:
    """Only the items of a mapping are asked for, so that any kind of mapping will do."""
    assert JobArgs("siem", "42") == JobArgs.from_dict(mapping)


@pytest.mark.parametrize("key", ["forwarder", "audit_event_id"])
@pytest.mark.parametrize("value", NO_REFERENCES)
def test_a_malformed_text_is_refused_by_its_key(key: str, value: object) -> None:
    """A malformed text is refused; the message names the key, and never echoes the value."""
    told = str(refusal(raw(**{key: value})))

    assert (True, False) == (told.startswith(f"job args key {key!r} must be a str of 1 to 255"), SECRET in told)


@pytest.mark.parametrize("key", ["forwarder", "audit_event_id"])
@pytest.mark.parametrize("value", NO_REFERENCES)
def test_the_constructor_keeps_the_same_rule(key: str, value: object) -> None:
    """What `from_dict` refuses, the constructor refuses in the same words."""
    with pytest.raises(InvalidJobArgsError) as caught:
        JobArgs(**raw(**{key: value}))

    assert str(refusal(raw(**{key: value}))) == str(caught.value)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        pytest.param("it breaks that rule", "", id="text"),
        pytest.param("got int", 42, id="int"),
        pytest.param("got HostileStr", HostileStr(), id="subclass"),
        pytest.param("got HidesItsName", HidesItsName(), id="hides-its-name"),
    ],
)
def test_a_refusal_says_what_was_wrong(expected: str, value: object) -> None:
    """A refusal names the rule, and the type of what is no exact `str`."""
    rule = "1 to 255 characters, none of them a control, surrogate, line or paragraph separator"

    assert f"job args key 'forwarder' must be a str of {rule}; {expected}" == str(refusal(raw(forwarder=value)))


@given(value=anything, key=st.sampled_from(["forwarder", "audit_event_id"]))
@example(value=SECRET * 10**5, key="forwarder")
def test_any_value_is_read_or_refused(value: object, key: str) -> None:
    """No value leads to anything but args that hold it as it is, or an `InvalidJobArgsError`."""
    try:
        held = getattr(JobArgs.from_dict(raw(**{key: value})), key)
    except InvalidJobArgsError:
        held = None

    assert held is None or (str, value) == (type(held), held)


@given(st.text(st.characters(), min_size=8), st.sampled_from(["forwarder", "audit_event_id"]))
def test_no_refusal_echoes_a_text(text: str, key: str) -> None:
    """However a text breaks the rule, the message does not hold it."""
    text = f"{text}\x00"
    assume(text not in str(refusal(raw(forwarder=42))))

    assert text not in str(refusal(raw(**{key: text})))


@pytest.mark.parametrize("key", ["forwarder", "audit_event_id"])
def test_a_missing_key_is_refused_by_its_name(key: str) -> None:
    """Both keys are required."""
    mapping = raw()
    del mapping[key]

    assert f"job args key {key!r} is missing" == str(refusal(mapping))


@pytest.mark.parametrize("key", ["forwarder", "audit_event_id"])
def test_a_key_that_cannot_be_read_is_refused_by_its_name(key: str) -> None:
    """A mapping that raises is refused; of what it raised the type alone is told."""
    mapping = HostileMapping(HostileError(SECRET), key, **raw())

    assert f"job args key {key!r} cannot be read: HostileError" == str(refusal(mapping))


@pytest.mark.parametrize("error", [KeyError(SECRET), HostileError(SECRET)], ids=["key-error", "other"])
def test_a_refusal_does_not_carry_the_foreign_exception(error: Exception) -> None:
    """What the mapping raised may quote the value, and is not chained."""
    refused = refusal(HostileMapping(error, "forwarder"))

    assert (None, None) == (refused.__cause__, refused.__context__)


@pytest.mark.parametrize(
    ("told", "mapping"),
    [
        pytest.param("NoneType", None, id="none"),
        pytest.param("str", SECRET, id="text"),
        pytest.param("list", [("forwarder", SECRET)], id="pairs"),
        pytest.param("int", 42, id="int"),
        pytest.param("HidesItsClass", HOSTILE["hides-its-class"], id="hides-its-class"),
        pytest.param("HidesItsName", HOSTILE["hides-its-name"], id="hides-its-name"),
    ],
)
def test_what_is_no_mapping_is_refused(told: str, mapping: object) -> None:
    """Job args must be a mapping; the message tells the type of what they are."""
    expected = f"job args must be a mapping with the keys forwarder and audit_event_id; got {told}"

    assert expected == str(refusal(mapping))


@given(anything)
def test_anything_is_read_or_refused(mapping: object) -> None:
    """Whatever a queue hands over, it is read or refused, and nothing else happens."""
    with pytest.raises(InvalidJobArgsError):
        JobArgs.from_dict(mapping)


def test_an_order_to_the_process_is_not_swallowed() -> None:
    """What is no `Exception` passes through."""

    class Interrupting(dict):
        def __getitem__(self, key: str) -> object:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        JobArgs.from_dict(Interrupting())


@pytest.mark.parametrize(
    ("told", "occurred_at"),
    [
        pytest.param("str", "2026-01-31T12:00:00Z", id="text"),
        pytest.param("int", 0, id="int"),
        pytest.param("HidesItsClass", HOSTILE["hides-its-class"], id="hides-its-class"),
        pytest.param("HidesItsName", HOSTILE["hides-its-name"], id="hides-its-name"),
    ],
)
def test_the_constructor_takes_an_instant_as_datetime_alone(told: str, occurred_at: object) -> None:
    """The constructor refuses an ``occurred_at`` that is no datetime, and tells its type."""
    with pytest.raises(
        InvalidJobArgsError, match=f"^job args key 'occurred_at' must be an aware datetime or None; got {told}$"
    ):
        JobArgs("siem", "42", occurred_at)


def test_the_constructor_refuses_a_naive_instant() -> None:
    """The constructor refuses a naive ``occurred_at``, and says what to do."""
    with pytest.raises(
        InvalidJobArgsError,
        match=r"^job args key 'occurred_at' must be aware: give it a tzinfo, such as datetime\.timezone\.utc$",
    ):
        JobArgs("siem", "42", datetime(2026, 1, 31))  # noqa: DTZ001 - the point


@pytest.mark.parametrize(
    "occurred_at",
    [
        pytest.param(datetime(2026, 1, 31, tzinfo=RaisingZone()), id="raising-zone"),
        pytest.param(HostileDatetime(2026, 1, 31, tzinfo=timezone.utc), id="raising-datetime"),
        pytest.param(datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), id="before-the-calendar"),
        pytest.param(datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), id="after-the-calendar"),
    ],
)
def test_the_constructor_refuses_an_instant_without_utc(occurred_at: datetime) -> None:
    """An instant that cannot be told in UTC is refused, from what it raised."""
    with pytest.raises(InvalidJobArgsError, match=r"^job args key 'occurred_at' cannot be told in UTC$") as caught:
        JobArgs("siem", "42", occurred_at)

    assert isinstance(caught.value.__cause__, (HostileError, OverflowError))


def test_args_are_frozen() -> None:
    """Args cannot be changed."""
    args = JobArgs("siem", "42")

    with pytest.raises(FrozenInstanceError):
        args.forwarder = "other"


def test_args_are_values() -> None:
    """Equal args have equal hashes, however their instant was given."""
    later = JobArgs("siem", "42", NOON.astimezone(timezone(timedelta(hours=2))))

    assert {JobArgs("siem", "42", NOON)} == {later}
