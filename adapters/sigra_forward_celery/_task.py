"""The one task: perform, and `result.settlement` in Celery's words."""

from __future__ import annotations

from typing import Any, Protocol

from celery import Celery
from celery.exceptions import Reject

from sigra_forward import ConfigurationError, Result, State
from sigra_forward.queues.adapter import TASK_NAME, Binding, ending

LOST_RETRY_IN = 30
"""Seconds after which a job is tried again whose process was killed, or whose worker has no AuditForward."""


class PerformTask(Protocol):
    """Celery's task, with whom its jobs are for."""

    binding: Binding
    request: Any
    max_retries: int | None
    default_retry_delay: int

    def retry(self, **options: Any) -> Exception:
        """Publish the job anew, and return what tells the worker so."""
        ...


def registered(app: Celery, binding: Binding) -> PerformTask:
    """
    Return the app's one task, registered if it is not there yet.

    Raises:
        ConfigurationError: The app has a task of this name that is not ours.
    """
    task: Any = app.tasks.get(TASK_NAME)
    if task is None:
        register: Any = app.task(
            name=TASK_NAME,
            bind=True,
            lazy=False,
            shared=False,  # or every other app of the process would have it too
            typing=False,  # perform says what is wrong with a job, and Celery would not
            binding=binding,
            ignore_result=True,
            acks_late=True,
            retry_on_worker_lost=True,
            default_retry_delay=LOST_RETRY_IN,
            max_retries=4,
        )
        task = register(_perform)
    if not isinstance(getattr(task, "binding", None), Binding):
        msg = f"this Celery app has a task {TASK_NAME!r} of its own: sigra-forward needs the name, rename yours"
        raise ConfigurationError(msg)
    return task  # type: ignore[no-any-return]


def _perform(task: PerformTask, /, *_: object, **job: object) -> None:
    retries = task.request.retries
    attempt = retries + 1 if type(retries) is int else 1
    try:
        result = task.binding.perform(job, attempt)
    except ConfigurationError as exc:  # nobody is bound here; the next worker may be put together better
        unbound = exc
    else:
        _translate(task, result, attempt)
        return
    _retry(task, ConfigurationError(str(unbound)), task.default_retry_delay, None)


def _translate(task: PerformTask, result: Result, attempt: int) -> None:
    settlement = result.settlement
    assert settlement is not None  # noqa: S101 - perform always settles
    if settlement.state is State.COMPLETED:
        return
    if settlement.retry_in is None:
        raise ending(result)
    _retry(task, ending(result), settlement.retry_in, attempt)


def _retry(task: PerformTask, exc: Exception, countdown: float, max_retries: int | None) -> None:
    """Have the job run again. Called outside of every ``except``: Celery would raise what is being handled."""
    try:
        end = task.retry(countdown=countdown, exc=exc, max_retries=max_retries, throw=False)
    except Reject:  # it could not be published: Celery would drop the job, and the broker still has it
        reason = "the retry could not be published"
        end = Reject(reason, requeue=True)
    raise end
