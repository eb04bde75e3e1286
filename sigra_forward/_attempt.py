"""One attempt at one delivery: what is known of it, and every decision that perform and dispatch take about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from attrs import evolve

from sigra_forward._awaitables import close_if_awaitable
from sigra_forward._event import AuditEvent, is_event
from sigra_forward._job_args import JobArgs, instant_in, reference_in
from sigra_forward._log import log_error
from sigra_forward._names import bounded, type_name
from sigra_forward._outcome import (
    COMPLETED,
    DISCARDED,
    LEFT_TO_RELAY,
    Ack,
    CancelReason,
    Fault,
    Outcome,
    Result,
    Settlement,
)
from sigra_forward._route import Dispatch, Route
from sigra_forward._settle import DEFAULT_POLICY, RetryPolicy, attempt_number, seconds, settle
from sigra_forward.errors import ConfigurationError, SchemaMismatchError, SigraForwardError, SinkError
from sigra_forward.telemetry import Delivered, Discarded, Failed, emit

if TYPE_CHECKING:
    from sigra_forward._books import Books
    from sigra_forward._ledger import Look
    from sigra_forward._steps import Steps
    from sigra_forward.ports import AnyForwarder, Telemetry

MAX_DETAIL = 500

UNEXPECTED_RETURN = "unexpected_return"

NOT_KEPT = "receipt_not_kept"

_DELIVERED = Result(Outcome.OK, settlement=COMPLETED)

# Before Python 3.11 their `TimeoutError` is not the builtin. One that was raised comes from a module that is loaded.
_OTHER_TIMEOUTS = ("asyncio.exceptions", "concurrent.futures._base")


class Attempt:
    """
    One attempt at one delivery.

    Args:
        route: Where it goes; ``None`` while that is not known.
        forwarder: The name of that route, and ``audit_event_id`` the event's id; ``""`` while not known.
        number: Which attempt it is, 1-based.
        policy: Decides about the next one.
        dispatch: ``ASYNC`` for a job, ``SYNC`` for an event in hand.
        event: The committed event, once it is known.
        final: An error is not tried again, whatever the policy says.
        books: The ledger, where there is one.
    """

    __slots__ = (
        "action",
        "args",
        "audit_event_id",
        "books",
        "dispatch",
        "ended",
        "event",
        "final",
        "forwarder",
        "look",
        "number",
        "policy",
        "route",
        "settlement",
    )

    def __init__(
        self,
        route: Route | None = None,
        forwarder: str = "",
        audit_event_id: str = "",
        *,
        number: int = 1,
        policy: RetryPolicy = DEFAULT_POLICY,
        dispatch: Dispatch = Dispatch.ASYNC,
        event: AuditEvent | None = None,
        final: bool = False,
        books: Books | None = None,
    ) -> None:
        self.route = route
        self.forwarder = forwarder
        self.audit_event_id = audit_event_id
        self.args: Any = None
        self.number = number
        self.policy = policy
        self.dispatch = dispatch
        self.event = event
        self.action: str | None = None
        self.final = final
        self.books = books
        self.look: Look | None = None
        self.ended: Result | None = None
        self.settlement: Settlement | None = None

    @classmethod
    def of_job(
        cls,
        args: JobArgs | Mapping[str, object],
        forwarders: Mapping[str, AnyForwarder | Route],
        attempt: object,
        policy: RetryPolicy,
        ledger: object,
        telemetry: Telemetry,
    ) -> Attempt:
        """Read a job. Where that alone decides the result, it is in ``ended``."""
        self = cls(number=attempt_number(attempt))
        try:
            self._read(args, forwarders, policy, ledger)
        except Exception as exc:  # noqa: BLE001 - a hostile mapping may raise anything
            self.ended = unread(exc)
        except BaseException as exc:
            self.interrupted(exc, telemetry)
            raise
        return self

    def _read(
        self,
        args: Any,
        forwarders: Mapping[str, AnyForwarder | Route],
        policy: RetryPolicy,
        ledger: object,
    ) -> None:
        if not isinstance(policy, RetryPolicy):
            msg = "perform(policy=...) must be a RetryPolicy"
            raise ConfigurationError(msg)
        self.policy = policy
        if ledger is not None:
            from sigra_forward._books import opened

            self.books = opened(ledger, forwarders)
        try:
            if issubclass(type(args), JobArgs):
                self.forwarder, self.audit_event_id = args.forwarder, args.audit_event_id
            else:
                self.forwarder, self.audit_event_id = reference_in(args)
            self.args = args
        except Exception as exc:  # noqa: BLE001 - job args come from outside
            self.ended = Result(Outcome.CANCEL, CancelReason.INVALID_JOB_ARGS, own_words(exc), exception=exc)
            return
        entry = forwarders.get(self.forwarder)
        if entry is None:
            self.ended = Result(Outcome.CANCEL, CancelReason.UNKNOWN_FORWARDER)
            return
        try:
            route = entry if isinstance(entry, Route) else Route(entry)
        except ConfigurationError as exc:  # registered with the bare function, and no forwarder
            self.ended = Result(Outcome.CANCEL, CancelReason.UNKNOWN_FORWARDER, own_words(exc), exception=exc)
            return
        self.route = route
        self.policy = route.policy or policy

    @property
    def occurred_at(self) -> datetime | None:
        """When the event happened, as the job says; read only where it matters."""
        args = self.args
        return args.occurred_at if issubclass(type(args), JobArgs) else instant_in(args)

    def steps(self, repository: Any, telemetry: Telemetry) -> Steps[Result]:
        """Yield each port that is to be called, be sent what it answers or thrown what it raises; return the result."""
        try:
            result = self.ended or (yield from self._forwarding(repository))
        except Exception as exc:  # noqa: BLE001 - whatever a port does, perform answers
            result = unread(exc)
        except BaseException as exc:
            self.interrupted(exc, telemetry)
            raise
        settled = self._settled(result, telemetry)
        if self.books is not None and self.event is not None:
            yield from self._keeping(settled, telemetry)
        self._tell(settled, telemetry)
        return settled

    def _forwarding(self, repository: Any) -> Steps[Result]:
        committed = self.event
        if committed is None:
            try:
                committed = yield repository.get, self.audit_event_id, None
            except Exception as exc:  # noqa: BLE001 - a host may raise anything, StopIteration too
                return unread(exc)
        outgoing = self.outgoing(committed)
        if isinstance(outgoing, Result):
            return outgoing
        if self.books is not None:
            event: Any = self.event
            self.look = yield from self.books.look(self.forwarder, event)
            ended = self.books.standing(self.look, event)
            if ended is not None:
                return ended
        route: Any = self.route
        try:
            answer = yield route.forwarder.forward, outgoing, route.deadline
        except Exception as exc:  # noqa: BLE001 - a sink may raise anything
            return refused(exc)
        return answered(answer)

    def _keeping(self, settled: Result, telemetry: Telemetry) -> Steps[None]:
        """Have the ledger keep it. A yes is kept even where an order to the process comes in the midst of that."""
        books: Any = self.books
        event: Any = self.event
        failure: BaseException | None = None
        order: BaseException | None = None
        for _ in range(2 if settled.outcome is Outcome.OK else 1):  # what is no yes can be found out once more
            try:
                yield from books.keep(self.forwarder, event, settled, self.look, self.policy)
            except GeneratorExit:  # there is nobody left to call a port
                raise
            except Exception as exc:  # noqa: BLE001 - the sink's answer stands, whatever the ledger does
                failure = exc
            except BaseException as exc:  # noqa: BLE001 - raised again below
                failure = order = exc
            else:
                failure = None
                break
        if failure is not None:
            self._not_kept(failure, telemetry)
        if order is not None:
            self.interrupted(order, telemetry)
            raise order

    def outgoing(self, event: object) -> AuditEvent | Result:
        """Return what the sink shall see of the *event* that the repository gave, or the result if it is nothing."""
        if event is None:
            return self._not_found()
        if not is_event(event):
            close_if_awaitable(event)
            detail = f"the repository gave a {type_name(event)}: it must give an AuditEvent or None"
            return Result(Outcome.ERROR, UNEXPECTED_RETURN, detail)
        self.event = event
        self.audit_event_id, self.action = event.id, event.action
        try:
            if not self.route.wants(event):  # type: ignore[union-attr]
                return Result(Outcome.CANCEL, CancelReason.NOT_ROUTED)
            return self.route.outgoing(event)  # type: ignore[union-attr]
        except Exception as exc:  # noqa: BLE001 - the host's own functions
            return Result(Outcome.ERROR, type_name(exc), own_words(exc), Fault.EVENT, exception=exc)

    def _not_found(self) -> Result:
        outcome = Outcome.CANCEL
        occurred_at = self.occurred_at if self.policy.not_found_grace else None
        if occurred_at is not None:
            age = datetime.now(timezone.utc) - occurred_at
            if age.total_seconds() < self.policy.not_found_grace:
                outcome = Outcome.ERROR
        return Result(outcome, CancelReason.AUDIT_EVENT_NOT_FOUND)

    def conclude(self, result: Result, telemetry: Telemetry) -> Result:
        """Settle *result*, tell of it, and return it settled."""
        settled = self._settled(result, telemetry)
        self._tell(settled, telemetry)
        return settled

    def _settled(self, result: Result, telemetry: Telemetry) -> Result:
        """Return *result* with its settlement."""
        try:
            settled = result if result.settlement is not None else evolve(result, settlement=self._settle(result))
        except BaseException as exc:  # out of the policy's backoff, which is the host's
            self.interrupted(exc, telemetry)
            raise
        self.settlement = settled.settlement  # before anyone is told, who may raise an order to the process
        return settled

    def _tell(self, settled: Result, telemetry: Telemetry) -> None:
        """Tell of *settled*; of a duplicate it was told when it was delivered."""
        if settled.outcome is Outcome.OK:
            if not settled.duplicate:
                emit(telemetry, Delivered(*self._named()))
            return
        settlement: Any = settled.settlement
        kind = None if settled.exception is None else type_name(settled.exception)
        reason = settled.reason
        emit(telemetry, Failed(*self._named(), settled.outcome, reason, settled.detail, kind, settlement.retry_in))
        if settlement is DISCARDED:
            emit(telemetry, Discarded(*self._named(), reason))

    def _not_kept(self, exc: BaseException, telemetry: Telemetry) -> None:
        """Tell that the ledger has not kept what it came to: a repeat may follow."""
        kind = type_name(exc)
        detail = own_words(exc) or "the ledger has not kept it: where the sink said yes, a repeat may follow"
        emit(telemetry, Failed(*self._named(), Outcome.ERROR, NOT_KEPT, detail, kind))

    def interrupted(self, exc: BaseException, telemetry: Telemetry) -> None:
        """Tell of *exc*, which is an order to the process and is raised again."""
        kind = type_name(exc)
        emit(telemetry, Failed(*self._named(), Outcome.ERROR, kind, None, kind))

    def _settle(self, result: Result) -> Settlement:
        if self.books is not None and result.outcome is Outcome.ERROR:
            return LEFT_TO_RELAY
        if self.final and result.outcome is Outcome.ERROR:
            return DISCARDED
        try:
            return settle(result, self.number, self.policy)
        except Exception as exc:  # noqa: BLE001 - a host's subclass of the policy
            log_error("the RetryPolicy raised %s: the default one decides", type_name(exc))
            return settle(result, self.number, DEFAULT_POLICY)

    def _named(self) -> tuple[str, str, str | None, int, Dispatch]:
        return self.forwarder, self.audit_event_id, self.action, self.number, self.dispatch


def answered(answer: object) -> Result:
    """Return what a forwarder's *answer* comes to."""
    if answer is None:
        return _DELIVERED
    if issubclass(type(answer), Ack):
        return Result(Outcome.OK, ack=answer, settlement=COMPLETED)  # type: ignore[arg-type]
    close_if_awaitable(answer)
    detail = f"forward() gave a {type_name(answer)}: it must give None or an Ack"
    return Result(Outcome.ERROR, UNEXPECTED_RETURN, detail, Fault.EVENT)


def refused(exc: Exception) -> Result:
    """Return what an exception out of a forwarder comes to."""
    kind = type(exc)  # asked alone: an exception may lie about its class, or raise when asked
    if issubclass(kind, SchemaMismatchError):
        return Result(Outcome.CANCEL, CancelReason.SCHEMA_MISMATCH, own_words(exc), Fault.EVENT, exception=exc)
    if issubclass(kind, SinkError):
        retry_after = seconds(_attribute(exc, "retry_after"))
        return Result(Outcome.ERROR, _reason(exc), own_words(exc), Fault.SINK, retry_after, exception=exc)
    fault = Fault.SINK if _is_sinks(kind) else Fault.EVENT
    return Result(Outcome.ERROR, type_name(exc), own_words(exc), fault, exception=exc)


def unread(exc: Exception) -> Result:
    """Return what an exception out of the repository comes to: nobody's fault, tried again."""
    return Result(Outcome.ERROR, type_name(exc), own_words(exc), exception=exc)


def _is_sinks(kind: type[Exception]) -> bool:
    timeouts = [getattr(sys.modules.get(name), "TimeoutError", TimeoutError) for name in _OTHER_TIMEOUTS]
    return issubclass(kind, (OSError, *timeouts))


def _reason(exc: Exception) -> str:
    reason = _attribute(exc, "reason")
    text = str.__str__(reason) if issubclass(type(reason), str) else ""
    return bounded(text, 255) if text else type_name(exc)


def _attribute(exc: Exception, name: str) -> Any:
    try:
        return getattr(exc, name)
    except Exception:  # noqa: BLE001 - a subclass may lack it, or have made it a property that raises
        return None


def own_words(exc: BaseException) -> str | None:
    """Return the message of an error of ours; a foreign one may quote rows, and URLs with tokens."""
    if not issubclass(type(exc), SigraForwardError):
        return None
    try:
        return bounded(str.__str__(str(exc)), MAX_DETAIL)
    except Exception:  # noqa: BLE001 - a subclass may have broken its own str()
        return None
