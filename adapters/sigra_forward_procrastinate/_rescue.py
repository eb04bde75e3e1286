"""The rescue: jobs whose worker was killed, which Procrastinate would leave as they are for ever."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from procrastinate import JobContext
from procrastinate.exceptions import ConnectorException, TaskAlreadyRegistered
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from sigra_forward import ConfigurationError
from sigra_forward.queues.adapter import TASK_NAME, Binding, ending
from sigra_forward_procrastinate._task import attempt_of

RESCUE_NAME = "sigra_forward.rescue"
"""The name of the task, and of the logger that tells of what it does."""

LOST = "job %s, whose worker was lost in attempt %s"

log = logging.getLogger(RESCUE_NAME)


class WorkerLostError(Exception):
    """The worker that ran the job has told of itself no more."""


def schedule_rescue(app: Any, binding: Binding, cron: str, after: float) -> None:
    """
    Have the workers of each of our queues look, by *cron*, for jobs of that queue whose worker is lost.

    Raises:
        ConfigurationError: The app has a task of this name.
    """
    try:
        task = app.task(name=RESCUE_NAME, pass_context=True)(_rescuing(binding, after))
    except TaskAlreadyRegistered:
        msg = f"this Procrastinate app has a task {RESCUE_NAME!r} already: sigra-forward needs the name, rename yours"
        raise ConfigurationError(msg) from None
    for queue in binding.queues():
        # A queue that has no worker now gathers no more than one of them.
        waiting = f"{RESCUE_NAME}:{queue}"
        app.periodic(cron=cron, periodic_id=queue, queue=queue, queueing_lock=waiting)(task)


def _rescuing(binding: Binding, after: float) -> Callable[..., Awaitable[None]]:
    async def rescue(context: JobContext, /, **_: object) -> None:
        manager = context.app.job_manager
        for job in await _lost(manager, context.job.queue, after):
            try:
                await _go_on(manager, binding, job)
            except ConnectorException:  # it is no longer so: somebody else was here
                log.info("job %s is not there to be rescued any more", job.id)

    return rescue


async def _lost(manager: JobManager, queue: str, after: float) -> Iterable[Job]:
    """Return the jobs of *queue* whose worker is lost, and those that no worker can bring to an end."""
    stalled = await manager.get_stalled_jobs(queue=queue, task_name=TASK_NAME, seconds_since_heartbeat=after)
    running = await manager.list_jobs_async(queue=queue, task=TASK_NAME, status=Status.DOING.value)
    # Procrastinate trips over args that are no JSON object before and after it runs the job: it stays as it is.
    broken = [job for job in running if not isinstance(job.task_kwargs, dict)]
    return {job.id: job for job in [*stalled, *broken]}.values()


async def _go_on(manager: JobManager, binding: Binding, job: Job) -> None:
    """Have a lost run count as a failed attempt."""
    result = binding.lost(job.task_kwargs, attempt_of(job), WorkerLostError())
    settlement = result.settlement
    assert settlement is not None  # noqa: S101 - perform always settles
    if settlement.retry_in is None:
        await manager.finish_job(job, Status.FAILED, delete_job=False)
        log.error(f"{LOST}, has ended, %s", job.id, attempt_of(job), ending(result))
    else:
        due = datetime.now(timezone.utc) + timedelta(seconds=settlement.retry_in)
        await manager.retry_job(job, retry_at=due)
        log.warning(f"{LOST}, is tried again in %s s", job.id, attempt_of(job), settlement.retry_in)
