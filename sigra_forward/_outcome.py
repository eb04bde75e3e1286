"""What one perform came to, and where that leaves the delivery."""

from __future__ import annotations

from enum import Enum, unique

from attrs import field, frozen


@unique
class Outcome(Enum):
    """What one perform came to."""

    OK = "ok"
    CANCEL = "cancel"
    ERROR = "error"


@unique
class CancelReason(Enum):
    """Why a job is never retried. A job's cancel is not the event's: only ``SCHEMA_MISMATCH`` ends the event."""

    AUDIT_EVENT_NOT_FOUND = "audit_event_not_found"
    UNKNOWN_FORWARDER = "unknown_forwarder"
    SCHEMA_MISMATCH = "schema_mismatch"
    INVALID_JOB_ARGS = "invalid_job_args"
    NOT_ROUTED = "not_routed"


@unique
class Fault(Enum):
    """Who is to blame for a failure: this event alone, or the sink, for which every event would fail."""

    EVENT = "event"
    SINK = "sink"


@unique
class State(Enum):
    """Where a delivery stands, in Oban's words."""

    COMPLETED = "completed"
    RETRYABLE = "retryable"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


@frozen
class Ack:
    """
    A sink's own receipt for one event.

    Args:
        ref: What the sink calls it: an id, an offset.
        status: What the sink's yes means: ``"indexed"``, ``"202"``, ``"unconfirmed"``.
        digest: A checksum of what was sent, where the sink or the forwarder gives one.
    """

    ref: str | None = None
    status: str | None = None
    digest: str | None = None


@frozen
class Settlement:
    """
    Where an attempt leaves the delivery. Queue adapters only translate it.

    Args:
        state: The state.
        retry_in: Whole seconds until the next attempt. Set with ``RETRYABLE`` only, and not when a ledger's
            relay owns the retry.
    """

    state: State
    retry_in: int | None = None


COMPLETED = Settlement(State.COMPLETED)
CANCELLED = Settlement(State.CANCELLED)
DISCARDED = Settlement(State.DISCARDED)
LEFT_TO_RELAY = Settlement(State.RETRYABLE)
"""With a ledger the relay owns each retry, and the queue ends the job."""


@frozen
class Result:
    """
    The result of one perform.

    Args:
        outcome: What it came to.
        reason: A `CancelReason`, a `SinkError.reason`, or the name of an exception's type.
        detail: The message of our own errors, the sink's words in it; at most 500 characters.
        fault: Who is to blame, where somebody is.
        retry_after: The seconds for which the sink asked to be left alone.
        duplicate: The ledger already held the final receipt, and nothing was sent.
        ack: The sink's own receipt.
        exception: What was raised. In this process only: not in ``repr``, never compared or pickled.
        settlement: Where this leaves the delivery; made once, by perform.
    """

    outcome: Outcome
    reason: CancelReason | str | None = None
    detail: str | None = None
    fault: Fault | None = None
    retry_after: float | None = None
    duplicate: bool = False
    ack: Ack | None = None
    exception: BaseException | None = field(default=None, repr=False, eq=False)
    settlement: Settlement | None = None

    def __reduce__(self) -> tuple[type[Result], tuple[object, ...]]:
        """Pickle all but the exception, which may hold frames, rows and tokens."""
        without_exception = (
            self.outcome,
            self.reason,
            self.detail,
            self.fault,
            self.retry_after,
            self.duplicate,
            self.ack,
            None,
            self.settlement,
        )
        return type(self), without_exception
