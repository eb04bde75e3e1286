"""`CeleryQueue`: jobs on the host's own Celery app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Celery

from sigra_forward import ConfigurationError
from sigra_forward.queues.adapter import BIND_LOCK, DEFAULT_QUEUE, Binding, not_enqueued, seconds
from sigra_forward_celery._publisher import Publisher
from sigra_forward_celery._settings import rescue_after
from sigra_forward_celery._task import LOST_RETRY_IN, registered

if TYPE_CHECKING:
    from sigra_forward import AuditForward, JobArgs

LIBRARY = "Celery"

HARD_LIMIT_GRACE = 30
"""Seconds from the soft time limit, which is a failed attempt, to the hard one, with which Celery ends the job."""


class CeleryQueue:
    """
    A job queue on the host's Celery app, run by the app's own workers.

    The task `sigra_forward.perform` is registered on *app*, JSON only, its result ignored. It is acknowledged late, and
    run again when its process is killed, whatever the app's settings say of its own tasks: `worker_settings` has what
    the workers need besides. Jobs go out on connections of our own, 16 per process at most, that give up in time. With
    ``task_always_eager`` a job runs in the enqueue, to its end, as Celery's own tasks do. A job that ends other than
    well is a failed task with the reason as its exception, in the worker's log, in the ``task_failure`` signal and in
    Celery's events.

    Args:
        app: The host's Celery app, configured.
        queue: The queue of jobs whose route names none. Have a worker listen: ``celery -A … worker -Q sigra_forward``.
        lost_retry_in: Seconds after which a job is tried again whose process was killed.

    Raises:
        ConfigurationError: The queue's name cannot be one, *lost_retry_in* is no number of seconds, or the app has a
            task of our name that is not ours.
    """

    def __init__(self, app: Celery, *, queue: str = DEFAULT_QUEUE, lost_retry_in: int = LOST_RETRY_IN) -> None:
        if not isinstance(app, Celery):
            msg = f"CeleryQueue(app) takes your Celery app; got a {type(app).__name__}"
            raise ConfigurationError(msg)
        if seconds(lost_retry_in) is None:
            msg = "CeleryQueue(lost_retry_in=...) must be a finite number of seconds of at least 0"
            raise ConfigurationError(msg)
        self._app = app
        self._lost_retry_in = lost_retry_in
        self._binding = Binding("CeleryQueue", queue)
        self._task = registered(app, self._binding)
        self._publisher = Publisher(app)

    def bind(self, audit_forward: AuditForward, /) -> None:
        """
        Learn whom the jobs are for. `AuditForward` calls it once, at construction.

        Raises:
            ConfigurationError: A CeleryQueue of this app is bound already; the app's workers refuse JSON; or a job may
                take longer than the broker waits before it gives it to another worker.
        """
        with BIND_LOCK:
            if self._task.binding.is_bound:
                msg = "a CeleryQueue of this Celery app is bound to an AuditForward already: use one app for each"
                raise ConfigurationError(msg)
            if not {"json", "application/json"} & set(self._app.conf.accept_content):
                msg = "this Celery app's workers would refuse the jobs: add 'json' to accept_content"
                raise ConfigurationError(msg)
            self._binding.bind(audit_forward)
            try:
                self._check_rescue_time()
            except BaseException:
                self._binding.unbind()
                raise
            self._set_up_task()

    def _set_up_task(self) -> None:
        task, binding = self._task, self._binding
        task.default_retry_delay = self._lost_retry_in
        task.max_retries = binding.most_attempts()  # the one beyond the last is not made, but told
        task.soft_time_limit = binding.longest_run()  # of a job that brings no limits: it was written by hand
        task.time_limit = task.soft_time_limit + HARD_LIMIT_GRACE
        task.binding = binding

    def _check_rescue_time(self) -> None:
        rescue = rescue_after(self._app)
        if rescue is not None:
            after, setting = rescue
            needed = self._binding.longest_run() + HARD_LIMIT_GRACE + self._binding.longest_wait()
            self._binding.require_rescue_after(after, needed, setting)

    def enqueue(self, args: JobArgs, /) -> None:
        """
        Put one job on the queue within 1.5 seconds; where the app is eager, run it.

        Raises:
            EnqueueError: It was not enqueued, or nobody would run it. Given up on after 1.2 seconds, it may come about
                all the same.
        """
        queue = self._binding.queue_of(args.forwarder)
        limit = self._binding.time_limit(args.forwarder)
        try:
            self._publisher.publish(
                self._task,
                kwargs=args.to_dict(),
                queue=queue,
                soft_time_limit=limit,
                time_limit=limit + HARD_LIMIT_GRACE,
            )
        except Exception as exc:
            raise not_enqueued(LIBRARY, exc) from exc

    def close(self) -> None:
        """Close the connections to the broker. A later `enqueue` opens one anew."""
        self._publisher.close()
