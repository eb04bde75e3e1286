"""What a ledger keeps: lanes, receipts, failed attempts, leases and cursors."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import frozen

from sigra_forward._outcome import Ack, State

SAME_INSTANT = timedelta(seconds=1)
"""Stores round times. An ``occurred_at`` that differs by more is of another event, under a reused id."""


@frozen(slots=False)  # made for every event: filling a dict takes half the time
class Receipt:
    """
    Where one delivery stands: what a lane knows of one event.

    An event that its lane wants and that has no receipt is owed.

    Args:
        audit_event_id: The event.
        occurred_at: The event's own time, which tells it from another one under a reused id.
        state: Where the delivery stands.
        first_at: When the first attempt of this generation was.
        last_at: When the receipt was written.
        attempt: How many attempts have been charged to the event in this generation.
        due_at: When it is to be tried again; set with ``RETRYABLE`` only.
        reason: Why it stands there: `Result.reason` as text.
        detail: Our words, or the sink's.
        ack: The sink's own receipt.
        generation: 1, and one more with each replay.
        excuse: Why this dead letter shall not go out, where somebody has said so.
    """

    audit_event_id: str
    occurred_at: datetime
    state: State
    first_at: datetime
    last_at: datetime
    attempt: int = 1
    due_at: datetime | None = None
    reason: str | None = None
    detail: str | None = None
    ack: Ack | None = None
    generation: int = 1
    excuse: str | None = None

    def is_of(self, audit_event_id: str, occurred_at: datetime) -> bool:
        """Tell whether it is of that event, and not of another that had its id before."""
        return self.audit_event_id == audit_event_id and abs(self.occurred_at - occurred_at) <= SAME_INSTANT


@frozen
class FailedAttempt:
    """
    One attempt that failed and was charged to the event.

    Args:
        audit_event_id: The event.
        generation: The generation of its receipt then.
        attempt: Which attempt it was, 1-based.
        at: When.
        reason: `Result.reason` as text.
        detail: Our words, or the sink's.
    """

    audit_event_id: str
    generation: int
    attempt: int
    at: datetime
    reason: str | None = None
    detail: str | None = None


@frozen
class Lane:
    """
    One (source, forwarder) in a ledger.

    Args:
        number: What stands for it in the receipts.
        source: The permanent name of the audit table.
        forwarder: The permanent name of the forwarder.
        floor: Nothing that occurred before it is owed.
        blocked_until: Until when its breaker is open; ``None``: it is closed.
        leased_until: When its lease ends, or ended; ``None``: no relay has ever held it, or it was let go of.
    """

    number: int
    source: str
    forwarder: str
    floor: datetime
    blocked_until: datetime | None = None
    leased_until: datetime | None = None


@frozen
class Look:
    """
    What a ledger tells whoever is about to forward one event.

    Args:
        now: The time by the ledger's clock.
        receipt: The event's receipt, if there is one.
        blocked_until: Until when the lane's breaker is open; ``None``: it is closed.
    """

    now: datetime
    receipt: Receipt | None = None
    blocked_until: datetime | None = None

    @property
    def is_blocked(self) -> bool:
        """Tell whether the lane's breaker is open."""
        return self.blocked_until is not None and self.now < self.blocked_until


@frozen
class Lease:
    """
    One relay's right to work a lane, which ends by the ledger's clock unless it is renewed.

    Args:
        lane: The lane's number.
        epoch: One more with each holder. What an earlier holder still writes is refused by it.
        until: When it ends.
    """

    lane: int
    epoch: int
    until: datetime


@frozen
class Cursor:
    """
    How far one reading of the audit table has come, for one lane.

    Args:
        name: Which reading it is: the tail, a re-read, a sweep, a backfill.
        position: The last position that it has read; ``None``: it is at the table's beginning.
        until: The position at which it ends, where it has an end.
        moved_at: When it was written.
    """

    name: str
    position: str | None = None
    until: str | None = None
    moved_at: datetime | None = None
