"""`ProcrastinateQueue`: jobs on the host's own Procrastinate app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from croniter import croniter  # type: ignore[import-untyped]
from procrastinate import App
from procrastinate.exceptions import AppNotOpen

from sigra_forward import ConfigurationError
from sigra_forward.queues.adapter import BIND_LOCK, DEFAULT_QUEUE, Binding, not_enqueued, seconds
from sigra_forward_procrastinate._database import AppsWay, PrivateWay, adefer, defer, pool_of, way
from sigra_forward_procrastinate._rescue import schedule_rescue
from sigra_forward_procrastinate._settings import (
    HEARTBEAT_INTERVAL,
    LOST_RETRY_IN,
    MAX_QUEUE_NAME,
    RESCUE_AFTER,
    RESCUE_CRON,
)
from sigra_forward_procrastinate._task import SettledStrategy, registered
from sigra_forward_psycopg import aenqueue_in, enqueue_in

if TYPE_CHECKING:
    from sigra_forward import AuditEvent, AuditForward, JobArgs

LIBRARY = "Procrastinate"


class ProcrastinateQueue:
    """
    A job queue on the host's Procrastinate app, run by the app's own workers.

    The task ``sigra_forward.perform`` is registered on *app*, and for each of our queues the periodic task
    ``sigra_forward.rescue``, which its workers run and which finds the jobs of workers that were killed. Jobs go in
    over connections of our own that give up in time, with the options of the app's connector: the app need not be
    open. A job that ends other than well is ``failed`` in ``procrastinate_jobs``, and its reason is in the worker's
    log, at ERROR: Procrastinate keeps no text. `enqueue_in` and `aenqueue_in` put the jobs into your own transaction.

    Args:
        app: The host's Procrastinate app; Django's, ``procrastinate.contrib.django.app``, may still be to come.
        queue: The queue of jobs whose route names none. Have a worker listen:
            ``procrastinate … worker -q sigra_forward``.
        lost_retry_in: Seconds after which a job is tried again whose run was broken off, or that reached a worker
            without an `AuditForward`.
        rescue_after: Seconds without a heartbeat after which a worker is taken for dead.
        rescue_cron: When to look for the jobs of such workers, in cron's words; a sixth field, of seconds, comes last.

    Raises:
        ConfigurationError: An argument makes no sense, or the app has a task of our name that is not ours.
    """

    def __init__(
        self,
        app: App,
        *,
        queue: str = DEFAULT_QUEUE,
        lost_retry_in: int = LOST_RETRY_IN,
        rescue_after: float = RESCUE_AFTER,
        rescue_cron: str = RESCUE_CRON,
    ) -> None:
        if not isinstance(getattr(app, "tasks", None), dict) or not hasattr(app, "configure_task"):
            msg = f"ProcrastinateQueue(app) takes your Procrastinate app; got a {type(app).__name__}"
            raise ConfigurationError(msg)
        for name, value in {"lost_retry_in": lost_retry_in, "rescue_after": rescue_after}.items():
            if seconds(value) is None:
                msg = f"ProcrastinateQueue({name}=...) must be a finite number of seconds of at least 0"
                raise ConfigurationError(msg)
        if not isinstance(rescue_cron, str) or not croniter.is_valid(rescue_cron):
            msg = "ProcrastinateQueue(rescue_cron=...) must be a cron expression of five fields, or of six"
            raise ConfigurationError(msg)
        self._app = app
        self._rescue_after = rescue_after
        self._rescue_cron = rescue_cron
        self._lost_retry_in = lost_retry_in
        self._binding = Binding("ProcrastinateQueue", queue)
        self._strategy = registered(app, SettledStrategy(self._binding, lost_retry_in))
        self._way: PrivateWay | AppsWay | None = None
        self._way_to: tuple[object, object] = (None, None)

    def bind(self, audit_forward: AuditForward, /) -> None:
        """
        Learn whom the jobs are for. `AuditForward` calls it once, at construction.

        Raises:
            ConfigurationError: A ProcrastinateQueue of this app is bound already; a queue's name is too long; or
                workers would be taken for dead between two heartbeats.
        """
        with BIND_LOCK:
            self._bind(audit_forward)

    def _bind(self, audit_forward: AuditForward) -> None:
        if self._strategy.binding.is_bound:
            msg = "a ProcrastinateQueue of this app is bound to an AuditForward already: use one app for each"
            raise ConfigurationError(msg)
        self._binding.bind(audit_forward)
        try:
            self._check_queues()
            self._check_rescue_time()
            schedule_rescue(self._app, self._binding, self._rescue_cron, self._rescue_after)
        except BaseException:
            self._binding.unbind()
            raise
        self._strategy.binding = self._binding
        self._strategy.lost_retry_in = self._lost_retry_in

    def _check_queues(self) -> None:
        for queue in self._binding.queues():
            if len(queue) > MAX_QUEUE_NAME:
                msg = f"the queue {queue!r} has more than {MAX_QUEUE_NAME} characters: PostgreSQL would refuse its jobs"
                raise ConfigurationError(msg)

    def _check_rescue_time(self) -> None:
        """See that a worker may miss a heartbeat. How long a job takes does not matter: its worker's heart beats on."""
        options = getattr(self._app, "worker_defaults", {})
        interval = options.get("update_heartbeat_interval", HEARTBEAT_INTERVAL)
        if self._rescue_after < 2 * interval:
            msg = (
                f"ProcrastinateQueue(rescue_after={self._rescue_after:g}) is less than twice the worker's "
                f"update_heartbeat_interval, {interval:g} s: jobs that live would be started twice at once. "
                f"Raise the one or lower the other"
            )
            raise ConfigurationError(msg)

    def enqueue(self, args: JobArgs, /) -> None:
        """
        Put one job on the queue within 1.5 seconds.

        Raises:
            EnqueueError: It was not enqueued, or nobody would run it. Given up on after 1.3 seconds, it may come about
                all the same.
        """
        queue = self._binding.queue_of(args.forwarder)
        try:
            self._current_way().defer(args, queue)
        except Exception as exc:
            raise not_enqueued(LIBRARY, exc) from exc

    async def aenqueue(self, args: JobArgs, /) -> None:
        """Put one job on the queue as `enqueue` does, without blocking the event loop."""
        queue = self._binding.queue_of(args.forwarder)
        try:
            way = self._current_way()
            if isinstance(way, AppsWay):
                await way.adefer(args, queue)
                return
        except AppNotOpen:  # for this loop; it may be for threads
            pass
        except Exception as exc:
            raise not_enqueued(LIBRARY, exc) from exc
        await self._binding.host.bridge.acall(self.enqueue, args)

    def enqueue_in(self, connection: Any, event: AuditEvent) -> tuple[str, ...]:
        """
        Put a job for every route that wants *event*, and is not ``Dispatch.SYNC``, into your own transaction.

        They come about if it commits, and not if it rolls back. Do not dispatch, or announce, the event as well: each
        of these routes would get it twice. Nothing is told of it, because it has not happened yet.

        Args:
            connection: In a transaction, on the database of the jobs, which its ``search_path`` must find: a psycopg 3
                connection; a SQLAlchemy ``Session`` or ``Connection`` on ``postgresql+psycopg``; or Django's
                ``connection`` in ``atomic()``.
            event: Of the row that the same transaction writes.

        Returns:
            The names of the forwarders that a job was made for.

        Raises:
            EnqueueError: No job was made, and your transaction goes on as if nothing had been tried; unless it had
                failed before, or its connection is gone, and then the error says so. In a pipeline it is refused.
        """
        queue_of = self._binding.queue_of
        return enqueue_in(
            connection, self._binding, event, lambda native, args: defer(native, args, queue_of(args.forwarder))
        )

    async def aenqueue_in(self, connection: Any, event: AuditEvent) -> tuple[str, ...]:
        """
        Put jobs into your own transaction as `enqueue_in` does, on psycopg's or SQLAlchemy's async connections.

        Cancelled, it leaves your transaction to go on without the jobs, or, in its very last moment, with them. If it
        is cancelled again before psycopg is done with the first time, psycopg closes your connection.
        """
        queue_of = self._binding.queue_of
        return await aenqueue_in(
            connection, self._binding, event, lambda native, args: adefer(native, args, queue_of(args.forwarder))
        )

    def _current_way(self) -> PrivateWay | AppsWay:
        """Return the way by the app's connector, which tests replace, and which hosts open on pools of their own."""
        connector = self._app.connector
        way_to = (connector, pool_of(connector))
        if self._way is None or self._way_to != way_to:
            self.close()
            self._way, self._way_to = way(self._app.job_manager), way_to
        return self._way

    def close(self) -> None:
        """Close the connections to the database. A later `enqueue` opens one anew."""
        if self._way is not None:
            self._way.close()
