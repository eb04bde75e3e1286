"""
`perform` and `aperform`: run one job, reload the row, forward it, map the result.

Two thin shells round the steps of an `Attempt`, which decides everything. They differ in ``await`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sigra_forward._attempt import Attempt
from sigra_forward._outcome import Result
from sigra_forward._route import Route
from sigra_forward._settle import DEFAULT_POLICY, RetryPolicy
from sigra_forward._steps import arun_steps, run_steps
from sigra_forward.telemetry import SIGNALS

if TYPE_CHECKING:
    from sigra_forward._job_args import JobArgs
    from sigra_forward.ports import (
        AnyForwarder,
        AnyLedger,
        AnyRepository,
        AuditRepository,
        Forwarder,
        Ledger,
        Telemetry,
    )


def perform(
    args: JobArgs | Mapping[str, object],
    *,
    repository: AuditRepository,
    forwarders: Mapping[str, Forwarder | Route],
    telemetry: Telemetry = SIGNALS,
    ledger: Ledger | None = None,
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
        ledger: Holds what was delivered: what is settled is not sent again, and the relay owns each retry.
        attempt: Which attempt it is, 1-based; junk counts as 1.
        policy: Decides about the next attempt, where the route has none of its own.

    Returns:
        What it came to, with its settlement.

    Raises:
        BaseException: One that is no `Exception` is told to *telemetry* and raised again: it is an order to the
            process (`KeyboardInterrupt`, `SystemExit`, a worker's interrupt).
    """
    job = Attempt.of_job(args, forwarders, attempt, policy, ledger, telemetry)
    return run_steps(job.steps(repository, telemetry), _call)


async def aperform(
    args: JobArgs | Mapping[str, object],
    *,
    repository: AnyRepository,
    forwarders: Mapping[str, AnyForwarder | Route],
    telemetry: Telemetry = SIGNALS,
    ledger: AnyLedger | None = None,
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
    return await arun_steps(job.steps(repository, telemetry), acall)


def _call(port: Callable[[Any], Any], argument: Any, deadline: float | None) -> Any:
    """Call a port as it is: what it gives that must be awaited is an unexpected return here."""
    return port(argument)
