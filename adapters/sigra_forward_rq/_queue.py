"""`RQQueue`: jobs on RQ, in the host's own Redis."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import redis
from rq import Queue, Retry
from rq.defaults import DEFAULT_FAILURE_TTL, DEFAULT_JOB_MONITORING_INTERVAL
from rq.serializers import JSONSerializer

from sigra_forward import ConfigurationError
from sigra_forward.queues.adapter import BIND_LOCK, DEFAULT_QUEUE, TASK_NAME, Binding, not_enqueued
from sigra_forward_redis import PrivateRedis
from sigra_forward_rq._claims import claim, release, server_of
from sigra_forward_rq._workers import problems

if TYPE_CHECKING:
    from sigra_forward import AuditForward, JobArgs

LIBRARY = "RQ"

PERFORM = "sigra_forward_rq.perform"
"""The job function. RQ has no names of its own, only dotted paths."""

RESULT_TTL = 60
"""
Seconds for which RQ still shows a job that went well.

Not 0: RQ then deletes the job on the spot, and trips over what a worker that was killed has left of it.
"""

HEARTBEAT_GRACE = 60
"""Seconds that RQ adds to the monitoring interval before it gives a job up. Source: BaseWorker.get_heartbeat_ttl."""


class RQQueue:
    """
    A job queue on RQ, in the host's Redis, run by ``rq worker``.

    A worker runs each job in a process of its own, which imports the `AuditForward` that the environment variable
    ``SIGRA_FORWARD_RQ`` of the worker names, as ``module:attribute``. Where it is not set, an RQQueue that is bound in
    the worker's own process is taken. Start workers with `WORKER_OPTIONS`. Jobs are JSON, and go out on connections of
    our own that give up in time. A job whose process was killed is run again. One that ends other than well is in RQ's
    FailedJobRegistry, with the reason at the end of its ``exc_string``.

    Args:
        connection: The host's Redis client.
        queue: The queue of jobs whose route names none. Have a worker listen: ``rq worker … sigra_forward``.
        monitoring_interval: The ``--job-monitoring-interval`` of the workers, in seconds; RQ's own by default.
        failure_ttl: Seconds for which RQ keeps a failed job; a year by default, as RQ's own.

    Raises:
        ConfigurationError: *connection* is no client, *queue* cannot name a queue, or a number is out of range.
    """

    def __init__(
        self,
        connection: redis.Redis,
        *,
        queue: str = DEFAULT_QUEUE,
        monitoring_interval: int = DEFAULT_JOB_MONITORING_INTERVAL,
        failure_ttl: int = DEFAULT_FAILURE_TTL,
    ) -> None:
        if not isinstance(connection, redis.Redis):
            kind = f"{type(connection).__module__}.{type(connection).__name__}"
            msg = f"RQQueue(connection) takes a redis.Redis; got a {kind}"
            raise ConfigurationError(msg)
        for name, number in (("monitoring_interval", monitoring_interval), ("failure_ttl", failure_ttl)):
            if type(number) is not int or number < 1:
                msg = f"RQQueue({name}=...) must be a whole number of seconds of at least 1"
                raise ConfigurationError(msg)
        self._binding = Binding("RQQueue", queue)
        self._server = server_of(connection)
        self._redis = PrivateRedis(connection)
        self._monitoring_interval = monitoring_interval
        self._failure_ttl = failure_ttl

    @property
    def binding(self) -> Binding:
        """Return whom the jobs are for."""
        return self._binding

    def bind(self, audit_forward: AuditForward, /) -> None:
        """
        Learn whom the jobs are for. `AuditForward` calls it once, at construction.

        A Redis that is reached by two names, or by a port and a socket, counts as two: nothing here tells that it is
        one. This machine's own names (``localhost``, ``127.0.0.1``, ``::1``) count as one.

        Raises:
            ConfigurationError: It is bound already; another RQQueue of this process is, to one of the same queues; or
                a job may take longer than RQ waits before it gives it to another worker.
        """
        with BIND_LOCK:
            self._binding.bind(audit_forward)
            try:
                # RQ ends a job at its time limit, and takes it for dead later than that. But one whose worker was
                # killed and that lives on itself is heard of no more, and must have come to its end before RQ gives
                # it up.
                after = HEARTBEAT_GRACE + self._monitoring_interval
                setting = "60 s plus the workers' --job-monitoring-interval, RQQueue(monitoring_interval=...),"
                self._binding.require_rescue_after(after, self._binding.longest_run(), setting)
                claim(self, self._server, self._binding.queues())
            except BaseException:
                self._binding.unbind()
                raise

    def enqueue(self, args: JobArgs, /) -> None:
        """
        Put one job on the queue within 1.5 seconds.

        Raises:
            EnqueueError: It was not enqueued, or nobody would run it. One that Redis did not answer in time may have
                been enqueued all the same.
        """
        forwarder = args.forwarder
        queue = self._binding.queue_of(forwarder)
        retries = self._binding.max_attempts(forwarder) - 1
        put = partial(
            _put,
            queue=queue,
            kwargs=args.to_dict(),
            description=f"{TASK_NAME} {forwarder} {args.audit_event_id}",
            timeout=self._binding.time_limit(forwarder),
            retry=Retry(max=retries) if retries else None,  # of jobs whose process was killed
            result_ttl=RESULT_TTL,
            failure_ttl=self._failure_ttl,
        )
        try:
            self._redis.run(put)
        except Exception as exc:
            raise not_enqueued(LIBRARY, exc) from exc

    def health(self) -> list[str]:
        """
        Return what keeps jobs or their retries from being run, in plain words; nothing if all is well.

        A few round trips to Redis, within 1.5 seconds: for a health check, not for a request. A worker that was
        killed counts as there until its entry in Redis ends, 90 seconds after it was last heard of with
        `WORKER_OPTIONS`, and its scheduler for 61.

        Raises:
            ConfigurationError: It is bound to no `AuditForward`.
        """
        queues = self._binding.queues()
        try:
            return self._redis.run(partial(problems, queues=queues))
        except Exception as exc:  # noqa: BLE001 - whatever the client raised
            return [f"Redis does not answer, so no job can be enqueued: {type(exc).__name__}"]

    def close(self) -> None:
        """Close the connections to Redis, and let another RQQueue have its queues. A later `enqueue` opens one anew."""
        with BIND_LOCK:
            release(self)
        self._redis.close()


def _put(client: redis.Redis, *, queue: str, **options: Any) -> None:
    with client.pipeline() as pipeline:  # one round trip, where RQ's own enqueue makes two
        Queue(queue, connection=client, serializer=JSONSerializer).enqueue_call(PERFORM, pipeline=pipeline, **options)
        pipeline.execute()
