"""`ProcrastinateQueue` on PostgreSQL, with real workers."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

pytest.importorskip("procrastinate")

import psycopg
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.exceptions import JobAborted
from procrastinate.jobs import Job
from procrastinate.testing import InMemoryConnector
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from sigra_forward import (
    AuditEvent,
    AuditForward,
    ConfigurationError,
    Dispatch,
    EnqueueError,
    JobArgs,
    RetryPolicy,
    Route,
)
from sigra_forward.errors import JobEndedError, JobRetryError
from sigra_forward.queues.adapter import TASK_NAME
from sigra_forward.stores import InMemoryAuditRepository
from sigra_forward.telemetry import Discarded
from sigra_forward.testing import (
    QueueWorkerContract,
    RecordingForwarder,
    RecordingTelemetry,
    TCPProxy,
    make_event,
)
from sigra_forward.testing.contracts import Ended, Rig
from sigra_forward_procrastinate import WORKER_DEFAULTS, ProcrastinateQueue
from sigra_forward_procrastinate._rescue import RESCUE_NAME
from sigra_forward_procrastinate._settings import MAX_QUEUE_NAME
from tests.adapters.support_overrunning import OverrunningForwarder
from tests.adapters.workers.procrastinate_worker import make_app, make_queue
from tests.support_ids import spelled

ENDS = {"succeeded": "succeeded", "failed": "failed", "aborted": "failed"}


def apply_schema(conninfo: str) -> None:
    """Make Procrastinate's tables."""
    with App(connector=SyncPsycopgConnector(conninfo=conninfo)).open() as app:
        app.schema_manager.apply_schema()


class TestProcrastinate(QueueWorkerContract):
    """Procrastinate, its workers started by its own command."""

    library = "Procrastinate, PostgreSQL"
    visibility = "status `failed`; the reason in the worker's log"
    recovery = "47 to 118 s"
    is_transactional = True

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, postgres_server: tuple[str, int], postgres_database: str) -> Iterator[tuple[str, int]]:
        cls.database = postgres_database
        apply_schema(cls.conninfo(*postgres_server))
        with psycopg.connect(cls.conninfo(*postgres_server), autocommit=True) as cls.db:
            yield postgres_server

    @classmethod
    def conninfo(cls, host: str, port: int) -> str:
        return f"postgresql://postgres@{host}:{port}/{cls.database}"

    @classmethod
    def environment(cls) -> dict[str, str]:
        conninfo = psycopg.conninfo.make_conninfo(**cls.db.info.get_parameters())
        return {"BENCH_CONNINFO": conninfo, "PYTHONPATH": str(Path(__file__).parent / "workers")}

    @classmethod
    def job_queue(cls, host: str, port: int, prefix: str) -> ProcrastinateQueue:
        return make_queue(make_app(cls.conninfo(host, port)), prefix)

    @classmethod
    def worker(cls, queues: Sequence[str], *, unbound: bool = False, old: bool = False) -> list[str]:
        kind = "unbound" if unbound else "old" if old else "bound"
        command = [sys.executable, "-m", "procrastinate", "--app=procrastinate_worker.app", "worker"]
        return ["env", f"BENCH_KIND={kind}", *command, "-q", ",".join(queues)]

    @classmethod
    def ended(cls, rig: Rig, audit_event_id: str, log: str) -> Ended | None:
        query = "SELECT id, status::text FROM procrastinate_jobs WHERE args ->> 'audit_event_id' = %s"
        number, status = cls.db.execute(query, (audit_event_id,)).fetchone() or (0, "")
        return Ended(ENDS[status], _told(log, number)) if status in ENDS else None

    @classmethod
    def put(cls, rig: Rig, job: Any) -> None:
        statement = "INSERT INTO procrastinate_jobs (task_name, queue_name, args) VALUES (%s, %s, %s)"
        cls.db.execute(statement, (TASK_NAME, rig.prefix, Jsonb(job)))

    @pytest.mark.parametrize("args", [[], None, "accepting", 5], ids=spelled)
    def test_27_args_that_are_no_object(self, rig: Rig, shared: Any, args: object) -> None:
        """Procrastinate itself trips over such a job and leaves it as it is; our rescue ends it, and says so."""
        self.put(rig, args)
        event = self.enqueue(rig, "accepting")

        assert "succeeded" == self.end_of(rig, event, shared).state
        statement = "SELECT count(*) FROM procrastinate_jobs WHERE args = %s AND status = 'failed'"
        self.wait_for(lambda: self.db.execute(statement, (Jsonb(args),)).fetchone() == (1,), self.patience)
        # It says so once the database has it.
        self.wait_for(lambda: "has ended, cancelled: invalid_job_args" in shared.log(), self.patience)

    def test_27_a_key_that_is_procrastinates_own(self, rig: Rig, shared: Any) -> None:
        """A key that Procrastinate cannot pass on ends the job after as many attempts as any other has."""
        event = rig.bench.commit()
        self.put(rig, {"forwarder": "accepting", "audit_event_id": event.id, "self": 1, "context": 2})

        end = self.end_of(rig, event, shared)

        assert ("failed", []) == (end.state, rig.bench.sent(event.id))
        assert "TypeError" in end.reason

    @pytest.mark.parametrize("task", ["os.system", "subprocess.run", "sigra_forward.performs"])
    def test_27_a_task_is_a_name_and_no_path(self, rig: Rig, shared: Any, task: str, tmp_path: Path) -> None:
        """A dotted path in a job's task imports nothing and runs nothing, and the job is seen to have failed."""
        target = tmp_path / "made"
        statement = "INSERT INTO procrastinate_jobs (task_name, queue_name, args) VALUES (%s, %s, %s) RETURNING id"
        command = Jsonb({"command": f"touch {target}", "args": ["touch", str(target)]})
        (number,) = self.db.execute(statement, (task, rig.prefix, command)).fetchone()

        query = "SELECT status::text FROM procrastinate_jobs WHERE id = %s"
        self.wait_for(lambda: self.db.execute(query, (number,)).fetchone() == ("failed",), self.patience)
        assert not target.exists()

    def test_28_a_job_is_three_texts(self, rig: Rig) -> None:
        """A job's args are JSON, hold the three keys and nothing else, and it has no lock of either kind."""
        event = make_event()
        rig.queue.enqueue(JobArgs("accepting.spare", event.id, event.occurred_at))

        columns = "args, queue_name, task_name, lock, queueing_lock"
        query = f"SELECT {columns} FROM procrastinate_jobs WHERE args ->> 'audit_event_id' = %s"
        job = {"forwarder": "accepting.spare", "audit_event_id": event.id, "occurred_at": "2026-01-31T09:30:00+00:00"}
        assert (job, f"{rig.prefix}_spare", TASK_NAME, None, None) == self.db.execute(query, (event.id,)).fetchone()

    def test_32_the_rescue_is_run_by_each_queues_own_workers(self, rig: Rig, shared: Any) -> None:
        """A queue that nobody listens on gathers no more than one of our periodic jobs."""
        query = (
            "SELECT queue_name, count(*) FROM procrastinate_jobs WHERE task_name = %s AND status = 'todo' GROUP BY 1"
        )

        waiting = dict(self.db.execute(query, (RESCUE_NAME,)).fetchall())

        assert 1 == waiting[f"{rig.prefix}_spare"] == max(waiting.values())


def _told(log: str, number: int) -> str:
    """Return what the worker has said at ERROR of a job, traceback included."""
    told = rf"^ERROR:.*(?:\[{number}\]\(.*ended with status: Error|job {number}, whose worker was lost)"
    return "".join(re.findall(rf"{told}.*\n(?:(?!DEBUG:|INFO:|WARNING:|ERROR:).*\n)*", log, re.MULTILINE))


# What needs a database, and no worker of its own.


class Shop:
    """An application: its tables, its app, and an AuditForward on it with a route of each kind."""

    queue_name = "shop"

    def __init__(self, conninfo: str, connector: Any = None) -> None:
        self.conninfo = conninfo
        self.app = App(connector=connector or PsycopgConnector(conninfo=conninfo), worker_defaults=WORKER_DEFAULTS)
        self.queue = ProcrastinateQueue(self.app, queue=self.queue_name, lost_retry_in=7)
        self.repository = InMemoryAuditRepository()
        self.siem, self.archive = RecordingForwarder(), RecordingForwarder()
        self.telemetry = RecordingTelemetry()
        self.host = AuditForward(
            self.repository,
            {
                "siem": Route(self.siem, policy=RetryPolicy(3, backoff=lambda _: 5)),
                "archive": Route(self.archive, dispatch=Dispatch.ASYNC, where=_unsure, queue="archive"),
                "inline": Route(RecordingForwarder(), dispatch=Dispatch.SYNC),
                "logins": Route(RecordingForwarder(), actions=("login.*",)),
            },
            queue=self.queue,
            telemetry=self.telemetry,
        )
        self.db = psycopg.connect(conninfo, autocommit=True)

    def jobs(self, event: AuditEvent) -> list[tuple[Any, ...]]:
        """Return the queue and the forwarder of each job for *event*."""
        query = "SELECT queue_name, args ->> 'forwarder' FROM procrastinate_jobs WHERE args ->> 'audit_event_id' = %s"
        return self.db.execute(f"{query} ORDER BY id", (event.id,)).fetchall()

    def has_row(self, event: AuditEvent) -> bool:
        """Tell whether the row of *event* was committed."""
        return self.db.execute("SELECT count(*) FROM shop.rows WHERE id = %s", (event.id,)).fetchone() == (1,)

    def put(self, **columns: Any) -> int:
        """Write a job for `siem` into the table, as Procrastinate would leave it."""
        event = self.repository.add(make_event())
        job = {
            "queue_name": self.queue_name,
            "task_name": TASK_NAME,
            "status": "doing",
            "args": {"forwarder": "siem", "audit_event_id": event.id},
            **columns,
        }
        values = [Jsonb(value) if name == "args" else value for name, value in job.items()]
        holes = ", ".join(["%s"] * len(job))
        statement = f"INSERT INTO procrastinate_jobs ({', '.join(job)}) VALUES ({holes}) RETURNING id"
        return self.db.execute(statement, values).fetchone()[0]

    def job(self, number: int) -> tuple[str, int, datetime | None]:
        """Return the status, the attempts and the time of a job."""
        query = "SELECT status::text, attempts, scheduled_at FROM procrastinate_jobs WHERE id = %s"
        return self.db.execute(query, (number,)).fetchone()

    def run_worker(self, *queues: str) -> None:
        """Run what there is to run now."""
        options = {"wait": False, "install_signal_handlers": False, "listen_notify": False}
        self.app.run_worker(queues=list(queues or (self.queue_name,)), **options)

    def rescue(self) -> None:
        """Run the rescue, now."""
        with App(connector=SyncPsycopgConnector(conninfo=self.conninfo)).open() as app:
            app.configure_task(RESCUE_NAME, queue=self.queue_name).defer(timestamp=0)
        self.run_worker()

    def close(self) -> None:
        """Close all."""
        self.host.close()
        self.db.close()


def _unsure(event: AuditEvent) -> bool:
    if event.action == "unsure":
        raise KeyError(event.action)
    return event.action != "unwanted"


@pytest.fixture(scope="module")
def database(postgres_server: tuple[str, int]) -> Iterator[str]:
    """Give a database with Procrastinate's tables, and the host's in a schema of its own."""
    host, port = postgres_server
    name = f"sigra_forward_{os.getpid()}_{monotonic():.0f}"
    with psycopg.connect(host=host, port=port, user="postgres", dbname="postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        conninfo = f"postgresql://postgres@{host}:{port}/{name}"
        apply_schema(conninfo)
        with psycopg.connect(conninfo) as db:
            db.execute("CREATE SCHEMA shop")
            db.execute("CREATE TABLE shop.rows (id text)")
        yield conninfo
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def shop(database: str) -> Iterator[Shop]:
    """Give an application on an empty queue, whose app is never opened."""
    shop = Shop(database)
    shop.db.execute("TRUNCATE procrastinate_jobs, procrastinate_periodic_defers, procrastinate_workers CASCADE")
    yield shop
    shop.close()


# Its own transaction.

Statement = Callable[[str], Any]


@contextmanager
def _psycopg(conninfo: str, *, autocommit: bool) -> Iterator[tuple[Any, Statement]]:
    with psycopg.connect(conninfo, autocommit=autocommit) as connection:
        yield connection, connection.execute


@contextmanager
def _sqlalchemy_connection(conninfo: str, *, autocommit: bool) -> Iterator[tuple[Any, Statement]]:
    with _engine(conninfo, autocommit).connect() as connection:
        yield connection, connection.exec_driver_sql


@contextmanager
def _sqlalchemy_session(conninfo: str, *, autocommit: bool) -> Iterator[tuple[Any, Statement]]:
    from sqlalchemy import text
    from sqlalchemy.orm import Session

    with Session(_engine(conninfo, autocommit)) as session:
        yield session, lambda statement: session.execute(text(statement))


def _engine(conninfo: str, autocommit: bool, create: str = "create_engine") -> Any:
    import sqlalchemy
    import sqlalchemy.ext.asyncio

    make = getattr(sqlalchemy if create == "create_engine" else sqlalchemy.ext.asyncio, create)
    options = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
    return make(conninfo.replace("postgresql:", "postgresql+psycopg:"), poolclass=sqlalchemy.NullPool, **options)


@asynccontextmanager
async def _async_psycopg(conninfo: str, *, autocommit: bool) -> AsyncIterator[tuple[Any, Statement]]:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=autocommit) as connection:
        yield connection, connection.execute


@asynccontextmanager
async def _async_sqlalchemy_connection(conninfo: str, *, autocommit: bool) -> AsyncIterator[tuple[Any, Statement]]:
    async with _engine(conninfo, autocommit, "create_async_engine").connect() as connection:
        yield connection, connection.exec_driver_sql


@asynccontextmanager
async def _async_sqlalchemy_session(conninfo: str, *, autocommit: bool) -> AsyncIterator[tuple[Any, Statement]]:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import AsyncSession

    async with AsyncSession(_engine(conninfo, autocommit, "create_async_engine")) as session:
        yield session, lambda statement: session.execute(text(statement))


SYNC = [_psycopg, _sqlalchemy_connection, _sqlalchemy_session]
ASYNC = [_async_psycopg, _async_sqlalchemy_connection, _async_sqlalchemy_session]


def _own_row(event: AuditEvent) -> str:
    return f"INSERT INTO shop.rows VALUES ('{event.id}')"


@pytest.mark.parametrize("kind", [*SYNC, *ASYNC], ids=lambda kind: kind.__name__[1:])
class TestTransactions:
    """`enqueue_in` and `aenqueue_in`, on every kind of connection."""

    def enqueue(
        self, kind: Any, shop: Shop, event: AuditEvent, *, end: str, before: str = "SELECT 1", **how: Any
    ) -> Any:
        """Write the row of *event*, enqueue, and end the transaction; return what the enqueuing gave or raised."""
        how = {"autocommit": False, **how}
        if kind in ASYNC:
            return asyncio.run(self.aenqueue(kind, shop, event, end, before, how))
        with kind(shop.conninfo, **how) as (connection, execute):
            execute(_own_row(event))
            execute(before)
            try:
                answer = shop.queue.enqueue_in(connection, event)
            except EnqueueError as exc:
                answer = exc
            getattr(connection, end)()
        return answer

    async def aenqueue(self, kind: Any, shop: Shop, event: AuditEvent, end: str, before: str, how: Any) -> Any:
        """Do the same on an event loop."""
        async with kind(shop.conninfo, **how) as (connection, execute):
            await execute(_own_row(event))
            await execute(before)
            try:
                answer = await shop.queue.aenqueue_in(connection, event)
            except EnqueueError as exc:
                answer = exc
            await getattr(connection, end)()
        return answer

    def test_committed_the_jobs_are_there(self, kind: Any, shop: Shop) -> None:
        """A job for each route that wants the event and is not inline, on its own queue, in the row's transaction."""
        event = make_event()

        names = self.enqueue(kind, shop, event, end="commit")

        assert ("siem", "archive") == names
        assert ([("shop", "siem"), ("archive", "archive")], True) == (shop.jobs(event), shop.has_row(event))

    def test_rolled_back_there_is_none(self, kind: Any, shop: Shop) -> None:
        """Without the row there is no job."""
        event = make_event()

        names = self.enqueue(kind, shop, event, end="rollback")

        assert ("siem", "archive") == names
        assert ([], False) == (shop.jobs(event), shop.has_row(event))

    def test_a_failure_leaves_the_transaction_as_it_was(self, kind: Any, shop: Shop) -> None:
        """Where Procrastinate is not to be found it is an EnqueueError, and the host's own row is committed."""
        event = make_event()

        error = self.enqueue(kind, shop, event, end="commit", before="SET LOCAL search_path = shop")

        assert isinstance(error, EnqueueError)
        assert "the transaction goes on: UndefinedObject" in str(error)
        assert ([], True) == (shop.jobs(event), shop.has_row(event))

    def test_without_a_transaction_there_is_none(self, kind: Any, shop: Shop) -> None:
        """In autocommit there is nothing that could be rolled back, and the error says so."""
        event = make_event()

        error = self.enqueue(kind, shop, event, end="commit", autocommit=True)

        assert isinstance(error, EnqueueError)
        assert "the job needs a transaction that is open" in str(error)
        assert [] == shop.jobs(event)


@pytest.mark.parametrize("kind", ASYNC, ids=lambda kind: kind.__name__[1:])
def test_a_call_that_is_cancelled_leaves_the_transaction_as_it_was(kind: Any, shop: Shop) -> None:
    """A host that gives up in the midst of it goes on with its own rows, and there is no job."""
    before, after = make_event(), make_event()

    async def use() -> None:
        async with kind(shop.conninfo, autocommit=False) as (connection, execute):
            await execute(_own_row(before))
            with psycopg.connect(shop.conninfo) as other:
                other.execute("LOCK TABLE procrastinate_jobs")
                call = asyncio.create_task(shop.queue.aenqueue_in(connection, before))
                until = monotonic() + 10
                while not shop.db.execute(WAITING).fetchall():
                    assert monotonic() < until
                    await asyncio.sleep(0.02)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            await execute(_own_row(after))
            await connection.commit()

    asyncio.run(use())

    assert [True, True, []] == [shop.has_row(before), shop.has_row(after), shop.jobs(before)]


WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def test_a_job_of_a_transaction_is_run(shop: Shop) -> None:
    """From the row to the sinks: a worker runs what was committed, and nothing was told before."""
    event = shop.repository.add(make_event())
    with psycopg.connect(shop.conninfo) as connection:
        shop.queue.enqueue_in(connection, event)
        told = list(shop.telemetry.events)
    shop.run_worker("shop", "archive")

    assert ([], [event.id], [event.id]) == (told, shop.siem.ids, shop.archive.ids)


@pytest.mark.parametrize(
    ("action", "expected"), [("unwanted", ("siem",)), ("unsure", ("siem", "archive")), ("login.ok", None)]
)
def test_who_wants_an_event_is_asked_as_ever(shop: Shop, action: str, expected: tuple[str, ...] | None) -> None:
    """The routes decide; a ``where`` that raises is taken as a yes, as in a dispatch."""
    with psycopg.connect(shop.conninfo) as connection:
        names = shop.queue.enqueue_in(connection, make_event(action=action))

    assert (expected or ("siem", "archive", "logins")) == names


@pytest.mark.parametrize("connection", [None, "postgresql://localhost", object()], ids=["none", "text", "object"])
def test_what_is_no_connection_is_refused(shop: Shop, connection: object) -> None:
    """It says what is wanted."""
    with pytest.raises(EnqueueError, match=r"^there is no psycopg.Connection below a .*postgresql\+psycopg"):
        shop.queue.enqueue_in(connection, make_event())
    with pytest.raises(EnqueueError, match=r"^there is no psycopg.AsyncConnection below a "):
        asyncio.run(shop.queue.aenqueue_in(connection, make_event()))


def test_another_database_is_refused(shop: Shop) -> None:
    """SQLite's own connection, and SQLAlchemy's to it, cannot hold the job."""
    import sqlite3

    from sqlalchemy import NullPool, create_engine

    lite = sqlite3.connect(":memory:")
    with create_engine("sqlite://", poolclass=NullPool).connect() as connection:
        for wrong in (lite, connection):
            with pytest.raises(EnqueueError, match=r"^there is no psycopg.Connection below a Connection"):
                shop.queue.enqueue_in(wrong, make_event())
    lite.close()


def test_a_connection_of_the_other_kind_is_refused(shop: Shop) -> None:
    """A sync connection cannot be awaited."""
    with (
        psycopg.connect(shop.conninfo) as connection,
        pytest.raises(EnqueueError, match=r"^there is no psycopg.AsyncConnection below a Connection"),
    ):
        asyncio.run(shop.queue.aenqueue_in(connection, make_event()))


def test_what_is_no_event_is_refused(shop: Shop) -> None:
    """Nor is one of another source, or a queue that is bound to nobody."""
    with psycopg.connect(shop.conninfo) as connection:
        for wrong in (None, "1", make_event(source="other")):
            with pytest.raises(EnqueueError, match=r"it takes an AuditEvent of source 'audit_events'"):
                shop.queue.enqueue_in(connection, wrong)  # type: ignore[arg-type]
        with pytest.raises(EnqueueError, match="bound to no AuditForward"):
            ProcrastinateQueue(app()).enqueue_in(connection, make_event())


def test_a_connection_that_is_gone_is_an_enqueue_error(shop: Shop) -> None:
    """Whatever psycopg raises, one error comes out."""
    with psycopg.connect(shop.conninfo) as connection:
        shop.db.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))

        with pytest.raises(EnqueueError):
            shop.queue.enqueue_in(connection, make_event())


OTHERS = "or SQLAlchemy's session or connection on postgresql+psycopg, or Django's connection"


def test_django(database: str, workers: Path) -> None:
    """On Django's own app and its own connection: dispatch, commit, rollback, failure, no transaction, no server, a worker."""
    pytest.importorskip("django")
    script = workers / "procrastinate_django.py"

    done = subprocess.run([sys.executable, script, database], capture_output=True, text=True, check=False, timeout=60)

    expected = [
        "dispatched: enqueued",
        "committed: ('siem',) 1 job, 1 row",
        "rolled back: ('siem',) 0 jobs, 0 rows",
        "failed: UndefinedObject 0 jobs, 1 row",
        "autocommit: NoActiveSqlTransaction 0 jobs, 0 rows",
        "down: nothing was enqueued, because the DatabaseWrapper gave no connection: OperationalError",
        f"lite: there is no psycopg.Connection below a DatabaseWrapper: pass one, {OTHERS}",
        "run: 2",
    ]
    assert (expected, 0) == (done.stdout.splitlines(), done.returncode), done.stderr


# The app's connector.


def _count(shop: Shop) -> int:
    return shop.db.execute("SELECT count(*) FROM procrastinate_jobs WHERE task_name = %s", (TASK_NAME,)).fetchone()[0]


def _in_parts(conninfo: str) -> dict[str, Any]:
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    return {"kwargs": {**parts, "cursor_factory": psycopg.AsyncClientCursor, "prepare_threshold": None}}


@pytest.mark.parametrize(
    "connector",
    [
        pytest.param(lambda conninfo: PsycopgConnector(conninfo=conninfo), id="async"),
        pytest.param(lambda conninfo: SyncPsycopgConnector(conninfo=conninfo), id="sync"),
        pytest.param(lambda conninfo: PsycopgConnector(**_in_parts(conninfo), min_size=1), id="in parts"),
    ],
)
def test_the_app_need_not_be_open(database: str, shop: Shop, connector: Any) -> None:
    """A web process that never opens it enqueues all the same, with the connector's own options."""
    other = Shop(database, connector(database))
    try:
        other.host.queue.enqueue(JobArgs("siem", "1"))
        asyncio.run(other.queue.aenqueue(JobArgs("siem", "2")))
    finally:
        other.close()

    assert 2 == _count(shop)


def test_the_search_path_of_the_connector_holds(shop: Shop) -> None:
    """Tables in another schema are found by the options that the connector has."""
    shop.db.execute("CREATE SCHEMA other")
    conninfo = psycopg.conninfo.make_conninfo(shop.conninfo, options="-csearch_path=other")
    apply_schema(conninfo)
    other = Shop(conninfo)
    try:
        other.queue.enqueue(JobArgs("siem", "1"))
    finally:
        other.close()

    assert (1,) == shop.db.execute("SELECT count(*) FROM other.procrastinate_jobs").fetchone()
    shop.db.execute("DROP SCHEMA other CASCADE")


def test_the_hosts_own_pool_tells_the_database(database: str, shop: Shop) -> None:
    """An app that is opened on a pool of the host's is reached where that pool leads, whatever came before."""
    other = Shop(database, SyncPsycopgConnector(conninfo="postgresql://127.0.0.1:1/nowhere"))
    with pytest.raises(EnqueueError):
        other.queue.enqueue(JobArgs("siem", "1"))
    with ConnectionPool(database, min_size=1, open=True) as pool:
        other.app.open(pool)
        other.queue.enqueue(JobArgs("siem", "1"))
    other.close()

    assert 1 == _count(shop)


def test_the_hosts_own_async_pool_tells_the_database(database: str, shop: Shop) -> None:
    """The same on an event loop."""

    async def enqueue() -> None:
        async with AsyncConnectionPool(database, min_size=1, open=False) as pool:
            await other.app.open_async(pool)
            await other.queue.aenqueue(JobArgs("siem", "1"))

    other = Shop(database, PsycopgConnector(conninfo="postgresql://127.0.0.1:1/nowhere"))
    asyncio.run(enqueue())
    other.close()

    assert 1 == _count(shop)


def test_what_only_the_app_can_do_it_does(database: str, shop: Shop) -> None:
    """Where connections are configured by the host's own function, the app's own way is taken, and must be open."""
    configured = []

    async def configure(connection: Any) -> None:
        configured.append(connection)

    async def enqueue() -> None:
        with pytest.raises(EnqueueError, match="AppNotOpen"):
            await other.queue.aenqueue(JobArgs("siem", "0"))
        async with other.app.open_async():
            await other.queue.aenqueue(JobArgs("siem", "1"))

    other = Shop(database, PsycopgConnector(conninfo=database, configure=configure))
    with pytest.raises(EnqueueError, match="AppNotOpen"):
        other.queue.enqueue(JobArgs("siem", "0"))
    asyncio.run(enqueue())
    other.close()

    assert (1, True) == (_count(shop), bool(configured))


def test_the_apps_own_way_is_given_up_on_in_time(database: str, shop: Shop, postgres_server: tuple[str, int]) -> None:
    """A server that is frozen is waited for no longer on the loop that the app is open on than on a thread."""

    async def configure(connection: Any) -> None:
        """Have the app's own way taken."""

    async def enqueue() -> list[float]:
        took = []
        async with other.app.open_async():
            await other.queue.aenqueue(JobArgs("siem", "1"))
            proxy.freeze()
            for _ in range(3):
                began = monotonic()
                with pytest.raises(EnqueueError, match="in time"):
                    await other.queue.aenqueue(JobArgs("siem", "2"))
                took.append(monotonic() - began)
            proxy.resume()
            await other.queue.aenqueue(JobArgs("siem", "3"))
        return took

    with TCPProxy(*postgres_server) as proxy:
        conninfo = psycopg.conninfo.make_conninfo(database, host="127.0.0.1", port=proxy.port)
        other = Shop(database, PsycopgConnector(conninfo=conninfo, configure=configure))
        took = asyncio.run(enqueue())
        other.close()

    assert max(took) <= 1.5


def test_a_connector_in_memory_is_used(shop: Shop) -> None:
    """The host's own tests replace the connector: jobs go there, and back when they are done."""
    memory = InMemoryConnector()
    with shop.app.replace_connector(memory):
        shop.queue.enqueue(JobArgs("siem", "1"))
        fates = asyncio.run(shop.host.adispatch(make_event(action="unwanted")))
    shop.queue.enqueue(JobArgs("siem", "3"))

    assert ["1", make_event().id] != [job["args"]["audit_event_id"] for job in memory.jobs.values()]
    assert (2, "enqueued", 1) == (len(memory.jobs), fates["siem"].fate, _count(shop))


def test_a_queues_name_fits_into_a_channels(shop: Shop) -> None:
    """PostgreSQL refuses a notification on a channel of 64 characters; the name is refused before that."""
    statement = "INSERT INTO procrastinate_jobs (task_name, queue_name) VALUES ('x', %s)"
    shop.db.execute(statement, ("q" * MAX_QUEUE_NAME,))

    with pytest.raises(psycopg.Error, match="channel name too long"):
        shop.db.execute(statement, ("q" * (MAX_QUEUE_NAME + 1),))


# The rescue.


@pytest.mark.parametrize(("attempts", "after"), [(0, "todo"), (1, "todo"), (2, "failed")])
def test_a_lost_run_is_a_failed_attempt(
    shop: Shop, caplog: pytest.LogCaptureFixture, attempts: int, after: str
) -> None:
    """The job of a worker that is gone is tried again as the policy says, and ends with its last attempt, visibly."""
    number = shop.put(attempts=attempts)
    shop.rescue()

    status, made, due = shop.job(number)
    assert (after, attempts + 1) == (status, made)
    assert (after == "failed") == bool(shop.telemetry.of(Discarded))
    if after == "todo":
        assert timedelta(seconds=1) < due - datetime.now(timezone.utc) <= timedelta(seconds=5)
    else:
        lost = f"job {number}, whose worker was lost in attempt 3, has ended, discarded: WorkerLostError"
        assert lost in [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    ("seconds", "expected"), [pytest.param(20, "doing", id="alive"), pytest.param(40, "todo", id="silent")]
)
def test_a_worker_is_judged_by_its_heartbeat(shop: Shop, seconds: int, expected: str) -> None:
    """A job that takes long is left alone as long as its worker tells that it lives."""
    statement = "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - %s * interval '1 s') RETURNING id"
    (worker,) = shop.db.execute(statement, (seconds,)).fetchone()
    number = shop.put(worker_id=worker)
    with App(connector=SyncPsycopgConnector(conninfo=shop.conninfo)).open() as app:
        app.configure_task(RESCUE_NAME, queue="shop").defer(timestamp=0)
    shop.app.worker_defaults["stalled_worker_timeout"] = 3600  # or our worker would take the other off the list
    shop.run_worker()

    assert expected == shop.job(number)[0]


def test_only_our_jobs_are_rescued(shop: Shop) -> None:
    """The host's other tasks, and our queues that others see to, are left alone."""
    theirs, elsewhere = shop.put(task_name="shop.mail"), shop.put(queue_name="archive")
    shop.rescue()

    assert ["doing", "doing"] == [shop.job(number)[0] for number in (theirs, elsewhere)]


def test_what_the_user_has_aborted_is_not_tried_again(shop: Shop) -> None:
    """A job that was to be aborted when its worker died ends there."""
    number = shop.put(abort_requested=True)
    shop.rescue()

    assert "failed" == shop.job(number)[0]


def test_one_that_is_gone_does_not_keep_the_others(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rescues may meet: what the other has done already is passed over."""
    first, second = shop.put(), shop.put()
    tell = shop.telemetry.emit

    def overtake(event: Any) -> None:
        shop.db.execute("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id = %s", (first,))
        tell(event)

    monkeypatch.setattr(shop.telemetry, "emit", overtake)
    shop.rescue()

    assert ["succeeded", "todo"] == [shop.job(number)[0] for number in (first, second)]


# A run that is broken off.


class Gate:
    """A forwarder that waits."""

    deadline = 10.0

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def forward(self, event: AuditEvent) -> None:
        self.entered.set()
        self.open.wait(10)


async def _broken_off(shop: Shop, gate: Gate, break_off: Callable[[asyncio.Task[None], int], Any]) -> int:
    """Run a worker that takes up the job of *gate*, break it off, and return the job."""
    shop.host.routes["siem"].forwarder.forward = gate.forward  # type: ignore[method-assign]
    number = shop.put(status="todo")
    options = {"install_signal_handlers": False, "shutdown_graceful_timeout": 0.1, "queues": ["shop"]}
    async with shop.app.open_async():
        worker = asyncio.create_task(shop.app.run_worker_async(**options))
        await asyncio.to_thread(gate.entered.wait, 10)
        await break_off(worker, number)
        worker.cancel()
        await asyncio.wait([worker], timeout=10)
    gate.open.set()
    return number


async def _wait_while_doing(shop: Shop, number: int) -> None:
    until = monotonic() + 10
    while shop.job(number)[0] == "doing" and monotonic() < until:
        await asyncio.sleep(0.02)


def test_a_stop_puts_the_job_back(shop: Shop) -> None:
    """A worker that stops before the job is done does not wait for it: the next worker runs it at once."""

    async def stop(_: object, __: int) -> None:
        """The worker is cancelled next."""

    number = asyncio.run(_broken_off(shop, Gate(), stop))

    status, attempts, due = shop.job(number)
    assert ("todo", 1) == (status, attempts)
    assert due is not None
    assert due <= datetime.now(timezone.utc)


def test_an_abort_ends_the_job(shop: Shop) -> None:
    """What the user aborts is not tried again."""

    async def abort(_: object, number: int) -> None:
        await shop.app.job_manager.cancel_job_by_id_async(number, abort=True)
        await _wait_while_doing(shop, number)

    number = asyncio.run(_broken_off(shop, Gate(), abort))

    assert "aborted" == shop.job(number)[0]


class Cancelled:
    """A forwarder out of which comes what is no order to the worker."""

    deadline = 5.0

    async def forward(self, event: AuditEvent) -> None:
        raise asyncio.CancelledError


@pytest.mark.parametrize(("attempts", "after"), [(0, "todo"), (2, "aborted")])
def test_a_cancellation_of_the_forwarders_own_is_bounded(shop: Shop, attempts: int, after: str) -> None:
    """It is tried again while there are attempts left, after lost_retry_in seconds, and ends then."""
    shop.host.routes["siem"].forwarder.forward = Cancelled().forward  # type: ignore[method-assign]
    number = shop.put(status="todo", attempts=attempts)
    shop.run_worker()

    assert (after, attempts + 1) == shop.job(number)[:2]


class Blocking(Gate):
    """A forwarder that blocks whatever it is run on."""

    was_opened = False

    def forward(self, event: AuditEvent) -> None:
        self.entered.set()
        self.was_opened = self.open.wait(5)


def test_the_workers_loop_is_left_alone(shop: Shop) -> None:
    """However a sync forwarder blocks, the worker's heart beats on, so that nobody takes its jobs for lost."""
    gate = Blocking()

    async def go_on(_: object, number: int) -> None:
        gate.open.set()
        await _wait_while_doing(shop, number)

    number = asyncio.run(_broken_off(shop, gate, go_on))

    assert (True, "succeeded") == (gate.was_opened, shop.job(number)[0])


@pytest.mark.xfail(strict=True, reason="nothing breaks into a thread: a sync call that is given up on goes on")
def test_a_run_that_is_given_up_on_is_over_before_the_next(database: str, shop: Shop) -> None:
    """A sync forwarder that takes more than twice its deadline is not at work twice at once."""
    other, sink, repository = (
        App(connector=PsycopgConnector(conninfo=database)),
        OverrunningForwarder(),
        InMemoryAuditRepository(),
    )
    queue = ProcrastinateQueue(other, queue="late")
    event = repository.add(make_event())
    with AuditForward(repository, {"late": Route(sink, policy=RetryPolicy(2, backoff=lambda _: 0))}, queue=queue):
        queue.enqueue(JobArgs("late", event.id))
        until = monotonic() + 10
        while not sink.again.is_set() and monotonic() < until:
            other.run_worker(queues=["late"], wait=False, install_signal_handlers=False, listen_notify=False)

    statement = "SELECT status::text FROM procrastinate_jobs WHERE task_name = %s"
    assert [("succeeded",)] == shop.db.execute(statement, (TASK_NAME,)).fetchall()
    assert 1 == sink.most_at_once


# What needs no database.


def app() -> App:
    """Return an app that nobody connects to."""
    return App(connector=PsycopgConnector(conninfo="postgresql://127.0.0.1:1/nowhere"))


def bind(queue: ProcrastinateQueue, **routes: Any) -> AuditForward:
    """Bind *queue* to an AuditForward with *routes*, or with one forwarder."""
    return AuditForward(InMemoryAuditRepository(), routes or {"siem": RecordingForwarder()}, queue=queue)


@pytest.mark.parametrize("wrong", ["shop.app", None, App], ids=["path", "none", "class"])
def test_it_takes_a_procrastinate_app(wrong: Any) -> None:
    """What is no app is refused, by name."""
    with pytest.raises(
        ConfigurationError, match=r"^ProcrastinateQueue\(app\) takes your Procrastinate app; got a \w+$"
    ):
        ProcrastinateQueue(wrong)


@pytest.mark.parametrize("name", ["lost_retry_in", "rescue_after"])
@pytest.mark.parametrize("seconds", [-1, float("nan"), True, "30"], ids=spelled)
def test_times_are_numbers(name: str, seconds: Any) -> None:
    """A time that is no number of seconds is refused."""
    with pytest.raises(ConfigurationError, match=rf"^ProcrastinateQueue\({name}=\.\.\.\) must be a finite number"):
        ProcrastinateQueue(app(), **{name: seconds})


@pytest.mark.parametrize("cron", ["", "hourly", "* * *", "61 * * * *", 5, None], ids=spelled)
def test_a_cron_expression_is_one(cron: Any) -> None:
    """Or the worker would not start."""
    with pytest.raises(
        ConfigurationError, match=r"^ProcrastinateQueue\(rescue_cron=\.\.\.\) must be a cron expression"
    ):
        ProcrastinateQueue(app(), rescue_cron=cron)


def test_a_queues_name_is_one() -> None:
    """A name that cannot be one is refused, and so is one that PostgreSQL would refuse with each job."""
    with pytest.raises(ConfigurationError, match=r"^ProcrastinateQueue\(queue=\.\.\.\) must be "):
        ProcrastinateQueue(app(), queue="a queue")
    queue = ProcrastinateQueue(app())
    with pytest.raises(ConfigurationError, match=r"has more than 40 characters: PostgreSQL would refuse its jobs$"):
        bind(queue, siem=Route(RecordingForwarder(), queue="q" * 41))
    bind(queue, siem=Route(RecordingForwarder(), queue="q" * 40))


def test_a_worker_may_miss_a_heartbeat() -> None:
    """Workers that would be taken for dead between two heartbeats are refused at construction, the app stays free."""
    slow = App(connector=InMemoryConnector(), worker_defaults={"update_heartbeat_interval": 20})

    with pytest.raises(
        ConfigurationError, match=r"rescue_after=30.*heartbeat_interval, 20 s: .* started twice at once"
    ):
        bind(ProcrastinateQueue(slow))
    bind(ProcrastinateQueue(slow, rescue_after=40))


def test_one_app_is_bound_once() -> None:
    """A second ProcrastinateQueue on one app cannot take over the jobs of the first."""
    shop = app()
    bind(ProcrastinateQueue(shop))

    with pytest.raises(ConfigurationError, match=r"^a ProcrastinateQueue of this app is bound"):
        bind(ProcrastinateQueue(shop))


def test_of_two_threads_one_binds() -> None:
    """While one thread binds, another that would bind the same app waits, and is refused as any second one is."""
    shop = app()
    first, second = ProcrastinateQueue(shop), ProcrastinateQueue(shop)
    bound: list[AuditForward] = []
    refused: list[str] = []

    def bind_it(queue: ProcrastinateQueue) -> None:
        try:
            bound.append(bind(queue))
        except ConfigurationError as exc:
            refused.append(str(exc))

    other = threading.Thread(target=bind_it, args=(first,))

    class Meanwhile(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            """Have the other thread come in the midst of it."""
            self.get = super().get  # type: ignore[method-assign]
            other.start()
            other.join(0.2)
            return default

    shop.worker_defaults = Meanwhile()
    bind_it(second)
    other.join(10)

    assert (1, 1) == (len(bound), len(refused))
    assert refused[0].startswith("a ProcrastinateQueue of this app is bound to an AuditForward already")


@pytest.mark.parametrize("name", [TASK_NAME, RESCUE_NAME])
def test_our_names_are_ours(name: str) -> None:
    """A task of the host's own under one of our names is not replaced."""
    shop = app()
    shop.task(name=name)(lambda: None)

    with pytest.raises(ConfigurationError, match=rf"has a task '{name}' .*sigra-forward needs the name"):
        bind(ProcrastinateQueue(shop))


def test_each_queue_has_its_own_rescue() -> None:
    """Workers that listen on one of several queues alone rescue the jobs of that queue."""
    shop = app()
    routes = {"siem": RecordingForwarder(), "archive": Route(RecordingForwarder(), queue="archive")}
    bind(ProcrastinateQueue(shop), **routes)

    tasks = shop.periodic_registry.periodic_tasks
    assert {(RESCUE_NAME, "sigra_forward"), (RESCUE_NAME, "archive")} == set(tasks)
    assert {"* * * * *"} == {task.cron for task in tasks.values()}
    assert all("lock" not in task.configure_kwargs for task in tasks.values())


def test_unbound_it_takes_no_job() -> None:
    """Nobody would run it."""
    queue = ProcrastinateQueue(app())

    with pytest.raises(EnqueueError, match="bound to no AuditForward"):
        queue.enqueue(JobArgs("siem", "1"))
    with pytest.raises(EnqueueError, match="bound to no AuditForward"):
        asyncio.run(queue.aenqueue(JobArgs("siem", "1")))


@pytest.mark.parametrize(
    ("exception", "attempts", "expected"),
    [
        pytest.param(JobEndedError("cancelled: x"), 0, None, id="ended"),
        pytest.param(JobRetryError("x", 77), 0, 77, id="to be tried again"),
        pytest.param(JobRetryError("x", 77), 9, 77, id="settled, whatever the attempt"),
        pytest.param(JobRetryError("x", 10**15), 0, 100 * 365 * 24 * 3600, id="after the end of the calendar"),
        pytest.param(JobAborted(), 9, 0, id="the worker stops"),
        pytest.param(SystemExit(3), 0, 7, id="an order to the process"),
        pytest.param(SystemExit(3), 2, None, id="the last of them"),
        pytest.param(asyncio.CancelledError(), 2, None, id="a cancellation that is not the worker's"),
        pytest.param(TypeError("self"), 1, 7, id="Procrastinate's own"),
    ],
)
def test_a_job_is_tried_again_as_settled(exception: BaseException, attempts: int, expected: int | None) -> None:
    """The strategy translates; what came to no settlement is tried again while there are attempts left."""
    shop = app()
    bind(ProcrastinateQueue(shop, lost_retry_in=7), siem=Route(RecordingForwarder(), policy=RetryPolicy(3)))

    assert expected == _wait(shop, exception, attempts, {"forwarder": "siem"})


@pytest.mark.parametrize("args", [{}, {"forwarder": ["siem"]}, {"forwarder": "other"}, [], None], ids=spelled)
def test_the_strategy_never_fails(args: Any) -> None:
    """Whatever stands in the job: it is bounded by the most attempts that any forwarder has."""
    shop = app()
    bind(ProcrastinateQueue(shop, lost_retry_in=7), siem=Route(RecordingForwarder(), policy=RetryPolicy(3)))

    assert [7, None] == [_wait(shop, SystemExit(), attempts, args) for attempts in (1, 2)]


def test_bound_to_nobody_a_job_waits() -> None:
    """A worker that has nobody to run a job for gives it back, whatever the attempt."""
    shop = app()
    ProcrastinateQueue(shop, lost_retry_in=7)

    assert 7 == _wait(shop, SystemExit(), 99, {"forwarder": "siem"})


def _wait(shop: App, exception: BaseException, attempts: int, args: Any) -> int | None:
    job = Job(id=1, queue="q", lock=None, queueing_lock=None, task_name=TASK_NAME, task_kwargs=args, attempts=attempts)
    before = datetime.now(timezone.utc)
    retry = shop.tasks[TASK_NAME].get_retry_exception(exception, job)
    return None if retry is None else (retry.retry_decision.retry_at - before).total_seconds() // 1
