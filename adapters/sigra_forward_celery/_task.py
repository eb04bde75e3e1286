"""The one task: perform, and `result.settlement` in Celery's words."""

from __future__ import annotations

from typing import Any, Protocol

from celery import Celery
from celery.exceptions import Reject, WorkerLostError

from sigra_forward import ConfigurationError, Result, State
from sigra_forward.queues.adapter import TASK_NAME, Binding, ending

LOST_RETRY_IN = 30
"""Seconds after which a job is tried again whose process was killed, or whose worker has no AuditForward."""


AT_LEAST_ONCE: dict[str, object] = {
    "acks_late": True,
    "acks_on_failure": True,
    "acks_on_timeout": True,
    "reject_on_worker_lost": True,  # where the retry cannot be published
    "retry_on_worker_lost": True,
    "ignore_result": True,
    "store_eager_result": False,
    "store_errors_even_if_ignored": False,
    "track_started": False,
    "serializer": "json",
}
"""What the task would have of the app's configuration otherwise, ``task_annotations`` included."""


class PerformTask(Protocol):
    """Celery's task, with whom its jobs are for."""

    binding: Binding
    request: Any
    max_retries: int | None
    default_retry_delay: int
    soft_time_limit: int
    time_limit: int

    def retry(self, **options: Any) -> Any:
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
            autoretry_for=(),  # which the app's own class of tasks may have
            default_retry_delay=LOST_RETRY_IN,
            max_retries=4,
        )
        task = register(_perform)
        for name, value in AT_LEAST_ONCE.items():
            setattr(task, name, value)
    if not isinstance(getattr(task, "binding", None), Binding):
        msg = f"this Celery app has a task {TASK_NAME!r} of its own: sigra-forward needs the name, rename yours"
        raise ConfigurationError(msg)
    return task  # type: ignore[no-any-return]


def _perform(task: PerformTask, /, *_: object, **job: object) -> None:
    retries = task.request.retries
    attempt = retries + 1 if type(retries) is int else 1
    try:
        result = _result(task.binding, job, attempt)
    except ConfigurationError as exc:  # nobody is bound here; the next worker may be put together better
        unbound = exc
    else:
        _translate(task, result, attempt)
        return
    _retry(task, ConfigurationError(str(unbound)), task.default_retry_delay, None)


def _result(binding: Binding, job: dict[str, object], attempt: int) -> Result:
    if not binding.may_try_again(job, attempt - 1):  # Celery counts to the most of all routes
        return binding.lost(job, attempt, WorkerLostError())
    return binding.perform(job, attempt)


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
        if task.request.is_eager:
            end.sig.set(throw=False)
    except Reject:  # it could not be published: Celery would drop the job, and the broker still has it
        reason = "the retry could not be published"
        end = Reject(reason, requeue=True)
    raise end
