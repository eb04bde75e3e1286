"""`Binding`: whom the jobs of a queue adapter are for, and what their routes ask of its queue library."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from inspect import iscoroutinefunction
from math import ceil
from threading import RLock
from typing import TYPE_CHECKING

from sigra_forward._bounded import BoundedCaller
from sigra_forward._bridge import within
from sigra_forward._dispatch import jobs_of
from sigra_forward._names import NAME_RULE, is_name, type_name
from sigra_forward._outcome import Outcome, Result, State
from sigra_forward._settle import RetryPolicy
from sigra_forward.errors import ConfigurationError, EnqueueError, JobEndedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._event import AuditEvent
    from sigra_forward._job_args import JobArgs
    from sigra_forward._route import Route

TASK_NAME = "sigra_forward.perform"
"""The name under which every adapter registers its one task, where its library has names."""

DEFAULT_QUEUE = "sigra_forward"
"""The queue of jobs whose route and adapter name none."""

ENQUEUE_TIMEOUT = 1.2
"""Seconds that an adapter waits for one enqueue: the port's 1.5, with room for a machine that is busy."""

MAX_ATTEMPTS_LOOKED_AT = 1000

BIND_LOCK = RLock()
"""Held while an adapter binds: it looks whether somebody is bound already, in two or three places, and then binds."""


class Binding:
    """
    What a queue adapter knows of the `AuditForward` that it is bound to.

    Args:
        adapter: The adapter's name, for messages.
        queue: The queue of jobs whose route names none.

    Raises:
        ConfigurationError: *queue* cannot name a queue.
    """

    def __init__(self, adapter: str, queue: str = DEFAULT_QUEUE) -> None:
        if not is_name(queue):
            msg = f"{adapter}(queue=...) must be {NAME_RULE}"
            raise ConfigurationError(msg)
        self._adapter = adapter
        self._queue = queue
        self._host: AuditForward | None = None
        self._threads: dict[str, BoundedCaller] = defaultdict(BoundedCaller)

    def bind(self, audit_forward: AuditForward) -> None:
        """
        Take *audit_forward* as the one whom all jobs are for.

        Raises:
            ConfigurationError: There is one already.
        """
        if self._host is not None:
            msg = f"this {self._adapter} is bound to an AuditForward already: give each its own"
            raise ConfigurationError(msg)
        self._host = audit_forward

    def unbind(self) -> None:
        """Take nobody: what follows in the adapter's ``bind`` has failed."""
        self._host = None

    @property
    def is_bound(self) -> bool:
        """Tell whether there is an `AuditForward`."""
        return self._host is not None

    @property
    def host(self) -> AuditForward:
        """
        Return the `AuditForward`.

        Raises:
            ConfigurationError: There is none.
        """
        if self._host is None:
            msg = f"this {self._adapter} is bound to no AuditForward: pass it as AuditForward(queue=...)"
            raise ConfigurationError(msg)
        return self._host

    def perform(self, args: Mapping[str, object], attempt: int) -> Result:
        """
        Run one job, and return its result, settled.

        A time limit of the queue library that strikes at the edge of perform is a failed attempt like any other.

        Raises:
            ConfigurationError: There is no `AuditForward`.
            BaseException: An order to the process, which perform passes on.
        """
        host = self.host
        try:
            return host.perform(args, attempt)
        except Exception as exc:  # noqa: BLE001 - perform raises none: the library's own, set upon this thread
            return self.lost(args, attempt, exc)

    async def aperform(self, args: Mapping[str, object], attempt: int) -> Result:
        """
        Run one job as `perform` does, awaiting async ports, and give it up after its time limit as a failed attempt.

        On an event loop no queue library can stop a job that hangs. Where both ports are sync, the whole job runs in a
        thread; given up on, it goes on there to its own end, and tells what that was.
        """
        host = self.host
        name = self._forwarder(args)
        limit = None if name is None else self.time_limit(name)
        try:
            if name is None or limit is None or self._is_async(name):
                return await host.aperform(args, attempt, time_limit=limit)
            return await within(self._threads[name].acall(partial(self.perform, args, attempt)), limit)
        except Exception as exc:  # noqa: BLE001 - perform raises none: the time limit, or a subclass of the host's own
            return self.lost(args, attempt, exc)

    def _is_async(self, forwarder: str) -> bool:
        ports = (self.host.repository.get, self._route(forwarder).forwarder.forward)
        return any(iscoroutinefunction(port) for port in ports)

    def lost(self, args: Mapping[str, object], attempt: int, exc: Exception) -> Result:
        """Return the result, settled and told, of an attempt that *exc* has ended outside of perform."""
        job = self.host.attempt(args, attempt)
        return job.conclude(job.ended or Result(Outcome.ERROR, type_name(exc)), self.host.telemetry)

    def jobs_of(self, event: AuditEvent) -> list[JobArgs]:
        """
        Return the jobs that a dispatch of *event* would enqueue, for an adapter that does so in the host's transaction.

        Raises:
            ConfigurationError: There is no `AuditForward`.
            EnqueueError: It is no `AuditEvent`, or one of another source.
        """
        return jobs_of(self.host, event)

    def queue_of(self, forwarder: str) -> str:
        """
        Return the queue for jobs of *forwarder*.

        Raises:
            EnqueueError: It is not registered, or nobody is: nobody would run the job.
        """
        route = self._route(forwarder)
        return route.queue or self._queue

    def queues(self) -> list[str]:
        """Return every queue that jobs may go onto, each once."""
        return list(dict.fromkeys(route.queue or self._queue for route in self.host.routes.values()))

    def max_attempts(self, forwarder: str) -> int:
        """Return how often a job of *forwarder* may run."""
        return self._policy(self._route(forwarder)).max_attempts

    def max_attempts_of(self, job: Mapping[str, object]) -> int:
        """Return how often *job* may run; once where it is for nobody, which is how that is told."""
        forwarder = job.get("forwarder")
        route = self.host.routes.get(forwarder) if isinstance(forwarder, str) else None
        return 1 if route is None else self._policy(route).max_attempts

    def most_attempts(self) -> int:
        """Return how often a job of any forwarder may run."""
        return max((self._policy(route).max_attempts for route in self.host.routes.values()), default=1)

    def may_try_again(self, args: object, attempt: int) -> bool:
        """Tell whether another attempt may follow on *attempt* at a job, which may be a broken one."""
        name = self._forwarder(args)
        return attempt < (self.most_attempts() if name is None else self.max_attempts(name))

    def time_limit(self, forwarder: str) -> int:
        """Return the seconds that a job of *forwarder* may take: twice its deadline, for there is the row to reload."""
        return ceil(2 * self._route(forwarder).deadline)

    def longest_run(self) -> int:
        """Return the seconds that a job of any forwarder may take."""
        return max((ceil(2 * route.deadline) for route in self.host.routes.values()), default=0)

    def longest_wait(self) -> int:
        """Return the most seconds for which a job of any forwarder may have to wait for its next attempt."""
        return max((_longest_delay(self._policy(route)) for route in self.host.routes.values()), default=0)

    def require_rescue_after(self, seconds: float, needed: int, setting: str) -> None:
        """
        See that a job that lives is never taken for dead and started a second time.

        Args:
            seconds: After how many the library gives a job that it has not heard of to another worker.
            needed: The seconds that a job may take with these forwarders.
            setting: What to set so, and how it is spelled.

        Raises:
            ConfigurationError: *seconds* is less than *needed*.
        """
        if seconds < needed:
            msg = (
                f"{setting} is {seconds:g} s, and a job may take {needed} s (twice the longest deadline of a "
                f"forwarder, and the longest wait where the library counts it): it would be started twice at once. "
                f"Raise it to {needed} or more, or shorten the forwarder's deadline or the RetryPolicy"
            )
            raise ConfigurationError(msg)

    def _forwarder(self, args: object) -> str | None:
        """Return the registered forwarder that a job is for."""
        name = args.get("forwarder") if isinstance(args, dict) else None
        return name if isinstance(name, str) and name in self.host.routes else None

    def _route(self, forwarder: str) -> Route:
        route = None if self._host is None else self._host.routes.get(forwarder)
        if route is None:
            msg = f"nobody would run the job: this {self._adapter} is bound to no AuditForward with such a forwarder"
            raise EnqueueError(msg)
        return route

    def _policy(self, route: Route) -> RetryPolicy:
        return route.policy or self.host.policy


def not_enqueued(library: str, exc: Exception) -> EnqueueError:
    """Return the one error for whatever *library* raised at an enqueue: raise it from *exc*."""
    if isinstance(exc, EnqueueError):
        return exc
    if isinstance(exc, TimeoutError):
        what = f"{library} did not take the job in time: is its server frozen, or its name not to be resolved?"
    else:
        what = f"{library} did not take the job: {type_name(exc)}"
    return EnqueueError(what)


def ending(result: Result) -> JobEndedError:
    """Return what says, in the queue library's own tools, how and why the job ended that *result* is of."""
    state = State.DISCARDED if result.settlement is None else result.settlement.state
    return JobEndedError(f"{state.value}: {why(result)}")


def why(result: Result) -> str:
    """Return the reason of *result* in one line: it is ours, or the sink's words, and is safe to log."""
    reason = str(getattr(result.reason, "value", result.reason or "no reason"))
    detail = result.detail or reason
    return detail if detail.startswith(reason) else f"{reason}: {detail}"


def _longest_delay(policy: RetryPolicy) -> int:
    attempts = range(1, min(policy.max_attempts, MAX_ATTEMPTS_LOOKED_AT))
    return max((policy.delay(attempt, policy.max_retry_after) for attempt in attempts), default=0)
