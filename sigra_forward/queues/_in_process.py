"""`InProcessQueue`: worker threads in the host's own process."""

from __future__ import annotations

import atexit
from contextlib import suppress
from heapq import heappop, heappush
from threading import Condition, Thread, current_thread
from typing import TYPE_CHECKING, NamedTuple

from sigra_forward._backoff import is_count
from sigra_forward._clock import SYSTEM_CLOCK, Clock
from sigra_forward._fork import forget_after_fork
from sigra_forward._log import log_error, log_warning
from sigra_forward._names import type_name
from sigra_forward._outcome import LEFT_TO_RELAY, Outcome, Result, State
from sigra_forward._route import Dispatch
from sigra_forward._settle import DEFAULT_POLICY, seconds, settle
from sigra_forward._steps import run_steps
from sigra_forward.errors import ConfigurationError, EnqueueError, QueueFullError
from sigra_forward.telemetry import Discarded, Failed, emit

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._job_args import JobArgs
    from sigra_forward._outcome import Settlement

QUEUE_CLOSED = "queue_closed"

LEAVE_TIMEOUT = 1.0
"""Seconds that `InProcessQueue.close` waits for idle threads, which leave at once, to be gone."""


class InProcessQueue:
    """
    A job queue on threads of the host's own process, with real backoff between attempts.

    Every forwarder has a lane of its own, so that one that hangs holds up no other. Jobs run in the order in which
    they fall due; order is not promised.

    **What it loses.** The jobs live in memory. When the process is killed, crashes, or leaves by `os._exit` (as the
    children of `multiprocessing` do), every job that waits, runs or backs off is gone, and nothing will try it
    again. `close` drains it; what is not done by its deadline is returned, logged, and told as `Discarded`. Call it, or
    `AuditForward.close`, yourself: at a normal exit of the interpreter it runs too, but Python has stopped its thread
    pools by then, and a forwarder that resolves a name on an event loop fails there. Use a broker, or the ledger, where
    that is not enough.

    After a fork the child starts with an empty queue: the jobs stay the parent's.

    Args:
        workers: Threads per forwarder, started as they are needed.
        capacity: Jobs per forwarder that wait, run or back off; beyond it `enqueue` raises `QueueFullError`.
        drain_timeout: Seconds that `close` works on, where it is given none.
        clock: Times the backoff; the machine's by default.

    Raises:
        ConfigurationError: A number is out of range.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        capacity: int = 10_000,
        drain_timeout: float = 10.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        for name, value in (("workers", workers), ("capacity", capacity)):
            if not is_count(value):
                msg = f"InProcessQueue({name}=...) must be an integer of at least 1"
                raise ConfigurationError(msg)
        if seconds(drain_timeout) is None:
            msg = "InProcessQueue(drain_timeout=...) must be a finite number of seconds of at least 0"
            raise ConfigurationError(msg)
        self._workers = workers
        self._capacity = capacity
        self._drain_timeout = drain_timeout
        self._clock = clock
        self._bound = False
        self._lanes: dict[str, _Lane] = {}

    def bind(self, audit_forward: AuditForward, /) -> None:
        """
        Learn whom the jobs are for, and open a lane for each forwarder.

        Raises:
            ConfigurationError: It is bound already, or a route names a queue: this one has lanes, and no names.
        """
        if self._bound:
            msg = "this InProcessQueue is bound to an AuditForward already: give each its own"
            raise ConfigurationError(msg)
        named = [name for name, route in audit_forward.routes.items() if route.queue is not None]
        if named:
            msg = f"the route of {named[0]!r} names a queue, but an InProcessQueue has no named ones: leave it out"
            raise ConfigurationError(msg)
        self._lanes = {
            name: _Lane(name, audit_forward, self._workers, self._capacity, self._clock)
            for name in audit_forward.routes
        }
        self._bound = True
        atexit.register(self.close)

    def enqueue(self, args: JobArgs, /) -> None:
        """
        Put one job into its forwarder's lane, without waiting.

        Raises:
            QueueFullError: The lane is full.
            EnqueueError: The queue is closed or not bound, there is no such forwarder, or no thread can be started.
        """
        lane = self._lanes.get(args.forwarder)
        if lane is None:
            msg = "no lane for this forwarder: pass the queue to the AuditForward that registers it"
            raise EnqueueError(msg)
        lane.put(args)

    async def aenqueue(self, args: JobArgs, /) -> None:
        """Put one job into its forwarder's lane as `enqueue` does, which never waits."""
        self.enqueue(args)

    def __len__(self) -> int:
        """Return how many jobs wait, run or back off."""
        return sum(len(lane) for lane in self._lanes.values())

    def close(self, timeout: float | None = None) -> list[JobArgs]:
        """
        Take no further jobs, work on for *timeout* seconds at most, and stop.

        Backoff is waited for where it ends in time. May be called again.

        Returns:
            The jobs that were not done. One that hangs in its forwarder is among them, and may still end well.

        Raises:
            ConfigurationError: *timeout* is no finite number of seconds of at least 0.
        """
        patience = seconds(self._drain_timeout if timeout is None else timeout)
        if patience is None:
            msg = "InProcessQueue.close(timeout=...) must be a finite number of seconds of at least 0"
            raise ConfigurationError(msg)
        until = self._clock.monotonic() + patience
        for lane in self._lanes.values():
            lane.stop(until)
        undone = [job for lane in self._lanes.values() for job in lane.join()]
        atexit.unregister(self.close)
        if undone:
            log_warning("InProcessQueue closed with %d jobs not done: nothing will try them again", len(undone))
        return [job.args for job in undone]


class _Job(NamedTuple):
    due: float
    order: int
    args: JobArgs
    attempt: int

    def named(self) -> tuple[str, str, None, int, Dispatch]:
        return self.args.forwarder, self.args.audit_event_id, None, self.attempt, Dispatch.ASYNC


class _Lane:
    """The jobs of one forwarder, and the threads that run them."""

    def __init__(self, name: str, audit_forward: AuditForward, workers: int, capacity: int, clock: Clock) -> None:
        self._name = name
        self._audit_forward = audit_forward
        self._workers = workers
        self._capacity = capacity
        self._clock = clock
        self._stop_at: float | None = None
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Start anew, with no jobs and no threads."""
        self._changed = Condition()
        self._waiting: list[_Job] = []
        self._running: set[_Job] = set()
        self._threads: list[Thread] = []
        self._idle = 0
        self._order = 0

    def __len__(self) -> int:
        with self._changed:  # or a job on its way from running to backing off would be in neither
            return len(self._waiting) + len(self._running)

    def put(self, args: JobArgs) -> None:
        with self._changed:
            if self._stop_at is not None:
                msg = "the InProcessQueue is closed"
                raise EnqueueError(msg)
            if len(self) >= self._capacity:
                msg = f"the lane of {self._name!r} is full: {self._capacity} jobs wait, run or back off"
                raise QueueFullError(msg)
            if self._idle <= len(self._waiting) and len(self._threads) < self._workers:
                self._start_thread()
            self._push(self._clock.monotonic(), args, 1)

    def stop(self, moment: float) -> None:
        """Take no further jobs, and none at all after *moment*."""
        with self._changed:
            self._stop_at = moment
            self._changed.notify_all()

    def join(self) -> list[_Job]:
        """Wait for the threads until the moment of `stop`, and return the jobs that are not done."""
        with self._changed:
            while not self._is_over():
                self._clock.wait_until(self._changed, self._stop_at)
            undone = [*self._running, *self._waiting]
            hanging = len(self._running)
            self._waiting.clear()
            self._running.clear()
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._threads) <= hanging, LEAVE_TIMEOUT)
        telemetry = self._audit_forward.telemetry
        for job in undone:
            why = "the queue closed before the job was done"
            emit(telemetry, Failed(*job.named(), Outcome.ERROR, QUEUE_CLOSED, why))
            emit(telemetry, Discarded(*job.named(), QUEUE_CLOSED))
        return undone

    def _start_thread(self) -> None:
        thread = Thread(target=self._work, name=f"sigra-forward-{self._name}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process has too many, or is ending
            if not self._threads:
                msg = "the InProcessQueue cannot start a thread"
                raise EnqueueError(msg) from None
        else:
            self._threads.append(thread)

    def _push(self, due: float, args: JobArgs, attempt: int) -> None:
        self._order += 1
        heappush(self._waiting, _Job(due, self._order, args, attempt))
        self._changed.notify()

    def _work(self) -> None:
        while (job := self._take()) is not None:
            self._done(job, self._perform(job))
        with self._changed:
            self._threads.remove(current_thread())
            self._changed.notify_all()

    def _perform(self, job: _Job) -> Settlement:
        host = self._audit_forward
        attempt = host.attempt(job.args, job.attempt)
        try:
            run_steps(attempt.steps(host.repository, host.telemetry), host.bridge.call)
        except BaseException as exc:  # noqa: BLE001 - SystemExit in a worker thread is no order to the process
            log_error("a job of %r raised %s in its worker, which goes on", self._name, type_name(exc))
            return attempt.settlement or self._interrupted(job, type_name(exc))
        assert attempt.settlement is not None  # noqa: S101 - perform always settles
        return attempt.settlement

    def _interrupted(self, job: _Job, kind: str) -> Settlement:
        if self._audit_forward.books is not None:
            return LEFT_TO_RELAY
        policy = self._audit_forward.routes[self._name].policy or self._audit_forward.policy
        try:
            settlement = settle(Result(Outcome.ERROR, kind), job.attempt, policy)
        except BaseException:  # noqa: BLE001 - the host's policy may be what raised
            settlement = settle(Result(Outcome.ERROR, kind), job.attempt, DEFAULT_POLICY)
        if settlement.state is State.DISCARDED:
            with suppress(BaseException):  # telemetry may be what raised: it must not end this thread
                emit(self._audit_forward.telemetry, Discarded(*job.named(), kind))
        return settlement

    def _take(self) -> _Job | None:
        """Wait for a job to fall due, or for the end."""
        with self._changed:
            while not self._is_over():
                if self._waiting and self._waiting[0].due <= self._clock.monotonic():
                    job = heappop(self._waiting)
                    self._running.add(job)
                    return job
                self._idle += 1
                self._clock.wait_until(self._changed, self._next_moment())
                self._idle -= 1
        return None

    def _done(self, job: _Job, settlement: Settlement) -> None:
        with self._changed:
            if job not in self._running:
                return  # given up by close(), and told as undone
            self._running.remove(job)
            if settlement.state is State.RETRYABLE and settlement.retry_in is not None:
                self._push(self._clock.monotonic() + settlement.retry_in, job.args, job.attempt + 1)
            self._changed.notify_all()

    def _next_moment(self) -> float | None:
        moments = [job.due for job in self._waiting[:1]]
        if self._stop_at is not None:
            moments.append(self._stop_at)
        return min(moments, default=None)

    def _is_over(self) -> bool:
        """Tell whether no job can be done any more: the end has come, or nothing falls due before it."""
        if self._stop_at is None:
            return False
        if self._clock.monotonic() >= self._stop_at:
            return True
        return not self._running and not any(job.due < self._stop_at for job in self._waiting[:1])
