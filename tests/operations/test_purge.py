"""`safe_to_purge_before`: up to when the audit table has nothing in it that anybody still needs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sigra_forward import AuditForward, ConfigurationError, Route, State
from sigra_forward.operations import backfill, excuse, safe_to_purge_before
from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder
from tests.operations.support_operations import OperatedWorld
from tests.relay.support_lane import BEGIN

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def swept(world: Any) -> Any:
    """Give a lane that has paid a row a day, and whose last daily sweep began three days after its floor."""
    for day in range(3):
        world.commit(f"day {day}")
        world.run(0)
        world.clock.advance(86400 - (3600 if day == 0 else 0))
    world.run(0)
    world.clock.advance(3600)
    world.run(0)
    return world


def test_all_is_paid_up_to_the_last_sweep(swept: Any) -> None:
    """What it has not confirmed is kept, though all of it is paid."""
    swept.commit("later")
    swept.run(10)

    assert BEGIN + 3 * DAY == safe_to_purge_before(swept.operated)


@pytest.mark.parametrize("state", [State.RETRYABLE, State.CANCELLED, State.DISCARDED])
def test_what_is_not_settled_holds_it_back(swept: Any, state: State) -> None:
    """What is to be tried again, and dead letters until they are excused."""
    swept.commit("bad", "worse", occurred_at=BEGIN + DAY)
    swept.settle(state, "bad")
    swept.settle(State.COMPLETED, "worse")
    confirmed = BEGIN + 3 * DAY

    held = safe_to_purge_before(swept.operated)
    is_excused = excuse(swept.operated, "siem", "bad", "agreed")
    moment = safe_to_purge_before(swept.operated)

    assert (BEGIN + DAY, state is not State.RETRYABLE) == (held, is_excused)
    assert (moment >= confirmed) is is_excused


def test_what_is_owed_holds_it_back(swept: Any) -> None:
    """A row that came late, for example: it is found though no sweep has found it yet."""
    swept.commit("late", "later", occurred_at=BEGIN + 2 * HOUR)
    swept.commit("latest", occurred_at=BEGIN + 2 * DAY)

    assert BEGIN + 2 * HOUR == safe_to_purge_before(swept.operated)


def test_another_event_under_a_reused_id_is_owed(swept: Any) -> None:
    """The receipt of the one before it pays nothing."""
    swept.commit("day 1", occurred_at=BEGIN + 2 * HOUR)

    assert BEGIN + 2 * HOUR == safe_to_purge_before(swept.operated)


def test_what_is_not_wanted_does_not(swept: Any) -> None:
    """By its action, by the function, or for it lies below the floor."""
    swept.commit("other", occurred_at=BEGIN + 2 * HOUR, action="role.grant")
    swept.commit("no", "yes", occurred_at=BEGIN + 3 * HOUR)
    swept.settle(State.COMPLETED, "yes")
    swept.commit("old", occurred_at=BEGIN - HOUR)
    operated = swept.seen(actions=("session.*",), where=lambda event: event.id != "no")

    moment = safe_to_purge_before(operated)
    operated.close()

    assert moment >= BEGIN + 3 * DAY


def test_rows_without_a_time_hold_it_back_for_good(swept: Any) -> None:
    """Until they are paid: of what is owed it cannot be told whether it would be deleted."""
    swept.commit("bad", occurred_at=BEGIN + HOUR)
    swept.table.unreadable.add("bad")
    owed = safe_to_purge_before(swept.operated)
    operated = swept.seen(where=lambda event: False)
    unwanted = safe_to_purge_before(operated)
    operated.close()

    swept.settle(State.COMPLETED, "bad")

    assert (None, None) == (owed, unwanted)
    assert safe_to_purge_before(swept.operated) >= BEGIN + 3 * DAY


def test_before_the_first_sweep_is_finished_the_floor_counts(tmp_path: Path) -> None:
    """What lies below it is owed to nobody."""
    world = OperatedWorld(tmp_path)
    world.commit("1")
    world.clock.advance(60)
    before = safe_to_purge_before(world.operated)
    world.run(0)

    after = safe_to_purge_before(world.operated)
    world.operated.close()

    assert (BEGIN, BEGIN + timedelta(seconds=60)) == (before, after)


def test_a_sweep_on_its_way_takes_nothing_back(swept: Any) -> None:
    """The one before it is finished all the same."""
    before = safe_to_purge_before(swept.operated)
    swept.clock.advance(86400 - 3600)
    swept.worker.step()

    assert swept.ledger.cursors(1)["daily"].until is not None
    assert before == safe_to_purge_before(swept.operated)


def test_a_backfill_holds_it_back(swept: Any) -> None:
    """What it has to pay is owed."""
    swept.commit("old", occurred_at=BEGIN - 5 * DAY)
    swept.commit("older", occurred_at=BEGIN - 9 * DAY)
    swept.run(5)
    backfill(swept.operated, "siem", BEGIN - 7 * DAY)
    owed = safe_to_purge_before(swept.operated)
    swept.run(5)

    assert BEGIN - 5 * DAY == owed
    assert safe_to_purge_before(swept.operated) >= BEGIN + 3 * DAY


class TestSeveralLanes:
    """The least of what each says."""

    def test_the_least_counts(self, swept: Any) -> None:
        """A lane that was never swept needs all above its floor, be there a route to its forwarder or not."""
        retired = swept.ledger.lane("audit_events", "retired", BEGIN + DAY)
        swept.ledger.lane("other_events", "siem", BEGIN - DAY)

        least = safe_to_purge_before(swept.operated)

        assert retired.floor == least
        assert safe_to_purge_before(swept.operated, ["siem"]) >= BEGIN + 3 * DAY

    def test_one_that_is_new_is_stored(self, swept: Any) -> None:
        """Its floor counts from here on."""
        routes = {"siem": Route(swept.sink, since=BEGIN), "archive": Route(swept.sink, since=BEGIN + HOUR)}
        host = AuditForward(swept.table, routes, ledger=swept.ledger)

        assert BEGIN + HOUR == safe_to_purge_before(host)
        assert ["siem", "archive"] == [lane.forwarder for lane in swept.ledger.lanes()]

    def test_without_any_nothing_is_safe(self, world: Any) -> None:
        """There is nobody to say so."""
        host = AuditForward(InMemoryAuditRepository(source="other_events"), {}, ledger=world.ledger)

        assert (None, None) == (safe_to_purge_before(host), safe_to_purge_before(world.operated, []))

    def test_a_floor_in_the_future(self, swept: Any) -> None:
        """Nothing is owed until then, whatever was swept."""
        lane = swept.ledger.lane("audit_events", "later", BEGIN + 99 * DAY)
        swept.ledger.record(lane.number, [], None, swept.ledger.cursors(1)["daily"])

        assert lane.floor == safe_to_purge_before(swept.operated, ["later"])

    def test_names_are_checked(self, world: Any) -> None:
        """A text is none, and each must be a lane's."""
        with pytest.raises(ConfigurationError, match=r"^safe_to_purge_before\(forwarders=\.\.\.\) must be a sequence"):
            safe_to_purge_before(world.operated, "siem")
        with pytest.raises(ConfigurationError, match=r"^the ledger has no lane of that name"):
            safe_to_purge_before(world.operated, ["nobody"])


def test_without_a_table_to_read_it_cannot_be_told(world: Any) -> None:
    """It says what it needs."""

    class OneByOne:
        def get(self, audit_event_id: str) -> None: ...

    host = AuditForward(OneByOne(), {"siem": RecordingForwarder()}, ledger=world.ledger)

    with pytest.raises(ConfigurationError, match=r"whose repository has get_many, head, scan: see"):
        safe_to_purge_before(host)
