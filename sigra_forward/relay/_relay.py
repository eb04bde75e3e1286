"""`Relay`: pays what is owed, straight from the audit table, a thread for each lane."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from threading import Condition, Thread
from typing import TYPE_CHECKING
from uuid import uuid4

from sigra_forward._backoff import is_count
from sigra_forward._books import PROBE_INTERVAL
from sigra_forward._fork import forget_after_fork
from sigra_forward._log import log_error
from sigra_forward._names import type_name
from sigra_forward._route import Dispatch
from sigra_forward._settle import seconds
from sigra_forward.errors import ConfigurationError
from sigra_forward.relay._lane import LaneWorker, LeaseLostError, Options
from sigra_forward.relay._readings import DAY, HOUR, Pace

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._clock import Clock

DEFAULT_GRACE = 60.0
"""Seconds for which an event is left to the queue, or to the dispatch itself, where one of them goes first."""

LONGEST_PAUSE = 30.0
"""Seconds, at most, after which a ledger or an audit table that failed is asked again."""

SAID_EVERY = 60.0
"""Seconds between two log lines about the same lane."""

_SOURCE = ("get_many", "head", "scan")
_LEDGER = ("lane", "lanes", "acquire", "renew", "release", "block", "receipts", "record", "due", "cursors")


class Relay:
    """
    Pays what is owed, in batches, straight from the audit table. It needs no broker.

    Each forwarder has a lane and a thread of its own, so that one that is slow or dead delays no other. Of several
    relays one works a lane, and the others stand by. Killed at any moment, it repeats at most what it had sent and not
    yet written down, under the same idempotency keys.

    Args:
        audit_forward: Has the ledger, the audit table and the forwarders.
        forwarders: The names of those to work for; all by default.
        poll: Seconds between two looks for new rows, for what is due, and at the lane's breaker.
        grace: Seconds for which an event is left to a queue, or to a dispatch with `Dispatch.SYNC`, where one of them
            goes first; 60 then, and none otherwise.
        page: Rows that are read at once.
        max_bytes: Estimated bytes of the rows that go out in one call to a sink.
        lease: Seconds for which a lane is taken at a time; more where a forwarder's deadline asks for it.
        probe_interval: Seconds after which a sink that failed is tried again, unless it asks for more.
        rate: Events a second for each lane; ``None``: as many as there are.
        recovery_rate: Events a second for each lane while the backlog of an outage goes out; ``None``: no limit.
        rereads: Seconds after which what was read as new is read again, for rows that became visible behind it.
        hourly: Seconds between two sweeps over the last day.
        daily: Seconds between two sweeps over everything.
        clock: Times everything; the `AuditForward`'s by default.

    Raises:
        ConfigurationError: Something does not fit; the message says what to do.
    """

    def __init__(
        self,
        audit_forward: AuditForward,
        *,
        forwarders: Sequence[str] | None = None,
        poll: float = 1.0,
        grace: float | None = None,
        page: int = 2000,
        max_bytes: int = 2**22,
        lease: float = 60.0,
        probe_interval: float = PROBE_INTERVAL,
        rate: float | None = None,
        recovery_rate: float | None = 1000.0,
        rereads: Sequence[float] = (5.0, 60.0, 600.0),
        hourly: float = HOUR,
        daily: float = DAY,
        clock: Clock | None = None,
    ) -> None:
        _check_ports(audit_forward)
        _check_counts(page=page, max_bytes=max_bytes)
        lengths = {"poll": poll, "lease": lease, "probe_interval": probe_interval, "hourly": hourly, "daily": daily}
        rates = {"rate": rate, "recovery_rate": recovery_rate}
        _check_seconds(**lengths, **{name: value for name, value in rates.items() if value is not None})
        for delay in (*rereads, *(() if grace is None else (grace,))):
            if seconds(delay) is None:
                msg = "Relay(grace=..., rereads=...) must be finite numbers of seconds of at least 0"
                raise ConfigurationError(msg)
        self._host = audit_forward
        self._names = _names(audit_forward, forwarders)
        self._clock = clock or audit_forward.clock
        self._options: dict[str, Options] = {}
        owner = f"{socket.gethostname()}:{uuid4().hex[:12]}"
        for name in self._names:
            left = _grace(audit_forward, name) if grace is None else grace
            pace = Pace(poll, left, tuple(sorted(rereads)), hourly, daily)
            self._options[name] = Options(owner, page, max_bytes, lease, probe_interval, rate, recovery_rate, pace)
        self._changed = Condition()
        self._threads: list[Thread] = []
        self._is_stopping = False
        forget_after_fork(self)

    def forget(self) -> None:
        """Start anew in a child process, where none of the threads is."""
        self._changed = Condition()
        self._threads = []
        self._is_stopping = False

    def start(self) -> Self:
        """
        Begin to work, on threads of its own that end with the process, and return at once.

        After a fork it is to be started in the child, which has none of its parent's threads.

        Raises:
            ConfigurationError: It is at work already.
        """
        with self._changed:
            if self._threads:
                msg = "this Relay is at work already: start it once, or stop() it first"
                raise ConfigurationError(msg)
            self._is_stopping = False
            self._threads = [
                Thread(target=self._work, args=(name,), name=f"sigra-forward-relay-{name}", daemon=True)
                for name in self._names
            ]
            for thread in self._threads:
                thread.start()
        return self

    def stop(self, timeout: float | None = None) -> bool:
        """
        Settle what is in hand, let go of the lanes, and end.

        Args:
            timeout: Seconds to wait for that at most.

        Returns:
            Whether all of it has ended.
        """
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
            threads = self._threads
        until = None if timeout is None else self._clock.monotonic() + timeout
        for thread in threads:
            thread.join(None if until is None else max(0.0, until - self._clock.monotonic()))
        has_ended = not any(thread.is_alive() for thread in threads)
        with self._changed:
            if has_ended:
                self._threads = []
        return has_ended

    def run(self) -> None:
        """Work until `stop` is called, by another thread or a signal handler."""
        self.start()
        for thread in list(self._threads):
            while thread.is_alive():
                thread.join(1.0)  # so that a signal handler has its turn
        self.stop()

    def run_once(self) -> None:
        """
        Do what there is to do now, lane by lane, and return. What another relay works is left to it.

        Raises:
            Exception: The ledger or the audit table could not be asked.
        """
        for name in self._names:
            worker = self._worker(name)
            try:
                while not (wait := worker.step()) or worker.is_held_back:
                    self._pause(wait)
            finally:
                worker.let_go()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _worker(self, name: str) -> LaneWorker:
        return LaneWorker(self._host, name, self._options[name], self._clock, goes_on=self._goes_on)

    def _goes_on(self) -> bool:
        return not self._is_stopping

    def _work(self, name: str) -> None:
        worker = self._worker(name)
        troubles = _Troubles(name, self._clock)
        while self._goes_on():
            try:
                wait = worker.step()
                troubles.are_over()
            except LeaseLostError:
                worker.doubt()
                wait = 0.0
            except Exception as exc:  # noqa: BLE001 - whatever the ledger's and the table's libraries raise
                worker.doubt()
                wait = troubles.pause_after(exc)
            if wait:
                self._pause(wait)
        try:
            worker.let_go()
        except Exception as exc:  # noqa: BLE001 - the lease ends by itself
            log_error("the relay could not let go of %r: the ledger raised %s", name, type_name(exc))

    def _pause(self, wait: float) -> None:
        until = self._clock.monotonic() + wait
        with self._changed:
            while not self._is_stopping and self._clock.monotonic() < until:
                self._clock.wait_until(self._changed, until)


class _Troubles:
    """Says what keeps a lane from being worked, once a minute, and waits longer each time."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._pause = 1.0
        self._said_at: float | None = None

    def are_over(self) -> None:
        self._pause = 1.0

    def pause_after(self, exc: Exception) -> float:
        """Return the seconds to wait."""
        now = self._clock.monotonic()
        if self._said_at is None or now - self._said_at >= SAID_EVERY:
            self._said_at = now
            log_error(
                "the relay cannot work %r now, and tries again: the ledger or the audit table raised %s",
                self._name,
                type_name(exc),
            )
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return pause


def _grace(host: AuditForward, name: str) -> float:
    dispatch = host.routes[name].dispatch
    goes_first = dispatch is Dispatch.SYNC or host.queue is not None
    return DEFAULT_GRACE if goes_first else 0.0


def _check_ports(host: AuditForward) -> None:
    for role, port, methods in (("ledger", host.ledger, _LEDGER), ("repository", host.repository, _SOURCE)):
        missing = [name for name in methods if not callable(getattr(port, name, None))]
        if missing:
            msg = f"a Relay needs an AuditForward whose {role} has {', '.join(missing)}: see sigra_forward.ports"
            raise ConfigurationError(msg)


def _check_counts(**counts: object) -> None:
    for name, value in counts.items():
        if not is_count(value):
            msg = f"Relay({name}=...) must be an integer of at least 1"
            raise ConfigurationError(msg)


def _check_seconds(**lengths: object) -> None:
    for name, value in lengths.items():
        if not seconds(value):
            msg = f"Relay({name}=...) must be a finite number of more than 0"
            raise ConfigurationError(msg)


def _names(host: AuditForward, names: Sequence[str] | None) -> list[str]:
    if names is None:
        return list(host.routes)
    unknown = [name for name in names if name not in host.routes]
    if isinstance(names, str) or unknown:
        msg = (
            f"Relay(forwarders=...) must be names of the AuditForward's forwarders, which are {', '.join(host.routes)}"
        )
        raise ConfigurationError(msg)
    return list(dict.fromkeys(names))
