"""How stored times are read, whatever database they come from; the rest is held by the repositories' own tests."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from sigra_forward.stores import adapter
from sigra_forward.stores._values import Times

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
NAIVE = NOON.replace(tzinfo=None)
EAST = timezone(timedelta(hours=2))


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
