"""`AuditForward`: binds the ports once, and is what a host holds on to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from blinker import ANY

from sigra_forward._attempt import Attempt
from sigra_forward._bridge import Bridge, limited
from sigra_forward._clock import SYSTEM_CLOCK, Clock
from sigra_forward._dispatch import Breaker, Dispatched, adispatch, dispatch
from sigra_forward._log import log_error
from sigra_forward._names import NAME_RULE, is_name, type_name
from sigra_forward._route import Dispatch, Route
from sigra_forward._settle import DEFAULT_POLICY, RetryPolicy
from sigra_forward._steps import arun_steps, run_steps
from sigra_forward.errors import ConfigurationError
from sigra_forward.ports import DEFAULT_DEADLINE
from sigra_forward.signals import audit_log
from sigra_forward.telemetry import SIGNALS

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from sigra_forward._books import Books
    from sigra_forward._event import AuditEvent
    from sigra_forward._job_args import JobArgs
    from sigra_forward._outcome import Result
    from sigra_forward._watch import Watch
    from sigra_forward.ports import AnyForwarder, AnyLedger, AnyRepository, JobQueue, Telemetry


class AuditForward:
    """
    Everything that takes part, bound once: the repository, the forwarders by name, the queue, the telemetry.

    Safe for threads. After a fork the child opens its own threads and connections. An async port works under the
    sync methods too: the library has a loop thread of its own.

    Args:
        repository: Reads the host's audit table.
        forwarders: Each forwarder, or a `Route` to it, under its permanent name.
        queue: Where jobs go. Without one, events are left to the relay, or forwarded inline where there is no ledger.
        ledger: Holds what was delivered, so that nothing committed is lost; a `Relay` pays what is owed by it. What a
            forwarder owes begins with its route's ``since``, or now if the ledger has never heard of it.
        telemetry: Hears of everything; blinker signals by default, see `sigra_forward.signals`.
        policy: Decides about retries, where a route has no policy of its own.
        clock: Times the enqueue budget, the queue's breaker and the look for a relay; the machine's by default.

    Attributes:
        routes: The routes by name, read-only.
        source: The permanent name of the audit table, if the repository tells it.

    Raises:
        ConfigurationError: Something does not fit; nothing is bound then. The message says what to do.
    """

    def __init__(
        self,
        repository: AnyRepository,
        forwarders: Mapping[str, AnyForwarder | Route],
        queue: JobQueue | None = None,
        ledger: AnyLedger | None = None,
        telemetry: Telemetry = SIGNALS,
        policy: RetryPolicy = DEFAULT_POLICY,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        _require_methods("repository", repository, "get")
        _require_methods("telemetry", telemetry, "emit")
        _require_methods("clock", clock, "monotonic", "wait_until")
        if queue is not None:
            _require_methods("queue", queue, "bind", "enqueue")
        if not isinstance(policy, RetryPolicy):
            msg = "AuditForward(policy=...) must be a RetryPolicy"
            raise ConfigurationError(msg)
        if ledger is not None:
            _require_methods("ledger", ledger, "now", "lane", "lanes", "look", "record", "block")
        self.repository = repository
        self.source: str | None = _source(repository)
        self.routes: Mapping[str, Route] = MappingProxyType(_routes(forwarders, has_queue=queue is not None))
        self.queue = queue
        self.ledger = ledger
        self.telemetry = telemetry
        self.policy = policy
        self.clock = clock
        self.breaker = Breaker(clock)
        self.bridge = Bridge(isolated=True)
        self._senders: dict[int, object] = {}
        self._began = datetime.now(timezone.utc)
        self.books: Books | None = None
        self.watch: Watch | None = None
        if ledger is not None:
            self._open_books(ledger)
        if queue is not None:
            queue.bind(self)

    def perform(self, args: JobArgs | Mapping[str, object], attempt: int = 1) -> Result:
        """Run one job; see `sigra_forward.perform`. Queue adapters call this from their workers."""
        job = self.attempt(args, attempt)
        return run_steps(job.steps(self.repository, self.telemetry), self.bridge.call)

    async def aperform(
        self, args: JobArgs | Mapping[str, object], attempt: int = 1, *, time_limit: float | None = None
    ) -> Result:
        """
        Run one job, awaiting async ports; see `sigra_forward.aperform`.

        Args:
            args: The job's args.
            attempt: Which attempt it is, 1-based.
            time_limit: Seconds after which a port that has not answered is given up on, and the attempt has failed. A
                sync port goes on in its thread, to its own end.
        """
        job = self.attempt(args, attempt)
        acall = self.bridge.acall if time_limit is None else limited(self.bridge.acall, time_limit)
        return await arun_steps(job.steps(self.repository, self.telemetry), acall)

    def attempt(self, args: JobArgs | Mapping[str, object], number: int) -> Attempt:
        """Read a job, for a worker that must know how it settled even when it is interrupted."""
        return Attempt.of_job(args, self.routes, number, self.policy, self.books, self.telemetry)

    def dispatch(self, event: AuditEvent) -> Mapping[str, Dispatched]:
        """
        Send a committed *event* on its way, and raise no `Exception`.

        ``ASYNC`` routes and, where a queue is bound, ``AUTO`` ones go onto the queue first: 1.5 seconds in all, and
        nothing more for 5 seconds after a failure. Then what is left goes out inline, each forwarder within its
        deadline: ``SYNC`` routes, and ``AUTO`` ones that have no queue or that it did not take. Inline there is one
        attempt. With a ledger those ``AUTO`` ones are owed instead: the relay pays them.

        Returns:
            For each forwarder that wants the event, in the order of registration, what became of it.
        """
        return dispatch(self, event)

    async def adispatch(self, event: AuditEvent) -> Mapping[str, Dispatched]:
        """Send *event* on its way as `dispatch` does, without blocking the event loop."""
        return await adispatch(self, event)

    def attach(self, sender: Any = ANY) -> None:
        """
        Dispatch every event announced on the `audit_log` signal, by *sender* alone if it is given.

        The subscription, and *sender*, are held until `detach`. Attaching twice does not dispatch twice.
        """
        audit_log.connect(self._hear, sender=sender, weak=False)
        self._senders[id(sender)] = sender  # blinker tells senders by id(), which a new object may take over

    def detach(self) -> None:
        """Stop hearing the `audit_log` signal, from all senders."""
        audit_log.disconnect(self._hear)
        self._senders.clear()

    def close(self) -> None:
        """
        Detach, let the queue drain, and close the forwarders and the repository, those that have a ``close``.

        May be called again. What one of them raises is logged, and the others are closed all the same.
        """
        self.detach()
        ports = [self.queue, *(route.forwarder for route in self.routes.values()), self.repository, self.ledger]
        try:
            for port in {id(port): port for port in ports}.values():
                self._close(port)
        finally:
            self.bridge.close()

    def floor_of(self, forwarder: str) -> datetime:
        """Return below which moment nothing is owed to *forwarder*, should the ledger not know it yet."""
        return self.routes[forwarder].since or self._began

    def _open_books(self, ledger: AnyLedger) -> None:
        from sigra_forward._books import Books
        from sigra_forward._watch import Watch

        self.books = Books(ledger, self.floor_of)
        self.watch = Watch(self)
        self.watch.open_lanes()

    def _close(self, port: object) -> None:
        try:
            self.bridge.call(_close, port, DEFAULT_DEADLINE)
        except Exception as exc:  # noqa: BLE001 - foreign, and the rest must be closed too
            log_error("closing the %s raised %s", type_name(port), type_name(exc))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _hear(self, sender: object, /, event: Any = None, **_: object) -> Mapping[str, Dispatched]:
        return self.dispatch(event)


def _close(port: object) -> object:
    close = getattr(port, "close", None)
    return close() if callable(close) else None


def _require_methods(role: str, port: object, *names: str) -> None:
    missing = [name for name in names if not callable(getattr(port, name, None))]
    if missing or isinstance(port, type):
        what = f"the class {port.__name__}" if isinstance(port, type) else f"a {type_name(port)}"
        methods = " and ".join(f"{name}()" for name in names)
        msg = f"AuditForward({role}=...) is {what}: pass an object with {methods}, see sigra_forward.ports"
        raise ConfigurationError(msg)


def _source(repository: object) -> str | None:
    source = getattr(repository, "source", None)
    if source is not None and not is_name(source):
        msg = f"{type_name(repository)}.source must be {NAME_RULE}"
        raise ConfigurationError(msg)
    return source


def _routes(forwarders: object, *, has_queue: bool) -> dict[str, Route]:
    if not isinstance(forwarders, Mapping):
        msg = f"AuditForward(forwarders=...) must map each name to its forwarder; got a {type_name(forwarders)}"
        raise ConfigurationError(msg)
    routes = {}
    for number, (name, entry) in enumerate(forwarders.items(), 1):
        if not is_name(name):
            msg = f"the name of forwarder {number} must be {NAME_RULE}"
            raise ConfigurationError(msg)
        routes[name] = _route(name, entry, has_queue=has_queue)
    return routes


def _route(name: str, entry: AnyForwarder | Route, *, has_queue: bool) -> Route:
    try:
        route = entry if isinstance(entry, Route) else Route(entry)
    except ConfigurationError as exc:
        msg = f"forwarders[{name!r}]: {exc}"
        raise ConfigurationError(msg) from exc
    if has_queue:
        return route
    if route.dispatch is Dispatch.ASYNC:
        msg = f"{name!r} is dispatched async, but there is no queue: pass queue=..., or use Dispatch.AUTO"
        raise ConfigurationError(msg)
    if route.queue is not None:
        msg = f"{name!r} names a queue, but there is none: pass queue=..., or leave Route(queue=...) out"
        raise ConfigurationError(msg)
    return route
