"""The JSON of many events at once is that of each of them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sigra_forward import AuditEvent
from sigra_forward.sinks import json_texts
from sigra_forward.testing import make_event
from tests.support_values import HostileStr, SelfSpelledStr

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
EAST = timezone(timedelta(hours=2))

texts = st.sampled_from(["", "a", "100 %s", '"\\', "é", "\ud800", "a\n\u2028"]) | st.text(st.characters())
moments = st.datetimes(timezones=st.sampled_from([timezone.utc, EAST]))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary() | st.uuids() | moments
mappings = st.dictionaries(
    texts | st.integers(0, 1) | st.booleans(),
    st.recursive(scalars, lambda children: st.lists(children) | st.dictionaries(texts, children), max_leaves=6),
    max_size=4,
)
events = st.builds(
    AuditEvent,
    id=st.sampled_from("abc"),
    action=texts.filter(bool),
    occurred_at=moments,
    outcome=st.none() | st.just("success"),
    actor_id=st.none() | texts,
    ip_address=st.none() | texts.map(SelfSpelledStr),
    inserted_at=st.none() | moments,
    metadata=mappings,
    extra=st.just({}) | mappings,
)


class Other(AuditEvent):
    """An event that tells more of itself."""

    def to_dict(self) -> dict[str, object]:
        """Return all fields, and one more."""
        return {**super().to_dict(), "more": 1}


class Liar(str):
    """A text that is equal to everything."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def one_by_one(these: list[AuditEvent]) -> list[str]:
    """Return the JSON of each of them by itself."""
    return [json.dumps(event.to_dict(), separators=(",", ":")) for event in these]


@given(st.lists(events, max_size=7))
def test_it_is_the_json_of_each(these: list[AuditEvent]) -> None:
    """Whatever they hold, alike or not, and however many they are."""
    assert one_by_one(these) == json_texts(these)


@pytest.mark.parametrize("count", [1, 5])
def test_what_all_have_in_common(count: int) -> None:
    """Events that are the same in all but nothing are told as often as they are there."""
    these = [make_event(id="1", metadata={}, extra={})] * count

    assert one_by_one(these) == json_texts(these)


def test_one_of_another_kind_tells_of_itself() -> None:
    """A subclass may tell more."""
    these = [make_event(id="1")] * 4 + [Other(id="2", action="a", occurred_at=NOON)]

    assert (1, one_by_one(these)) == (json.loads(json_texts(these)[-1])["more"], json_texts(these))


@pytest.mark.parametrize("value", [pytest.param(HostileStr("x"), id="hostile"), pytest.param(Liar("x"), id="liar")])
@pytest.mark.parametrize("place", [0, 4])
def test_a_text_that_cannot_be_compared(value: Any, place: int) -> None:
    """A subclass of `str` is never asked what it is equal to."""
    these = [make_event(id=str(number), outcome="success") for number in range(5)]
    these[place] = evolve(these[place], outcome=value)

    assert ["x"] == [json.loads(text)["outcome"] for text in json_texts(these)][place : place + 1]


def test_values_that_are_equal_and_not_the_same() -> None:
    """True is 1, and 1 is 1.0, and each is told as it is."""
    these = [make_event(id=str(number), metadata={"a": value}) for number, value in enumerate([True, 1, 1.0, False, 0])]

    assert [True, 1, 1.0, False, 0] == [json.loads(text)["metadata"]["a"] for text in json_texts(these)]
    assert one_by_one(these) == json_texts(these)


def test_what_holds_itself() -> None:
    """It ends where it comes round, as it does in `AuditEvent.to_dict`."""
    around: dict[str, Any] = {"a": "b"}
    around["around"] = [around]
    these = [make_event(id=str(number)) for number in range(4)]
    for event in these:
        event.metadata["around"] = event.metadata
        event.metadata["other"] = around

    assert one_by_one(these) == json_texts(these)


def test_metadata_that_was_put_in_later() -> None:
    """What is no dict is told all the same."""
    these = [make_event(id=str(number)) for number in range(4)]
    vars(these[2])["metadata"] = ["a"]

    assert one_by_one(these) == json_texts(these)
