"""The one Oban worker: perform, and `result.settlement` in Oban's words."""

from __future__ import annotations

from oban import Cancel, Job, Oban, Snooze
from oban.decorators import worker

from sigra_forward import ConfigurationError, Result, State
from sigra_forward.errors import JobRetryError
from sigra_forward.queues.adapter import TASK_NAME, Binding, ending, why

UNBOUND_RETRY_IN = 30
"""Seconds after which a job is tried again that an Oban instance ran for which nobody is bound."""

MAX_INTEGER = 2**31 - 1
"""The most seconds that Oban's statement takes. One that it refuses would stop the queue: it is sent over and over."""

_bound: dict[str, Binding] = {}


class PerformWorker:
    """Oban's worker for our jobs. Oban makes one for each run."""

    def __init__(self) -> None:
        self._retry_in = UNBOUND_RETRY_IN

    async def process(self, job: Job) -> Cancel | Snooze | None:
        """Run *job*, and tell Oban how it ended."""
        result = await _binding(job).aperform(job.args, _attempt(job))
        settlement = result.settlement
        assert settlement is not None  # noqa: S101 - perform always settles
        if settlement.state is State.COMPLETED:
            return None
        if settlement.retry_in is not None:
            return self._again(job, result, min(settlement.retry_in, MAX_INTEGER))
        if settlement.state is State.DISCARDED:
            job.max_attempts = job.attempt  # or Oban would go by the row, which may allow more than the policy does
            raise ending(result)
        return Cancel(str(ending(result)))

    def backoff(self, _: Job) -> int:
        """Return the seconds until the next attempt, as they were settled."""
        return self._retry_in

    def _again(self, job: Job, result: Result, retry_in: int) -> Snooze:
        if job.attempt < job.max_attempts:
            self._retry_in = retry_in
            raise JobRetryError(why(result), retry_in)
        # The policy allows more than the row does: it has grown since. A snooze leaves the row one attempt.
        return Snooze(retry_in, {"last_error": why(result)})


PerformWorker.__module__, _, PerformWorker.__qualname__ = TASK_NAME.rpartition(".")


def register(instance: str, binding: Binding) -> None:
    """
    Have Oban's workers of this process run the jobs of *binding*.

    Args:
        instance: The name of the Oban instance that runs them.
        binding: Whom they are for.

    Raises:
        ConfigurationError: Somebody is bound to that instance already.
    """
    if _bound.setdefault(instance, binding) is not binding:
        msg = (
            f"an ObanQueue of the Oban instance {instance!r} is bound to an AuditForward already: "
            f"use one instance for each, and name it: ObanQueue(oban=...)"
        )
        raise ConfigurationError(msg)
    worker()(PerformWorker)


def _binding(job: Job) -> Binding:
    """Return whom *job* is for: where several are bound in this process, the instance that fetched it tells."""
    if len(_bound) == 1:
        return next(iter(_bound.values()))
    for instance, binding in _bound.items():
        if _has_fetched(instance, job):
            return binding
    msg = "several ObanQueues are bound in this process, and none to the Oban instance that runs this job"
    raise ConfigurationError(msg)


def _has_fetched(instance: str, job: Job) -> bool:
    try:
        queue = Oban.get_instance(instance).check_queue(job.queue)
    except RuntimeError:  # it is not running in this process
        return False
    return queue is not None and queue.uuid in job.attempted_by


def _attempt(job: Job) -> int:
    """Return which attempt this is. Oban takes one back for each snooze."""
    snoozed = job.meta.get("snoozed") if isinstance(job.meta, dict) else None
    return job.attempt + snoozed if type(snoozed) is int else job.attempt
