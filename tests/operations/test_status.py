"""`status`: where each lane stands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sigra_forward import AuditForward, ConfigurationError, State
from sigra_forward.operations import status
from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder
from tests.relay.support_lane import BEGIN


def test_a_lane_is_told_as_it_stands(world: Any) -> None:
    """Its counts are exact, and its times are the ledger's."""
    world.commit("1", "2", "3", "4", "5", "6")
    world.settle(State.COMPLETED, "1")
    world.settle(State.CANCELLED, "2", "3")
    world.settle(State.DISCARDED, "4")
    due_at = world.now() + timedelta(minutes=5)
    world.settle(State.RETRYABLE, "5", "6", due_at=due_at)
    world.ledger.block(world.lane.number, 60)

    (lane,) = status(world.operated)

    assert ("audit_events", "siem", True, BEGIN) == (lane.source, lane.forwarder, lane.is_registered, lane.floor)
    assert (2, 2, 1) == (lane.retryable, lane.cancelled, lane.discarded)
    assert (due_at, world.now() + timedelta(seconds=60)) == (lane.next_due, lane.blocked_until)
    assert (world.lane.leased_until, False) == (lane.leased_until, lane.is_relayed)


def test_a_relay_at_work_is_told(world: Any) -> None:
    """How far it has come, and when its last daily sweep began, be another one on its way or not."""
    world.commit("1", "2")
    world.worker.let_go()
    away = status(world.operated)
    world.run(0)

    (lane,) = status(world.operated)
    world.clock.advance(86400)
    swept_at = lane.swept_at
    world.worker.step()
    (sweeping,) = status(world.operated)
    under_way = world.ledger.cursors(world.lane.number)["daily"]
    world.run(0)
    (swept,) = status(world.operated)

    assert (False, None, True) == (away[0].is_relayed, away[0].leased_until, lane.is_relayed)
    assert ("2", world.table.head()) == (lane.tail.position, lane.tail.position)
    second = BEGIN + timedelta(hours=1)  # a lane that is an hour old is swept once more
    assert (second, "2") == (swept_at, under_way.until)
    assert (second, True) == (sweeping.swept_at, swept.swept_at > BEGIN + timedelta(days=1))


def test_other_tables_are_left_out_and_other_forwarders_are_not(world: Any) -> None:
    """A lane of this table is told, though nobody has a route to its forwarder any more."""
    world.ledger.lane("other_events", "siem", BEGIN)
    world.ledger.lane("audit_events", "retired", BEGIN)

    assert [("siem", True), ("retired", False)] == [
        (lane.forwarder, lane.is_registered) for lane in status(world.operated)
    ]


def test_a_lane_that_was_never_worked_has_nothing_to_tell(world: Any) -> None:
    """No relay, no cursor, no sweep."""
    world.ledger.lane("audit_events", "retired", BEGIN)

    (_, lane) = status(world.operated)

    nothing = (lane.next_due, lane.blocked_until, lane.leased_until, lane.tail, lane.backfill, lane.swept_at)
    assert ((None,) * 6, False) == (nothing, lane.is_relayed)


def test_without_a_ledger_there_is_nothing_to_tell() -> None:
    """It says what it needs."""
    host = AuditForward(InMemoryAuditRepository(), {"siem": RecordingForwarder()})

    with pytest.raises(
        ConfigurationError, match=r"^this needs an AuditForward whose ledger has now, lane, .*see sigra_forward.ports$"
    ):
        status(host)
