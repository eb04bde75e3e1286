"""The ways to run a job, and ports that do what a test wants, so that one suite can hold them all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, field, frozen

from sigra_forward import AuditForward, JobArgs, Result, RetryPolicy, Route, Settlement, State, aperform, perform
from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder, RecordingTelemetry, make_event

EVENT = make_event(id="5f0c4c0e-7f3e-4f56-9a53-5a3c4f1f2a11")
"""The committed event."""

JOB = JobArgs("siem", EVENT.id, EVENT.occurred_at)
"""A job for it."""

POLICY = RetryPolicy(backoff=lambda _: 7)
"""Five attempts, seven seconds apart."""

RETRY = Settlement(State.RETRYABLE, 7)
COMPLETED = Settlement(State.COMPLETED)
CANCELLED = Settlement(State.CANCELLED)
DISCARDED = Settlement(State.DISCARDED)

SECRET = "https://siem.test/?token=s3cret"
"""What the message of a foreign exception may quote."""


class Interrupt(BaseException):
    """What Dramatiq raises into a worker's thread: no `Exception`."""


ORDERS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, Interrupt]
"""What is no `Exception`: an order to the process, not a failure of the job."""


class GivingRepository:
    """Gives *answer* for every id."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def get(self, audit_event_id: str, /) -> Any:
        """Give it."""
        return self._answer


class RaisingRepository:
    """Raises *error* for every id."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def get(self, audit_event_id: str, /) -> Any:
        """Raise it."""
        raise self.error


class AsyncRepository:
    """Awaits nothing, and asks *repository*."""

    def __init__(self, repository: Any) -> None:
        self._repository = repository

    async def get(self, audit_event_id: str, /) -> Any:
        """Ask it."""
        return self._repository.get(audit_event_id)


class AsyncForwarder:
    """Awaits nothing, and hands on to *forwarder*."""

    def __init__(self, forwarder: Any) -> None:
        self._forwarder = forwarder

    async def forward(self, event: Any) -> Any:
        """Hand it on."""
        return self._forwarder.forward(event)


class GivingTelemetry:
    """Keeps every telemetry event in ``events``, and gives *answer* for it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.events: list[Any] = []

    def emit(self, event: Any, /) -> Any:
        """Keep it."""
        self.events.append(event)
        return self._answer


class RaisingTelemetry:
    """Keeps every telemetry event in ``events``, and raises *error* for it."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self.events: list[Any] = []

    def emit(self, event: Any, /) -> None:
        """Keep it."""
        self.events.append(event)
        raise self._error


def raises(error: BaseException) -> Callable[..., Any]:
    """Return a function that raises *error*, whatever it is called with."""

    def function(*_: object) -> Any:
        raise error

    return function


def gives(answer: Any) -> Callable[..., Any]:
    """Return a function that gives *answer*, whatever it is called with."""
    return lambda *_: answer


def _aperform(args: Any, **ports: Any) -> Result:
    return asyncio.run(aperform(args, **ports))


def _bound_perform(args: Any, *, attempt: Any = 1, **ports: Any) -> Result:
    with AuditForward(**ports) as audit_forward:
        return audit_forward.perform(args, attempt)


def _bound_aperform(args: Any, *, attempt: Any = 1, **ports: Any) -> Result:
    with AuditForward(**ports) as audit_forward:
        return asyncio.run(audit_forward.aperform(args, attempt))


@frozen
class Shell:
    """
    One of the four ways to run a job.

    Args:
        name: What it is called.
        run: Runs it.
        async_ports: The repository and the forwarders that it is given are made async.
        binds: It is an `AuditForward`, which looks at its ports when it is made.
    """

    name: str
    run: Callable[..., Result]
    async_ports: bool = False
    binds: bool = False

    def __str__(self) -> str:
        return f"{self.name}, {'async' if self.async_ports else 'sync'} ports"

    def __call__(self, args: Any, *, repository: Any, forwarders: Any, **others: Any) -> Result:
        if self.async_ports:
            repository = AsyncRepository(repository)
            forwarders = {name: _made_async(entry) for name, entry in forwarders.items()}
        return self.run(args, repository=repository, forwarders=forwarders, **others)


def _made_async(entry: Any) -> Any:
    if isinstance(entry, Route):
        return evolve(entry, forwarder=AsyncForwarder(entry.forwarder))
    return AsyncForwarder(entry)


PERFORM = Shell("perform", perform)
APERFORM = Shell("aperform", _aperform)
BOUND_PERFORM = Shell("AuditForward.perform", _bound_perform, binds=True)
BOUND_APERFORM = Shell("AuditForward.aperform", _bound_aperform, binds=True)
SYNC_SHELLS = [PERFORM, APERFORM, BOUND_PERFORM, BOUND_APERFORM]
ASYNC_SHELLS = [evolve(shell, async_ports=True) for shell in (APERFORM, BOUND_PERFORM, BOUND_APERFORM)]
SHELLS = [*SYNC_SHELLS, *ASYNC_SHELLS]
FUNCTIONS = [shell for shell in SHELLS if not shell.binds]


@frozen(kw_only=True)
class Scene:
    """
    One job, and the ports that it runs with.

    Args:
        args: The job.
        repository: Holds `EVENT` by default.
        forwarder: Accepts everything by default.
        route: Options of the `Route` to it.
        forwarders: Instead of these two.
        telemetry: Records by default.
    """

    args: Any = JOB
    repository: Any = field(factory=lambda: InMemoryAuditRepository([EVENT]))
    forwarder: Any = field(factory=RecordingForwarder)
    route: Mapping[str, Any] = field(factory=dict)
    forwarders: Any = None
    telemetry: Any = field(factory=RecordingTelemetry)
    attempt: Any = 1
    policy: Any = POLICY

    def run(self, shell: Shell, **others: Any) -> Result:
        """Run the job by *shell*."""
        forwarders = {"siem": Route(self.forwarder, **self.route)} if self.forwarders is None else self.forwarders
        return shell(
            self.args,
            repository=self.repository,
            forwarders=forwarders,
            telemetry=self.telemetry,
            attempt=self.attempt,
            policy=self.policy,
            **others,
        )
