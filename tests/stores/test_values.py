"""How stored times and metadata are read, whatever database they come from; the rest is held by the repositories' own tests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest

from sigra_forward.stores import adapter
from sigra_forward.stores._values import Times, metadata_column

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
NAIVE = NOON.replace(tzinfo=None)
EAST = timezone(timedelta(hours=2))


class DriversUTC(tzinfo):
    """A driver's own UTC, by one of its names."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        return self._name

    def utcoffset(self, _: datetime | None) -> timedelta:
        """Return nothing but nought."""
        return timedelta(0)


@pytest.mark.parametrize("zone", [None, EAST])
def test_a_time_with_a_zone_is_taken_as_it_is(zone: timezone | None) -> None:
    """Whichever zone the others are in."""
    assert NOON == Times(zone, 1, "Repository").read(NOON, "occurred_at")


def test_a_time_without_a_zone_is_of_the_one_that_is_given() -> None:
    """As the host has said."""
    assert NOON - timedelta(hours=2) == Times(EAST, 1, "Repository").read(NAIVE, "occurred_at")


def test_a_time_without_any_zone_is_an_error() -> None:
    """It says who has to be told."""
    with pytest.raises(
        ValueError, match=r"^occurred_at has no offset: tell Repository\(tz=\.\.\.\) which zone it is in$"
    ):
        Times(None, 1, "Repository").read(NAIVE, "occurred_at")


def test_what_adapters_are_made_of_is_there() -> None:
    """Every name that is promised to those who write one."""
    assert sorted(adapter.__all__) == [name for name in sorted(adapter.__all__) if hasattr(adapter, name)]


@pytest.mark.parametrize("name", ["UTC", "Etc/UTC"])
def test_a_column_in_a_drivers_own_utc_comes_in_pythons(name: str) -> None:
    """The instants are the same, and `timezone.utc` itself is their zone."""
    noon = NOON.replace(tzinfo=DriversUTC(name))
    moments = [noon, noon + timedelta(seconds=1)]

    told = Times(None, 1, "Repository").column("occurred_at", moments)

    assert [(NOON, timezone.utc), (NOON + timedelta(seconds=1), timezone.utc)] == [(each, each.tzinfo) for each in told]


@pytest.mark.parametrize(
    "column",
    [
        pytest.param([NOON, NOON], id="utc"),
        pytest.param([NOON, NOON.astimezone(EAST)], id="two_zones"),
        pytest.param([NOON.astimezone(EAST)] * 2, id="another_zone"),
        pytest.param([NOON.replace(tzinfo=DriversUTC("UTC")), None], id="null"),
    ],
)
def test_a_column_of_other_times_is_taken_as_it_is(column: list[datetime | None]) -> None:
    """With the zones that they have."""
    told = Times(None, 1, "Repository").column("inserted_at", column)

    assert [(each, each and each.tzinfo) for each in column] == [(each, each and each.tzinfo) for each in told]


def test_a_column_of_times_without_a_zone() -> None:
    """They are of the one that is given, and numbers are seconds."""
    told = Times(EAST, 1, "Repository").column("occurred_at", [NAIVE, NOON.timestamp(), None])

    assert [NOON - timedelta(hours=2), NOON, None] == list(told)


@pytest.mark.parametrize("is_checked", [False, True])
@pytest.mark.parametrize(
    ("expected", "column"),
    [
        pytest.param([{"a": 1}, {"b": [2]}], ['{"a": 1}', '{"b": [2]}'], id="objects"),
        pytest.param([{}, {"a": 1}], [None, '{"a": 1}'], id="null"),
        pytest.param([{}, {"a": 1}], ["null", '{"a": 1}'], id="json_null"),
        pytest.param([{"a": 1}, {"b": 2}], [{"a": 1}, {"b": 2}], id="mappings"),
    ],
)
def test_a_column_of_metadata(expected: list[object], column: list[Any], is_checked: bool) -> None:
    """Each of them is read, be they read at once or not."""
    assert expected == list(metadata_column(column, is_checked=is_checked))


@pytest.mark.parametrize("is_checked", [False, True])
@pytest.mark.parametrize(
    ("error", "column"),
    [
        pytest.param(TypeError("metadata must be a JSON object as text; it is a list"), ["{}", "[1]"], id="list"),
        pytest.param(ValueError("metadata is no JSON"), ["{}", "{"], id="torn"),
        pytest.param(ValueError("metadata is no JSON"), ["{}", '{"a":' * 10**5 + "1" + "}" * 10**5], id="deep"),
        pytest.param(ValueError("metadata is no JSON"), ["{},{}"], id="two_in_one"),
    ],
)
def test_a_column_with_what_is_no_metadata(error: Exception, column: list[str], is_checked: bool) -> None:
    """The error says what is wrong with the one that is at fault."""
    with pytest.raises(type(error), match=f"^{error}$"):
        metadata_column(column, is_checked=is_checked)
