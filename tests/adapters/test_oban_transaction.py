"""`ObanQueue.enqueue_in` and `aenqueue_in`: jobs in the host's own transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("oban")
pytest.importorskip("sqlalchemy")

import psycopg
from oban.schema import install_sql
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from sigra_forward import AuditEvent, AuditForward, Dispatch, EnqueueError, Route
from sigra_forward.stores import InMemoryAuditRepository
from sigra_forward.testing import RecordingForwarder, make_event
from sigra_forward_oban import ObanQueue
from tests.adapters.support_oban import PATIENCE, execute, row, rows, shop

SYNC = ["psycopg", "session", "connection"]
ASYNC = ["async psycopg", "async session", "async connection"]

INSERT = "INSERT INTO audit_events VALUES ('{}')"


@pytest.fixture(scope="class", name="dsn")
def _dsn(postgres_server: tuple[str, int], postgres_database: str) -> str:
    """Return the DSN of a database with Oban's tables and the host's."""
    host, port = postgres_server
    dsn = f"postgresql://postgres@{host}:{port}/{postgres_database}"
    execute(dsn, install_sql())
    execute(dsn, "CREATE TABLE audit_events (id text PRIMARY KEY)")
    return dsn


@contextmanager
def opened(kind: str, dsn: str, *, autocommit: bool = False) -> Iterator[Any]:
    """Yield a connection, or a session, of the host's."""
    if kind == "psycopg":
        with psycopg.connect(dsn, autocommit=autocommit) as connection:
            yield connection
        return
    level = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool, **level)
    with Session(engine) if kind == "session" else engine.connect() as connection:
        yield connection


@asynccontextmanager
async def aopened(kind: str, dsn: str, *, autocommit: bool = False) -> AsyncIterator[Any]:
    """Yield an async connection, or session, of the host's."""
    if kind == "async psycopg":
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=autocommit) as connection:
            yield connection
        return
    level = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
    engine = create_async_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool, **level)
    async with AsyncSession(engine) if kind == "async session" else engine.connect() as connection:
        yield connection


def sql(kind: str, statement: str) -> Any:
    """Return *statement* as a connection of that kind takes it."""
    return statement if "psycopg" in kind else text(statement)


def commit(
    kind: str, dsn: str, queue: ObanQueue, event: AuditEvent, *, then: str = "commit", autocommit: bool = False
) -> tuple[str, ...] | EnqueueError:
    """Write the row of *event* and its jobs in one transaction, *then* end it; return what enqueuing gave or raised."""
    statement = sql(kind, INSERT.format(event.id))
    if kind in ASYNC:
        return asyncio.run(acommit(kind, dsn, queue, event, then, autocommit))
    with opened(kind, dsn, autocommit=autocommit) as connection:
        connection.execute(statement)
        try:
            answer: tuple[str, ...] | EnqueueError = queue.enqueue_in(connection, event)
        except EnqueueError as exc:
            answer = exc
        getattr(connection, then)()
    return answer


async def acommit(
    kind: str, dsn: str, queue: ObanQueue, event: AuditEvent, then: str, autocommit: bool
) -> tuple[str, ...] | EnqueueError:
    """Do as `commit` does, awaiting."""
    async with aopened(kind, dsn, autocommit=autocommit) as connection:
        await connection.execute(sql(kind, INSERT.format(event.id)))
        try:
            answer: tuple[str, ...] | EnqueueError = await queue.aenqueue_in(connection, event)
        except EnqueueError as exc:
            answer = exc
        await getattr(connection, then)()
    return answer


async def cancel(kind: str, dsn: str, queue: ObanQueue, before: AuditEvent, after: AuditEvent) -> None:
    """Cancel a call in a transaction, while it waits for a lock, and write a row before it and one after it."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with aopened(kind, dsn) as connection:
        await connection.execute(sql(kind, INSERT.format(before.id)))
        with psycopg.connect(dsn) as other, psycopg.connect(dsn, autocommit=True) as watch:
            other.execute("LOCK TABLE oban_jobs")
            call = asyncio.create_task(queue.aenqueue_in(connection, before))
            until = monotonic() + PATIENCE
            while not watch.execute(waiting).fetchall():
                assert monotonic() < until, "the call does not wait for the lock"
                await asyncio.sleep(0.02)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await connection.execute(sql(kind, INSERT.format(after.id)))
        await connection.commit()


def committed(dsn: str, event: AuditEvent) -> bool:
    """Tell whether the host's own row is there."""
    with psycopg.connect(dsn) as db:
        return db.execute("SELECT 1 FROM audit_events WHERE id = %s", (event.id,)).fetchone() is not None


class TestTransaction:
    """On each kind of connection that a host may hold."""

    @pytest.mark.parametrize("kind", [*SYNC, *ASYNC])
    def test_a_commit_leaves_a_job(self, dsn: str, kind: str) -> None:
        """The row and the job are there together, and a worker runs the job."""
        sink = RecordingForwarder()
        with shop(dsn, siem=sink) as host:
            event = host.repository.add(make_event())

            assert ("siem",) == commit(kind, dsn, host.queue, event)
            assert (True, "completed") == (committed(dsn, event), host.end_of(event)["state"])
        assert [event.id] == sink.ids

    @pytest.mark.parametrize("kind", [*SYNC, *ASYNC])
    def test_a_rollback_leaves_none(self, dsn: str, kind: str) -> None:
        """What the host takes back takes the job with it."""
        event = make_event()
        with shop(dsn, siem=RecordingForwarder()) as host:
            assert ("siem",) == commit(kind, dsn, host.queue, event, then="rollback")

        assert not committed(dsn, event)
        assert event.id not in str(rows(dsn))

    @pytest.mark.parametrize("kind", [*SYNC, *ASYNC])
    def test_a_failure_leaves_the_transaction_as_it_was(self, dsn: str, kind: str) -> None:
        """Where there are no tables, it is an EnqueueError, and the host's own row is committed all the same."""
        event = make_event()
        queue = ObanQueue(dsn, prefix="nowhere", oban=str(uuid4()))
        with shop(dsn, queue, siem=RecordingForwarder()):
            answer = commit(kind, dsn, queue, event)

        assert "the job was not enqueued, and the transaction goes on: UndefinedTable" == str(answer)
        assert committed(dsn, event)

    @pytest.mark.parametrize("kind", [*SYNC, *ASYNC])
    def test_without_a_transaction_there_is_no_job(self, dsn: str, kind: str) -> None:
        """On a connection in autocommit, the error says what is missing."""
        event = make_event()
        with shop(dsn, siem=RecordingForwarder()) as host:
            answer = commit(kind, dsn, host.queue, event, autocommit=True)

        assert "the job needs a transaction that is open and has not failed: NoActiveSqlTransaction" == str(answer)
        assert event.id not in str(rows(dsn))

    @pytest.mark.parametrize("kind", ASYNC)
    def test_a_call_that_is_cancelled_leaves_the_transaction_as_it_was(self, dsn: str, kind: str) -> None:
        """A host that gives up in the midst of it goes on with its own rows, and there is no job."""
        before, after = make_event(), make_event()
        with shop(dsn, siem=RecordingForwarder()) as host:
            asyncio.run(cancel(kind, dsn, host.queue, before, after))

        assert [True, True] == [committed(dsn, before), committed(dsn, after)]
        assert before.id not in str(rows(dsn))

    def test_a_pipeline_gets_no_job(self, dsn: str) -> None:
        """There a failure would take the host's own rows with it: it is refused, and they are committed."""
        event = make_event()
        refused = pytest.raises(EnqueueError, match=r"^nothing was enqueued, .* pipeline")
        sink = RecordingForwarder()
        with shop(dsn, siem=sink) as host, psycopg.connect(dsn) as connection, connection.pipeline(), refused:
            connection.execute(INSERT.format(event.id))
            host.queue.enqueue_in(connection, event)

        assert committed(dsn, event)
        assert event.id not in str(rows(dsn))

    def test_a_transaction_that_has_failed_gets_no_job(self, dsn: str) -> None:
        """What the host's own statement has broken is told as such, and is the host's to roll back."""
        with shop(dsn, siem=RecordingForwarder()) as host, psycopg.connect(dsn) as connection:
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute("SELECT FROM nowhere")
            with pytest.raises(EnqueueError, match="has not failed: InFailedSqlTransaction"):
                host.queue.enqueue_in(connection, make_event())
            connection.rollback()

    def test_every_route_that_wants_it_gets_a_job(self, dsn: str) -> None:
        """One that is sent inline gets none; one that cannot tell whether it wants the event does, as with dispatch."""

        def broken(_: AuditEvent) -> bool:
            raise ValueError

        routes = {
            "auto": RecordingForwarder(),
            "async": Route(RecordingForwarder(), dispatch=Dispatch.ASYNC, queue="urgent"),
            "sync": Route(RecordingForwarder(), dispatch=Dispatch.SYNC),
            "unwanted": Route(RecordingForwarder(), actions=("mfa.*",)),
            "broken": Route(RecordingForwarder(), where=broken),
        }
        event = make_event()
        with shop(dsn, **routes) as host:
            assert ("auto", "async", "broken") == commit("psycopg", dsn, host.queue, event)

        jobs = [job for job in rows(dsn) if job["args"]["audit_event_id"] == event.id]
        expected = [("auto", "sigra_forward"), ("async", "urgent"), ("broken", "sigra_forward")]
        assert expected == [(job["args"]["forwarder"], job["queue"]) for job in jobs]

    def test_a_dispatch_is_not_in_the_transaction(self, dsn: str) -> None:
        """Only the explicit call is: a job that dispatch enqueues is there whatever the host does after."""
        sink = RecordingForwarder()
        with shop(dsn, siem=sink) as host, psycopg.connect(dsn) as connection:
            event = host.repository.add(make_event())
            connection.execute(INSERT.format(event.id))
            host.queue._binding.host.dispatch(event)
            connection.rollback()

        assert "available" == row(dsn, event.id)["state"]


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        pytest.param(None, r"no psycopg\.Connection below a NoneType", id="none"),
        pytest.param(create_engine("sqlite://"), r"below a Engine", id="engine"),
    ],
)
def test_what_is_no_connection_is_told(connection: Any, message: str) -> None:
    """Anything but a connection to PostgreSQL by psycopg 3 is an EnqueueError that says what to pass."""
    queue = ObanQueue("postgresql://127.0.0.1:1/shop", oban=str(uuid4()))
    AuditForward(InMemoryAuditRepository(), {"siem": RecordingForwarder()}, queue=queue)

    with pytest.raises(EnqueueError, match=message):
        queue.enqueue_in(connection, make_event())


def test_an_event_of_another_source_is_told() -> None:
    """A job would name a row of the wrong table."""
    queue = ObanQueue("postgresql://127.0.0.1:1/shop", oban=str(uuid4()))
    AuditForward(InMemoryAuditRepository(), {"siem": RecordingForwarder()}, queue=queue)

    with pytest.raises(EnqueueError, match="nothing was enqueued"):
        queue.enqueue_in(None, make_event(source="elsewhere"))


def test_unbound_it_takes_no_event() -> None:
    """Nobody says which forwarders there are."""
    with pytest.raises(EnqueueError, match="bound to no AuditForward"):
        ObanQueue("postgresql://127.0.0.1:1/shop").enqueue_in(None, make_event())
