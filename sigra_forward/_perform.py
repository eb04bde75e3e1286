"""
`perform` and `aperform`: run one job, reload the row, forward it, map the result.

Two thin shells round the decisions of `Attempt`. They differ in ``await`` only, and so do their helpers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from sigra_forward._attempt import Attempt, answered, refused, unread
from sigra_forward._outcome import Result
from sigra_forward._route import Route
from sigra_forward._settle import DEFAULT_POLICY, RetryPolicy
from sigra_forward.telemetry import SIGNALS

if TYPE_CHECKING:
    from sigra_forward._job_args import JobArgs
    from sigra_forward.ports import AnyForwarder, AnyRepository, AuditRepository, Forwarder, Telemetry

Call: TypeAlias = "Callable[[Callable[[Any], Any], Any, float | None], Any]"
ACall: TypeAlias = "Callable[[Callable[[Any], Any], Any, float | None], Awaitable[Any]]"


def perform(
    args: JobArgs | Mapping[str, object],
    *,
    repository: AuditRepository,
    forwarders: Mapping[str, Forwarder | Route],
    telemetry: Telemetry = SIGNALS,
    ledger: None = None,
    attempt: int = 1,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> Result:
    """
    Run one job, and raise no `Exception`.

    Args:
        args: The job's args. What is malformed in them is a result, not an error.
        repository: Reads the row.
        forwarders: The registered forwarders, or routes, by name. The job's name only selects among them.
        telemetry: Hears of it; blinker signals by default.
        ledger: ``None``: the ledger comes with a later version.
        attempt: Which attempt it is, 1-based; junk counts as 1.
        policy: Decides about the next attempt, where the route has none of its own.

    Returns:
        What it came to, with its settlement.

    Raises:
        BaseException: One that is no `Exception` is told to *telemetry* and raised again: it is an order to the
            process (`KeyboardInterrupt`, `SystemExit`, a worker's interrupt).
    """
    job = Attempt.of_job(args, forwarders, attempt, policy, ledger, telemetry)
    return run(job, repository, telemetry, _call)


async def aperform(
    args: JobArgs | Mapping[str, object],
    *,
    repository: AnyRepository,
    forwarders: Mapping[str, AnyForwarder | Route],
    telemetry: Telemetry = SIGNALS,
    ledger: None = None,
    attempt: int = 1,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> Result:
    """
    Run one job as `perform` does, awaiting async ports; sync ones run in the library's own threads.

    Raises:
        BaseException: As with `perform`; `asyncio.CancelledError` is one.
    """
    from sigra_forward._bridge import acall

    job = Attempt.of_job(args, forwarders, attempt, policy, ledger, telemetry)
    return await arun(job, repository, telemetry, acall)


def run(attempt: Attempt, repository: Any, telemetry: Telemetry, call: Call) -> Result:
    """Run *attempt*, calling the ports by *call*."""
    try:
        result = attempt.ended or _forward(attempt, repository, call)
    except Exception as exc:  # noqa: BLE001 - whatever a port does, perform answers
        result = unread(exc)
    except BaseException as exc:
        attempt.interrupted(exc, telemetry)
        raise
    return attempt.conclude(result, telemetry)


async def arun(attempt: Attempt, repository: Any, telemetry: Telemetry, acall: ACall) -> Result:
    """Run *attempt*, awaiting the ports by *acall*."""
    try:
        result = attempt.ended or await _aforward(attempt, repository, acall)
    except Exception as exc:  # noqa: BLE001 - whatever a port does, perform answers
        result = unread(exc)
    except BaseException as exc:
        attempt.interrupted(exc, telemetry)
        raise
    return attempt.conclude(result, telemetry)


def _forward(attempt: Attempt, repository: Any, call: Call) -> Result:
    committed = attempt.event
    if committed is None:
        committed = call(repository.get, attempt.audit_event_id, None)
    outgoing = attempt.outgoing(committed)
    if isinstance(outgoing, Result):
        return outgoing
    route: Any = attempt.route
    try:
        answer = call(route.forwarder.forward, outgoing, route.deadline)
    except Exception as exc:  # noqa: BLE001 - a sink may raise anything
        return refused(exc)
    return answered(answer)


async def _aforward(attempt: Attempt, repository: Any, acall: ACall) -> Result:
    committed = attempt.event
    if committed is None:
        committed = await acall(repository.get, attempt.audit_event_id, None)
    outgoing = attempt.outgoing(committed)
    if isinstance(outgoing, Result):
        return outgoing
    route: Any = attempt.route
    try:
        answer = await acall(route.forwarder.forward, outgoing, route.deadline)
    except Exception as exc:  # noqa: BLE001 - a sink may raise anything
        return refused(exc)
    return answered(answer)


def _call(port: Callable[[Any], Any], argument: Any, deadline: float | None) -> Any:
    """Call a port as it is: what it gives that must be awaited is an unexpected return here."""
    return port(argument)
