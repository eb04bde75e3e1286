"""`status`: where each lane stands."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import frozen

from sigra_forward._books import DISABLED_FOR
from sigra_forward._ledger import Cursor
from sigra_forward._outcome import State
from sigra_forward._watch import LATELY
from sigra_forward.operations._access import Access, swept_at
from sigra_forward.relay._readings import BACKFILL, TAIL

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward


_LONGEST_REST = timedelta(seconds=DISABLED_FOR / 2)


@frozen(kw_only=True)
class LaneStatus:
    """
    Where one lane stands.

    Args:
        source: The permanent name of the audit table.
        forwarder: The permanent name of the forwarder.
        is_registered: The `AuditForward` has a route to it.
        floor: Nothing that occurred before it is owed.
        retryable: How many are to be tried again, exactly.
        cancelled: How many were cancelled, and are kept.
        discarded: How many were discarded, and are kept.
        next_due: When the next one is to be tried again, be it past or to come.
        blocked_until: Until when the breaker is open, for the sink has failed; ``None``: it is closed.
        is_disabled: The breaker stays open until somebody closes it with `enable`: the sink wants nothing more.
        leased_until: Until when a relay has the lane, or had it; ``None``: none ever had, or the last one let go of it.
        is_relayed: A relay has the lane, or had it in the last minute.
        tail: How far the relay has come in reading what is new, and when it wrote that down.
        backfill: How far it has come in paying what was owed by `backfill`, while that is not finished.
        swept_at: When the last daily sweep over everything began that is finished.
    """

    source: str
    forwarder: str
    is_registered: bool
    floor: datetime
    retryable: int
    cancelled: int
    discarded: int
    next_due: datetime | None
    blocked_until: datetime | None
    is_disabled: bool
    leased_until: datetime | None
    is_relayed: bool
    tail: Cursor | None
    backfill: Cursor | None
    swept_at: datetime | None


def status(audit_forward: AuditForward) -> tuple[LaneStatus, ...]:
    """
    Return where each lane of the audit table stands, in the order in which they were made.

    Counts are exact, and what is completed is not looked at. How much is owed is told by `reconcile`, which reads the
    table.

    Raises:
        ConfigurationError: The `AuditForward` has no ledger.
        Exception: The ledger cannot be asked now.
    """
    access = Access(audit_forward)
    ask, ledger = access.ask, access.ledger
    now = ask(ledger.now)
    found = []
    for lane in access.lanes():
        counts, cursors = ask(ledger.counts, lane.number), ask(ledger.cursors, lane.number)
        backfill = cursors.get(BACKFILL)
        found.append(
            LaneStatus(
                source=lane.source,
                forwarder=lane.forwarder,
                is_registered=lane.forwarder in audit_forward.routes,
                floor=lane.floor,
                retryable=counts[State.RETRYABLE],
                cancelled=counts[State.CANCELLED],
                discarded=counts[State.DISCARDED],
                next_due=ask(ledger.next_due, lane.number),
                blocked_until=lane.blocked_until,
                is_disabled=lane.blocked_until is not None and lane.blocked_until - now > _LONGEST_REST,
                leased_until=lane.leased_until,
                is_relayed=lane.leased_until is not None and now - lane.leased_until < LATELY,
                tail=cursors.get(TAIL),
                backfill=None if backfill is None or backfill.until is None else backfill,
                swept_at=swept_at(cursors),
            )
        )
    return tuple(found)
