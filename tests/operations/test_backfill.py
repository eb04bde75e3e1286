"""`backfill`: what lies below a lane's floor is owed, and paid beside what is new."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sigra_forward import ConfigurationError, State
from sigra_forward.operations import backfill, status
from sigra_forward.relay._readings import Pace
from tests.operations.support_operations import OperatedWorld
from tests.relay.support_lane import BEGIN

YEAR = timedelta(days=365)
OLD = [f"old {number:03}" for number in range(250)]


def grown(world: Any) -> Any:
    """Give the lane rows from before its floor, which its relay has passed."""
    for number, name in enumerate(OLD):
        world.commit(name, occurred_at=BEGIN - YEAR + timedelta(days=number))
    world.commit("new 0")
    world.run(700)
    assert ["new 0"] == world.sink.ids
    return world


SINCE = BEGIN - YEAR + timedelta(days=100)


def test_what_is_below_the_floor_is_paid(world: Any) -> None:
    """From the moment on that is said, by a relay that is at work, in the order of the table."""
    grown(world)

    is_lowered = backfill(world.operated, "siem", SINCE)
    under_way = status(world.operated)[0]
    world.run(10)

    assert (True, SINCE, SINCE) == (is_lowered, world.lane.floor, under_way.floor)
    assert (None, world.table.head()) == (under_way.backfill.position, under_way.backfill.until)
    assert ["new 0", *OLD[100:]] == world.sink.ids
    assert status(world.operated)[0].backfill is None


def test_a_relay_that_comes_later_pays_it(world: Any) -> None:
    """Its position is written down."""
    grown(world)
    world.worker.let_go()
    backfill(world.operated, "siem", SINCE)
    world.worker = world.another("second")

    world.run(0)

    assert ["new 0", *OLD[100:]] == world.sink.ids


def test_it_goes_on_where_a_relay_died(world: Any) -> None:
    """Nothing is sent twice, and nothing is left out."""
    grown(world)
    world.take_over(page=20, rate=20)
    backfill(world.operated, "siem", SINCE)
    world.run(7)
    sent = len(world.sink.ids)
    position = status(world.operated)[0].backfill.position
    world.clock.advance(3600)
    world.options = {}
    world.worker = world.another("second")

    world.run(10)

    assert (True, True) == (1 < sent < 151, position is not None)
    assert ["new 0", *OLD[100:]] == world.sink.ids


def test_what_is_new_goes_out_meanwhile(world: Any) -> None:
    """The tail and the backfill take turns."""
    grown(world)
    world.take_over(page=10, rate=10, pace=Pace(poll=1))
    backfill(world.operated, "siem", SINCE)
    world.run(5)
    world.commit("new 1")

    world.run(5)

    assert (True, True) == ("new 1" in world.sink.ids, len(world.sink.ids) < 150)


def test_a_floor_is_never_raised(world: Any) -> None:
    """A backfill from a moment that is owed already is none."""
    later = [backfill(world.operated, "siem", BEGIN + timedelta(days=number)) for number in (0, 1)]

    assert ([False, False], BEGIN) == (later, world.lane.floor)
    assert "backfill" not in world.ledger.cursors(world.lane.number)


def test_one_may_follow_another_before_it_is_finished(world: Any) -> None:
    """The floor of the last one counts, and all of the table is read for it."""
    grown(world)
    world.take_over(page=20, rate=20)
    backfill(world.operated, "siem", BEGIN - YEAR + timedelta(days=200))
    world.run(3)
    backfill(world.operated, "siem", SINCE)

    world.run(60)

    assert ["new 0", *OLD[100:]] == sorted(world.sink.ids)


def test_where_no_relay_ever_was(tmp_path: Path) -> None:
    """The first one pays it all, whichever of its readings comes first."""
    world = OperatedWorld(tmp_path)
    world.commit("old", occurred_at=BEGIN - YEAR)
    backfill(world.operated, "siem", BEGIN - YEAR)
    world.commit("new")

    world.run(10)
    world.operated.close()

    assert ["new", "old"] == sorted(world.sink.ids)
    assert {"new": State.COMPLETED, "old": State.COMPLETED} == world.states()


def test_of_an_empty_table_nothing_is_owed(world: Any) -> None:
    """It is finished when it begins."""
    assert backfill(world.operated, "siem", BEGIN - YEAR)
    world.run(10)

    assert (None, BEGIN - YEAR) == (status(world.operated)[0].backfill, world.lane.floor)


@pytest.mark.parametrize("since", [None, BEGIN.replace(tzinfo=None), "2026"], ids=["none", "naive", "text"])
def test_it_begins_at_a_moment(world: Any, since: Any) -> None:
    """With a zone."""
    with pytest.raises(ConfigurationError, match=r"^backfill\(since=\.\.\.\) must be a datetime with a time zone$"):
        backfill(world.operated, "siem", since)
