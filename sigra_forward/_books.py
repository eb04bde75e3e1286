"""The ledger as perform and dispatch use it: what it is asked before an event goes out, and what is written after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from sigra_forward._ledger import FailedAttempt, Lane, Look, Receipt
from sigra_forward._names import type_name
from sigra_forward._outcome import CancelReason, Fault, Outcome, Result, Settlement, State
from sigra_forward.errors import ConfigurationError, SinkDisabledError

if TYPE_CHECKING:
    from sigra_forward._event import AuditEvent
    from sigra_forward._settle import RetryPolicy
    from sigra_forward._steps import Steps

PROBE_INTERVAL = 30.0
"""Seconds for which a lane's breaker stays open after a failure of the sink, unless the sink asks for longer."""

DISABLED_FOR = 100 * 365.25 * 86400
"""Seconds for which the breaker of a sink that is disabled stays open: until somebody closes it."""

BREAKER_OPEN = "breaker_open"


USED = ("lane", "look", "record", "block")
"""What perform and dispatch ask of a ledger."""

_DUPLICATES = {state: Settlement(state) for state in State if state is not State.RETRYABLE}


class Books:
    """
    A ledger, and the lanes that are known in it.

    Args:
        ledger: The ledger, sync or async.
        floor_of: Below which moment nothing is owed to the forwarder of that name, should its lane be a new one.
    """

    def __init__(self, ledger: Any, floor_of: Callable[[str], datetime]) -> None:
        self._ledger = ledger
        self._floor_of = floor_of
        self._lanes: dict[tuple[str, str], Lane] = {}

    def lane(self, source: str, forwarder: str) -> Steps[Lane]:
        """Return the lane, which the ledger is asked for once."""
        key = (source, forwarder)
        lane = self._lanes.get(key)
        if lane is None:
            lane = yield self._open, (source, forwarder, self._floor_of(forwarder)), None
            self._lanes[key] = lane
        return lane

    def look(self, forwarder: str, event: AuditEvent) -> Steps[Look]:
        """Return what the ledger knows of *event*."""
        lane = yield from self.lane(event.source, forwarder)
        look: Look = yield self._look, (lane.number, event.id), None
        return look

    @staticmethod
    def standing(look: Look, event: AuditEvent) -> Result | None:
        """Return what keeps *event* from being sent: that it is settled already, or that the lane's breaker is open."""
        receipt = look.receipt
        if receipt is not None and receipt.is_of(event.id, event.occurred_at) and receipt.state is not State.RETRYABLE:
            settlement = _DUPLICATES[receipt.state]
            return Result(Outcome.OK, receipt.reason, duplicate=True, ack=receipt.ack, settlement=settlement)
        if look.is_blocked:
            detail = "nothing was sent: the sink has failed, and the relay asks it again before anybody else does"
            return Result(Outcome.ERROR, BREAKER_OPEN, detail)
        return None

    def keep(
        self, forwarder: str, event: AuditEvent, result: Result, look: Look | None, policy: RetryPolicy
    ) -> Steps[None]:
        """Write down what *result* is worth keeping for."""
        if result.fault is Fault.SINK:
            lane = yield from self.lane(event.source, forwarder)
            yield self._block, (lane.number, blocked_for(result, policy, PROBE_INTERVAL)), None
            return
        receipt = receipt_of(event, result, look, policy)
        if receipt is not None:
            lane = yield from self.lane(event.source, forwarder)
            failures = () if receipt.state is State.COMPLETED else (failure_of(receipt),)
            yield self._record, (lane.number, [receipt], None, None, failures), None

    # One port each, for a bridge gives every port threads of its own. Async where the ledger is.

    def _open(self, arguments: tuple[Any, ...]) -> Any:
        return self._ledger.lane(*arguments)

    def _look(self, arguments: tuple[Any, ...]) -> Any:
        return self._ledger.look(*arguments)

    def _block(self, arguments: tuple[Any, ...]) -> Any:
        return self._ledger.block(*arguments)

    def _record(self, arguments: tuple[Any, ...]) -> Any:
        return self._ledger.record(*arguments)


def opened(ledger: Any, forwarders: Mapping[str, object]) -> Books:
    """
    Return the books of *ledger*: a lane that is new begins with its route's ``since``, or now.

    Raises:
        ConfigurationError: It is no ledger.
    """
    if isinstance(ledger, Books):
        return ledger
    if not all(callable(getattr(ledger, name, None)) for name in USED):
        msg = f"perform(ledger=...) is a {type_name(ledger)}: pass an object with {', '.join(USED)}, see ports.Ledger"
        raise ConfigurationError(msg)

    def floor_of(name: str) -> datetime:
        since: datetime | None = getattr(forwarders.get(name), "since", None)
        return since or datetime.now(timezone.utc)

    return Books(ledger, floor_of)


def blocked_for(result: Result, policy: RetryPolicy, probe_interval: float) -> float:
    """Return the seconds for which a lane's breaker opens on *result*, which is the sink's fault."""
    if issubclass(type(result.exception), SinkDisabledError):
        return DISABLED_FOR
    return max(probe_interval, min(result.retry_after or 0.0, policy.max_retry_after))


def receipt_of(event: AuditEvent, result: Result, look: Look | None, policy: RetryPolicy) -> Receipt | None:
    """Return the receipt that *result* is worth, or ``None``: the event stays as it is, owed or to be tried again."""
    state = _state_of(result)
    if state is None:
        return None
    before = None if look is None else look.receipt
    if before is not None and not before.is_of(event.id, event.occurred_at):
        before = None
    now = datetime.now(timezone.utc) if look is None else look.now
    attempt = 1 if before is None else before.attempt + 1
    due_at = None
    if state is State.RETRYABLE:
        due_at = now + timedelta(seconds=policy.delay(attempt, result.retry_after))
    return Receipt(
        event.id,
        event.occurred_at,
        state,
        now if before is None else before.first_at,
        now,
        attempt,
        due_at,
        reason_text(result),
        result.detail,
        result.ack,
        1 if before is None else before.generation,
    )


def failure_of(receipt: Receipt) -> FailedAttempt:
    """Return the failed attempt that *receipt* is charged for."""
    return FailedAttempt(
        receipt.audit_event_id, receipt.generation, receipt.attempt, receipt.last_at, receipt.reason, receipt.detail
    )


def reason_text(result: Result) -> str | None:
    """Return the reason of *result* as text."""
    reason = result.reason
    return reason.value if isinstance(reason, CancelReason) else reason


def _state_of(result: Result) -> State | None:
    """Return the state that *result* leaves an event in; of a job that was ended for its own sake, none."""
    if result.outcome is Outcome.OK:
        return None if result.duplicate else State.COMPLETED
    if result.fault is not Fault.EVENT:
        return None
    return State.CANCELLED if result.outcome is Outcome.CANCEL else State.RETRYABLE
