"""`ObanQueue`: jobs in Oban's own table, run by Oban's own workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sigra_forward import ConfigurationError
from sigra_forward.queues.adapter import BIND_LOCK, DEFAULT_QUEUE, Binding, not_enqueued
from sigra_forward_oban._jobs import Insertion
from sigra_forward_oban._settings import table
from sigra_forward_oban._worker import register
from sigra_forward_psycopg import PrivatePostgres, aenqueue_in, enqueue_in

if TYPE_CHECKING:
    from sigra_forward import AuditEvent, AuditForward, JobArgs

LIBRARY = "Oban"

DEFAULT_INSTANCE = "Oban"
"""The name of an Oban instance that was given none. Source: oban.Oban, Oban 0.7."""

ACK_TIME = 2
"""Seconds, above a job's own, for Oban to fetch it and to write down how it ended."""


class ObanQueue:
    """
    A job queue in Oban's table, run by any worker process of Oban's that has built the same `ObanQueue`.

    Jobs go in over connections of our own that give up in time; a web process needs neither an event loop nor a running
    Oban. A job that ends other than well is ``cancelled`` or ``discarded`` in ``oban_jobs``, with its reason in
    ``errors``. `enqueue_in` and `aenqueue_in` put the jobs into your own transaction.

    Args:
        dsn: The database of the jobs; by default that of Oban's own configuration, ``OBAN_DSN`` or ``oban.toml``.
        prefix: The schema of Oban's tables; by default that of Oban's own configuration, else ``public``.
        queue: The queue of jobs whose route names none. Have a worker listen: ``--queues sigra_forward:10``.
        rescue_after: Seconds after which Oban's lifeline gives a job to another worker, as your workers have it; by
            default that of Oban's own configuration, else 300. It is checked against what a job may take.
        oban: The name of the Oban instance that runs the jobs, where a process has several.

    Raises:
        ConfigurationError: The database is not known, or an argument makes no sense.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        prefix: str | None = None,
        queue: str = DEFAULT_QUEUE,
        rescue_after: float | None = None,
        oban: str = DEFAULT_INSTANCE,
    ) -> None:
        if not isinstance(oban, str):
            msg = f"ObanQueue(oban=...) takes the name of an Oban instance; got a {type(oban).__name__}"
            raise ConfigurationError(msg)
        self._binding = Binding("ObanQueue", queue)
        self._table = table(dsn, prefix, rescue_after)
        self._oban = oban
        self._insertion = Insertion(self._table.prefix)
        self._database = PrivatePostgres(self._table.connection)

    def bind(self, audit_forward: AuditForward, /) -> None:
        """
        Learn whom the jobs are for. `AuditForward` calls it once, at construction.

        Raises:
            ConfigurationError: It is bound already, or another ObanQueue of this Oban instance is; or a job may take
                longer than Oban waits before it gives it to another worker.
        """
        with BIND_LOCK:
            self._binding.bind(audit_forward)
            try:
                self._binding.require_rescue_after(
                    self._table.rescue_after,
                    self._binding.longest_run() + ACK_TIME,
                    "rescue_after, of Oban's lifeline and of ObanQueue,",
                )
                register(self._oban, self._binding)
            except BaseException:
                self._binding.unbind()
                raise

    def enqueue(self, args: JobArgs, /) -> None:
        """
        Put one job into the table within 1.5 seconds.

        Raises:
            EnqueueError: It was not enqueued, or nobody would run it. Given up on after 1.3 seconds, it may come about
                all the same.
        """
        values = self._insertion.values(args, self._binding)
        try:
            self._database.run(lambda connection: connection.execute(self._insertion.statement, values))
        except Exception as exc:
            raise not_enqueued(LIBRARY, exc) from exc

    def enqueue_in(self, connection: Any, event: AuditEvent) -> tuple[str, ...]:
        """
        Put a job for every route that wants *event*, and is not ``Dispatch.SYNC``, into your own transaction.

        They come about if it commits, and not if it rolls back. Do not dispatch, or announce, the event as well: each
        of these routes would get it twice. Nothing is told of it, because it has not happened yet.

        Args:
            connection: In a transaction, on the database of the jobs: a psycopg 3 connection; or a SQLAlchemy
                ``Session`` or ``Connection`` on ``postgresql+psycopg``.
            event: Of the row that the same transaction writes.

        Returns:
            The names of the forwarders that a job was made for.

        Raises:
            EnqueueError: No job was made, and your transaction goes on as if nothing had been tried; unless it had
                failed before, or its connection is gone, and then the error says so. In a pipeline it is refused.
        """
        return enqueue_in(connection, self._binding, event, self._insert)

    async def aenqueue_in(self, connection: Any, event: AuditEvent) -> tuple[str, ...]:
        """
        Put jobs into your own transaction as `enqueue_in` does, on an async connection or session of the same.

        Cancelled, it leaves your transaction to go on without the jobs, or, in its very last moment, with them. If it
        is cancelled again before psycopg is done with the first time, psycopg closes your connection.
        """
        return await aenqueue_in(connection, self._binding, event, self._insert)

    def _insert(self, connection: Any, args: JobArgs) -> Any:
        """Insert a job on *connection*; where that is async, return what is to be awaited."""
        return connection.execute(self._insertion.statement, self._insertion.values(args, self._binding))

    def close(self) -> None:
        """Close the connections to the database. A later `enqueue` opens one anew."""
        self._database.close()
