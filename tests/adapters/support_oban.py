"""What the tests of Oban share: a host bound to the jobs in one database, and a worker of them in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
from oban import Oban
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from sigra_forward import AuditEvent, AuditForward, JobArgs
from sigra_forward.queues.adapter import DEFAULT_QUEUE
from sigra_forward.stores import InMemoryAuditRepository
from sigra_forward.testing import make_event
from sigra_forward_oban import ObanQueue

PATIENCE = 20.0


class Shop(NamedTuple):
    """A host, and the Oban instance that is to run its jobs."""

    dsn: str
    instance: str
    queue: ObanQueue
    repository: InMemoryAuditRepository

    def enqueue(self, forwarder: str, **fields: Any) -> AuditEvent:
        """Commit an event, and put a job for it into the table."""
        event = self.repository.add(make_event(**fields))
        self.queue.enqueue(JobArgs(forwarder, event.id, event.occurred_at))
        return event

    def work(self, done: Callable[[], object], **settings: Any) -> None:
        """Run jobs until *done*."""
        work(self.dsn, done, **{"name": self.instance, "queues": {DEFAULT_QUEUE: 5}, **settings})

    def end_of(self, event: AuditEvent, **settings: Any) -> dict[str, Any]:
        """Run jobs until that of *event* has ended, and return its row."""
        ends = {"completed", "cancelled", "discarded"}
        self.work(lambda: row(self.dsn, event.id)["state"] in ends, **settings)
        return row(self.dsn, event.id)


@contextmanager
def shop(dsn: str, queue: ObanQueue | None = None, /, **forwarders: Any) -> Iterator[Shop]:
    """Bind an ObanQueue, of an Oban instance of its own unless it is given, to a host with *forwarders*."""
    instance = f"Oban {uuid4()}"
    queue = queue or ObanQueue(dsn, oban=instance)
    repository = InMemoryAuditRepository()
    with AuditForward(repository, forwarders, queue=queue):
        yield Shop(dsn, instance, queue, repository)


def work(dsn: str, done: Callable[[], object], **settings: Any) -> None:
    """Run an Oban with *settings* until *done*."""
    asyncio.run(awork(dsn, done, {"stager": {"interval": 0.1}, **settings}))


async def awork(dsn: str, done: Callable[[], object], *settings: dict[str, Any]) -> None:
    """Run an Oban for each of *settings* until *done*."""
    pool = AsyncConnectionPool(dsn, open=False)
    await pool.open()
    instances = [Oban(pool=pool, **some) for some in settings]
    try:
        for instance in instances:
            await instance.start()
        until = monotonic() + PATIENCE
        while not done():
            assert monotonic() < until, "the worker is not done"
            await asyncio.sleep(0.02)
    finally:
        for instance in instances:
            await instance.stop()
        await pool.close()


def rows(dsn: str) -> list[dict[str, Any]]:
    """Return every job, in the order in which they came."""
    with psycopg.connect(dsn, row_factory=dict_row) as db:
        return db.execute("SELECT *, state::text FROM oban_jobs ORDER BY id").fetchall()


def row(dsn: str, audit_event_id: str) -> dict[str, Any]:
    """Return the job of an event."""
    (found,) = (job for job in rows(dsn) if audit_event_id in str(job["args"]))
    return found


def execute(dsn: str, statement: str, *values: object) -> None:
    """Commit one statement, or several that take no values."""
    with psycopg.connect(dsn) as db:
        db.execute(statement, values or None)
