"""Dispatch: decide how one event goes out to each forwarder that wants it, and see to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import evolve, frozen

from sigra_forward._attempt import Attempt, own_words
from sigra_forward._event import DEFAULT_SOURCE, AuditEvent, is_event
from sigra_forward._job_args import JobArgs
from sigra_forward._log import log_error
from sigra_forward._names import type_name
from sigra_forward._outcome import Outcome, Result
from sigra_forward._route import Dispatch, Route
from sigra_forward._steps import arun_steps, run_steps
from sigra_forward.errors import EnqueueError, InvalidJobArgsError, QueueFullError
from sigra_forward.telemetry import Enqueued, Failed, emit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._clock import Clock

ENQUEUE_BUDGET = 1.5
"""Seconds that one dispatch spends on enqueuing in all; no further enqueue is started after that."""

BREAKER_SECONDS = 5.0
"""Seconds for which no enqueue is tried after one has failed."""

INTERRUPTED = "dispatch was interrupted before it came to this forwarder"

Fate: TypeAlias = Literal["enqueued", "performed", "owed", "failed"]


@frozen
class Dispatched:
    """
    What became of one event for one forwarder.

    Args:
        fate: ``"enqueued"``: a job is on the queue. ``"performed"``: it was forwarded inline, see *result*.
            ``"owed"``: it is left to the relay. ``"failed"``: it could not be enqueued.
        result: What the inline perform came to.
    """

    fate: Fate
    result: Result | None = None


_ENQUEUED, _FAILED, _OWED = Dispatched("enqueued"), Dispatched("failed"), Dispatched("owed")


class Breaker:
    """Keeps dispatch from a queue that has just failed, so that each request does not wait for it again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open_until = clock.monotonic()

    def open(self) -> None:
        """Keep everyone away for `BREAKER_SECONDS`."""
        self._open_until = self._clock.monotonic() + BREAKER_SECONDS

    def is_open(self, now: float) -> bool:
        """Tell whether the queue is to be left alone at *now*, by the same clock."""
        return now < self._open_until


class _Round:
    """One event on its way to all who want it: the decisions of dispatch, without the calls."""

    def __init__(self, host: AuditForward, event: AuditEvent) -> None:
        self._host = host
        self._event = event
        self._until = host.clock.monotonic() + ENQUEUE_BUDGET
        self._fates: dict[str, Dispatched | None] = {}
        self._performing = ""
        self.to_enqueue: dict[str, Route] = {}
        self.inline: dict[str, Route] = {}
        for name, route in host.routes.items():
            if _wants(name, route, event):
                self._place(name, route)

    def _place(self, name: str, route: Route) -> None:
        host = self._host
        self._fates[name] = None
        if route.dispatch is Dispatch.ASYNC or (route.dispatch is Dispatch.AUTO and host.queue is not None):
            self.to_enqueue[name] = route
        elif route.dispatch is Dispatch.AUTO and host.books is not None:
            self._fates[name] = _OWED
        else:
            self.inline[name] = route

    def args(self, name: str) -> JobArgs:
        event = self._event
        try:
            return JobArgs(name, event.id, event.occurred_at)
        except InvalidJobArgsError:  # near the ends of the calendar UTC overflows; the job goes without its time
            return JobArgs(name, event.id)

    def seconds_for(self, name: str) -> float:
        """Return the seconds for which the queue may be tried for *name*; 0: it may not, and that is settled here."""
        now = self._host.clock.monotonic()
        left = self._until - now
        if self._host.breaker.is_open(now):
            why = f"not tried: the queue failed less than {BREAKER_SECONDS:g} s ago"
        elif left <= 0:
            why = f"not tried: this dispatch has spent its {ENQUEUE_BUDGET} s on the queue"
        else:
            return left
        self._not_enqueued(name, EnqueueError(why))
        return 0

    def enqueued(self, name: str) -> None:
        self._fates[name] = _ENQUEUED
        event = self._event
        emit(self._host.telemetry, Enqueued(name, event.id, event.action, 1, Dispatch.ASYNC))

    def enqueue_failed(self, name: str, exc: Exception) -> None:
        if not issubclass(type(exc), QueueFullError):  # its type alone: an exception may lie about its class
            self._host.breaker.open()
        self._not_enqueued(name, exc)

    def _not_enqueued(self, name: str, exc: Exception) -> None:
        """Tell of it, and leave the event to be forwarded inline where the route allows that."""
        event, kind = self._event, type_name(exc)
        failed = Failed(name, event.id, event.action, 1, Dispatch.ASYNC, Outcome.ERROR, kind, own_words(exc), kind)
        emit(self._host.telemetry, failed)
        route = self.to_enqueue[name]
        if route.dispatch is Dispatch.ASYNC:
            self._fates[name] = _FAILED
        elif self._host.books is not None:
            self._fates[name] = _OWED
        else:
            self.inline[name] = route

    def attempt(self, name: str, route: Route) -> Attempt:
        """Return the one attempt that an event in hand has; whether it is tried again is for a ledger's relay."""
        self._performing = name  # from here on perform tells of it
        event = self._event
        host = self._host
        policy = route.policy or host.policy
        return Attempt(
            route, name, event.id, policy=policy, dispatch=Dispatch.SYNC, event=event, final=True, books=host.books
        )

    def performed(self, name: str, result: Result) -> None:
        self._fates[name] = Dispatched("performed", result)

    def interrupted(self, exc: BaseException) -> None:
        """Tell of the forwarders that *exc*, an order to the process or the task, keeps the event from."""
        event, kind = self._event, type_name(exc)
        untold = [name for name, fate in self._fates.items() if fate is None and name != self._performing]
        for name in untold:
            failed = Failed(name, event.id, event.action, 1, None, Outcome.ERROR, kind, INTERRUPTED, kind)
            emit(self._host.telemetry, failed)

    def fates(self) -> Mapping[str, Dispatched]:
        return {name: fate for name, fate in self._fates.items() if fate is not None}


def dispatch(host: AuditForward, event: AuditEvent) -> Mapping[str, Dispatched]:
    """Send *event* out for *host*; see `AuditForward.dispatch`."""
    round_ = _begin(host, event)
    if round_ is None:
        return {}
    if host.watch is not None:
        host.watch.look()
    try:
        _send(host, round_)
    except BaseException as exc:
        round_.interrupted(exc)
        raise
    return round_.fates()


def _send(host: AuditForward, round_: _Round) -> None:
    for name in round_.to_enqueue:
        seconds = round_.seconds_for(name)
        if not seconds:
            continue
        try:
            host.bridge.call(_enqueue(host), round_.args(name), seconds)
        except Exception as exc:  # noqa: BLE001 - whatever a queue does, dispatch goes on
            round_.enqueue_failed(name, exc)
        else:
            round_.enqueued(name)
    for name, route in round_.inline.items():
        attempt = round_.attempt(name, route)
        round_.performed(name, run_steps(attempt.steps(None, host.telemetry), host.bridge.call))


async def adispatch(host: AuditForward, event: AuditEvent) -> Mapping[str, Dispatched]:
    """Send *event* out for *host* without blocking the loop; see `AuditForward.adispatch`."""
    round_ = _begin(host, event)
    if round_ is None:
        return {}
    if host.watch is not None:
        host.watch.look()
    try:
        await _asend(host, round_)
    except BaseException as exc:
        round_.interrupted(exc)
        raise
    return round_.fates()


async def _asend(host: AuditForward, round_: _Round) -> None:
    from asyncio import wait_for

    for name in round_.to_enqueue:
        seconds = round_.seconds_for(name)
        if not seconds:
            continue
        try:
            await wait_for(host.bridge.acall(_aenqueue(host), round_.args(name)), seconds)
        except Exception as exc:  # noqa: BLE001 - whatever a queue does, dispatch goes on
            round_.enqueue_failed(name, exc)
        else:
            round_.enqueued(name)
    for name, route in round_.inline.items():
        attempt = round_.attempt(name, route)
        round_.performed(name, await arun_steps(attempt.steps(None, host.telemetry), host.bridge.acall))


def jobs_of(host: AuditForward, event: AuditEvent) -> list[JobArgs]:
    """
    Return the jobs that a dispatch of *event* would put on the queue, for who does so by other means.

    Raises:
        EnqueueError: It is no `AuditEvent`, or one of another source.
    """
    round_ = _begin(host, event)
    if round_ is None:
        msg = f"it takes an AuditEvent of source {host.source!r}: nothing was enqueued"
        raise EnqueueError(msg)
    return [round_.args(name) for name in round_.to_enqueue]


def _begin(host: AuditForward, event: AuditEvent) -> _Round | None:
    if not is_event(event):
        log_error("dispatch got a %s and sent nothing: it takes an AuditEvent", type_name(event))
        return None
    try:
        if host.source is None or host.source == event.source:
            return _Round(host, event)
        if event.source == DEFAULT_SOURCE:  # the announcer left it to the repository
            return _Round(host, evolve(event, source=host.source))
    except Exception as exc:  # noqa: BLE001 - a host's own subclass, with a constructor of its own
        log_error("dispatch sent nothing: reading the %s raised %s", type_name(event), type_name(exc))
        return None
    message = "dispatch sent nothing: the event is of source %r, this AuditForward serves %r"
    log_error(message, event.source, host.source)
    return None


def _wants(name: str, route: Route, event: AuditEvent) -> bool:
    try:
        return route.wants(event)
    except Exception as exc:  # noqa: BLE001 - the host's function; perform will say so with an error event
        log_error("where of %r raised %s: the event is taken as wanted", name, type_name(exc))
        return True


def _enqueue(host: AuditForward) -> Callable[[JobArgs], object]:
    return host.queue.enqueue  # type: ignore[union-attr]


def _aenqueue(host: AuditForward) -> Callable[[JobArgs], object]:
    return getattr(host.queue, "aenqueue", None) or _enqueue(host)
