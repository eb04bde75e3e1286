"""The one task: perform, and `result.settlement` in Procrastinate's words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.exceptions import JobAborted
from procrastinate.jobs import Job

from sigra_forward import ConfigurationError, State
from sigra_forward.errors import JobEndedError, JobRetryError
from sigra_forward.queues.adapter import TASK_NAME, Binding, ending, why

MAX_WAIT = 100 * 365 * 24 * 3600
"""Seconds. Much later than that the calendar ends, and the strategy must not fail."""


class SettledStrategy(BaseRetryStrategy):
    """
    Has a job tried again if and when it was settled so.

    Attributes:
        binding: Whom the jobs are for.
        lost_retry_in: Seconds after which a job is tried again whose run came to no settlement.
    """

    def __init__(self, binding: Binding, lost_retry_in: int) -> None:
        self.binding = binding
        self.lost_retry_in = lost_retry_in

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Translate how a run has ended."""
        if isinstance(exception, JobEndedError):
            return None
        if isinstance(exception, JobRetryError):
            return _in(exception.retry_in)
        if isinstance(exception, JobAborted):  # the worker stops, and another goes on
            return _in(0)
        if self.binding.is_bound and not self.binding.may_try_again(job.task_kwargs, attempt_of(job)):
            return None
        return _in(self.lost_retry_in)


def registered(app: Any, strategy: SettledStrategy) -> SettledStrategy:
    """
    Return the strategy of the app's one task, which is registered with *strategy* if it is not there yet.

    Raises:
        ConfigurationError: The app has a task of this name that is not ours.
    """
    task = app.tasks.get(TASK_NAME)
    if task is None:
        task = app.task(name=TASK_NAME, pass_context=True, retry=strategy)(_performing(strategy))
    if not isinstance(task.retry_strategy, SettledStrategy):
        msg = f"this Procrastinate app has a task {TASK_NAME!r} of its own: sigra-forward needs the name, rename yours"
        raise ConfigurationError(msg)
    return task.retry_strategy


def attempt_of(job: Job) -> int:
    """Return which attempt the run of *job* is that is under way."""
    return job.attempts + 1


def _performing(strategy: SettledStrategy) -> Callable[..., Awaitable[None]]:
    async def perform(context: JobContext, /, **job: object) -> None:
        try:
            result = await strategy.binding.aperform(job, attempt_of(context.job))
        except ConfigurationError as exc:  # nobody is bound here; the next worker may be put together better
            unbound = exc
        except asyncio.CancelledError:
            if context.should_abort():  # or else it is the forwarder's own, and no order to this worker
                raise JobAborted from None
            raise
        else:
            settlement = result.settlement
            assert settlement is not None  # noqa: S101 - perform always settles
            if settlement.state is State.COMPLETED:
                return
            if settlement.retry_in is None:
                raise ending(result)
            raise JobRetryError(why(result), settlement.retry_in)
        raise JobRetryError(str(unbound), strategy.lost_retry_in)

    return perform


def _in(seconds: int) -> RetryDecision:
    return RetryDecision(retry_in={"seconds": min(seconds, MAX_WAIT)})
