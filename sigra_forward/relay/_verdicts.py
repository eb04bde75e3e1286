"""Verdicts: whose fault a failure is, and the receipt that each event gets for what the sink said of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from attrs import field, mutable

from sigra_forward._books import reason_text
from sigra_forward._ledger import Receipt
from sigra_forward._outcome import Outcome, Result, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sigra_forward._event import AuditEvent
    from sigra_forward._settle import RetryPolicy

SEVERAL = 3
"""Different events in a row that fail without a yes between: it is the sink's fault, unless it takes a witness."""


class Said(NamedTuple):
    """What the sink said of one event."""

    event: AuditEvent
    result: Result


@mutable
class Tally:
    """
    What a sink has said, call by call, until it is written down.

    A failure is an event's fault only once the sink has said yes to another event after it, or in the same call. Until
    then the event is a suspect, which is not charged.

    Attributes:
        accepted: To these the sink said yes.
        charged: These have failed by their own fault.
        suspects: These have failed, and there was no yes since.
        fresh: Those of the suspects that have failed since all of this was last written down.
        stop: What has shown that it is the sink's fault: nothing more is to be tried.
    """

    accepted: list[Said] = field(factory=list)
    charged: list[Said] = field(factory=list)
    suspects: dict[str, Said] = field(factory=dict)
    fresh: list[Said] = field(factory=list)
    stop: Said | None = None

    def hear(self, said: Iterable[Said]) -> None:
        """Take what one call has brought."""
        heard = list(said)
        accepted = [each for each in heard if each.result.outcome is Outcome.OK]
        if len(accepted) == len(heard) and not self.suspects:  # as it is nearly always
            self.accepted += accepted
            return
        failed = [each for each in heard if each.result.outcome is not Outcome.OK]
        self.accepted += accepted
        if accepted:
            for each in accepted:
                self.suspects.pop(each.event.id, None)
            self.charged += [*self.suspects.values(), *failed]
            self.suspects, self.fresh = {}, []
            return
        self.suspects.update({each.event.id: each for each in failed})
        self.fresh += failed

    @property
    def is_doubtful(self) -> bool:
        """Tell whether so many are suspects that it may be the sink's fault."""
        return self.stop is None and len(self.suspects) >= SEVERAL

    def fail(self, said: Said) -> None:
        """Take what was *said* as the sink's fault: nobody is charged with what went before it."""
        self.stop = said
        self.suspects, self.fresh = {}, []


def completed(said: Said, before: Receipt | None, now: datetime) -> Receipt:
    """Return the receipt of an event to which the sink said yes."""
    if before is None:
        event, result = said
        return Receipt(event.id, event.occurred_at, State.COMPLETED, now, now, ack=result.ack)
    return _receipt(said, before, now, State.COMPLETED, attempt=before.attempt + 1)


def charged(said: Said, before: Receipt | None, now: datetime, policy: RetryPolicy) -> Receipt:
    """Return the receipt of an event that has failed by its own fault: tried again, or given up."""
    attempt = 1 if before is None else before.attempt + 1
    first_at = now if before is None or not before.attempt else before.first_at
    if said.result.outcome is Outcome.CANCEL:
        return _receipt(said, before, now, State.CANCELLED, attempt=attempt, first_at=first_at)
    if attempt >= policy.max_attempts and (now - first_at).total_seconds() >= policy.horizon:
        return _receipt(said, before, now, State.DISCARDED, attempt=attempt, first_at=first_at)
    due_at = now + timedelta(seconds=policy.delay(attempt, said.result.retry_after))
    return _receipt(said, before, now, State.RETRYABLE, attempt=attempt, first_at=first_at, due_at=due_at)


def put_off(said: Said, before: Receipt | None, now: datetime, policy: RetryPolicy) -> Receipt:
    """Return the receipt of a suspect: tried again, and charged nothing."""
    attempt = 0 if before is None else before.attempt
    due_at = now + timedelta(seconds=policy.delay(attempt + 1, said.result.retry_after))
    return _receipt(said, before, now, State.RETRYABLE, attempt=attempt, due_at=due_at)


def _receipt(
    said: Said,
    before: Receipt | None,
    now: datetime,
    state: State,
    *,
    attempt: int,
    first_at: datetime | None = None,
    due_at: datetime | None = None,
) -> Receipt:
    event, result = said.event, said.result
    return Receipt(
        event.id,
        event.occurred_at,
        state,
        first_at or (now if before is None else before.first_at),
        now,
        attempt,
        due_at,
        reason_text(result),
        result.detail,
        result.ack,
        1 if before is None else before.generation,
    )
