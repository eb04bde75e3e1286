"""`PrivatePostgres`: connections that open and answer in time; and savepoints in the caller's own transaction."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg")

from sigra_forward import EnqueueError
from sigra_forward.testing import TCPProxy
from sigra_forward.testing.contracts import within
from sigra_forward.testing.contracts._hostile import run_in_threads
from sigra_forward_psycopg import PrivatePostgres, asavepoint, aunwrapped, savepoint, unwrapped
from tests.support_ids import spelled

BUDGET = 1.5


def ping(connection: Any) -> int:
    """Ask whether it is there, and which of the server's processes answers."""
    pid: int = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    return pid


@pytest.fixture
def proxy(postgres_server: tuple[str, int]) -> Iterator[TCPProxy]:
    """Stand before PostgreSQL."""
    with TCPProxy(*postgres_server) as proxy:
        yield proxy


@pytest.fixture
def private(proxy: TCPProxy) -> Iterator[PrivatePostgres]:
    """Give private connections to a server behind the proxy."""
    private = PrivatePostgres({"host": "127.0.0.1", "port": proxy.port, "user": "postgres", "dbname": "postgres"})
    yield private
    private.close()


@pytest.fixture
def connection(postgres_server: tuple[str, int]) -> Iterator[Any]:
    """Give a connection of the host's own, with a table of its own."""
    with psycopg.connect(conninfo(postgres_server)) as connection:
        connection.execute("CREATE TEMPORARY TABLE rows (id int)")
        connection.commit()
        yield connection
        if not connection.closed:
            connection.rollback()


def conninfo(server: tuple[str, int]) -> str:
    """Return how psycopg connects to *server*."""
    host, port = server
    return f"postgresql://postgres@{host}:{port}/postgres"


# Connections of our own.


@pytest.mark.parametrize("harm", ["refuse", "freeze"])
def test_it_fails_in_time_and_comes_back(private: PrivatePostgres, proxy: TCPProxy, harm: str) -> None:
    """Gone in mid-life, each call fails within the budget; once the server is back, the next one works."""
    private.run(ping)
    getattr(proxy, harm)()

    for _ in range(3):
        with pytest.raises((psycopg.OperationalError, TimeoutError)):
            within(BUDGET, private.run, ping)
    proxy.resume()

    assert private.run(ping)


def test_a_connection_that_was_closed_is_opened_anew(private: PrivatePostgres, proxy: TCPProxy) -> None:
    """A server that has been restarted costs no job."""
    private.run(ping)
    proxy.cut()

    assert private.run(ping)


def test_a_session_that_the_server_has_ended_is_begun_anew(
    private: PrivatePostgres, postgres_server: tuple[str, int]
) -> None:
    """The server's own word that it ends a session is no failure of the job."""
    first = private.run(ping)
    with psycopg.connect(conninfo(postgres_server)) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (first,))

    assert first != private.run(ping)


def test_an_error_of_the_statement_is_not_tried_again(private: PrivatePostgres) -> None:
    """What the server refuses it would refuse again; the next call has a connection that works."""
    private.run(ping)
    calls = []

    def fail(connection: Any) -> None:
        calls.append(connection)
        connection.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        private.run(fail)

    assert (1, True) == (len(calls), private.run(ping) > 0)


def test_a_resolver_that_hangs_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket timeout covers it."""
    back = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: back.wait())
    private = PrivatePostgres({"host": "postgres.invalid", "user": "postgres"})

    with pytest.raises((psycopg.OperationalError, TimeoutError)):
        within(BUDGET, private.run, ping)
    back.set()
    private.close()


def test_all_that_is_waited_for_is_within_one_deadline(private: PrivatePostgres, proxy: TCPProxy) -> None:
    """A connection that goes stale late, a connect and an answer that are slow share the one budget."""

    def ask(connection: Any) -> None:
        proxy.freeze()
        ping(connection)

    private.run(ping)
    lags = [threading.Timer(0.5, proxy.cut), threading.Timer(1.0, proxy.resume)]
    for lag in lags:
        lag.start()

    with pytest.raises(TimeoutError):
        within(BUDGET, private.run, ask)
    for lag in lags:
        lag.join()


def test_however_often_it_is_asked_there_is_one_deadline(private: PrivatePostgres) -> None:
    """Answers that each come soon enough do not add up to more than the budget."""

    def ask(connection: Any) -> None:
        while True:
            connection.execute("SELECT pg_sleep(0.3)")

    with pytest.raises(TimeoutError):
        within(BUDGET, private.run, ask)


def test_a_connection_that_opens_too_late_serves_the_next_call(
    proxy: TCPProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a name takes longer to resolve than a call may, a later call works all the same."""
    back, resolve = threading.Event(), socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: back.wait() and resolve(*args, **options))
    private = PrivatePostgres({"host": "localhost", "port": proxy.port, "user": "postgres", "dbname": "postgres"})
    with pytest.raises(TimeoutError):
        within(BUDGET, private.run, ping)
    back.set()
    until = monotonic() + 10
    while not private._idle:
        assert monotonic() < until
        sleep(0.01)
    back.clear()

    assert private.run(ping)
    back.set()
    private.close()


def test_a_connection_is_used_again(private: PrivatePostgres) -> None:
    """One call after the other goes out on the same connection, each committed by itself."""
    pids = {private.run(ping) for _ in range(5)}

    assert 1 == len(pids)
    assert private.run(lambda connection: connection.autocommit)


def test_each_thread_has_a_connection(private: PrivatePostgres) -> None:
    """Calls at the same time never share one, and leave no more behind than there were at once."""
    together = threading.Barrier(4)
    pids = []

    def call(connection: Any) -> None:
        together.wait(10)
        pids.append(ping(connection))

    threads = [threading.Thread(target=private.run, args=(call,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert 4 == len(set(pids))
    assert private.run(ping) in pids


def test_there_are_sixteen_connections_at_most(private: PrivatePostgres) -> None:
    """A seventeenth call waits for one of them within its own budget, and has it when it is free."""
    leave, inside, pids = threading.Event(), threading.Semaphore(0), []

    def stay(connection: Any) -> None:
        pids.append(ping(connection))
        inside.release()
        leave.wait(10)

    threads = [threading.Thread(target=private.run, args=(stay,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=10)

    with pytest.raises(TimeoutError, match="16 connections are in use"):
        within(BUDGET, private.run, ping)
    leave.set()

    assert private.run(ping) in pids
    for thread in threads:
        thread.join(10)


def test_a_burst_is_served_by_sixteen_connections(private: PrivatePostgres) -> None:
    """However many threads call at once, each is served, and no more than sixteen connections are ever opened."""
    pids = set()

    def call() -> None:
        for _ in range(5):
            pids.add(private.run(ping))

    run_in_threads([call] * 60)

    assert 1 <= len(pids) <= 16


def test_closed_it_opens_anew(private: PrivatePostgres) -> None:
    """After `close` the next call connects again."""
    first = private.run(ping)
    private.close()

    assert first != private.run(ping)


def test_options_hold(postgres_server: tuple[str, int]) -> None:
    """What the host's connections are told, ours are told too; autocommit alone is ours to say."""
    options = {"conninfo": conninfo(postgres_server), "application_name": "shop", "autocommit": False}
    private = PrivatePostgres({**options, "options": "-csearch_path=shop"})

    shown = private.run(
        lambda connection: [
            connection.execute(f"SHOW {name}").fetchone()[0] for name in ("application_name", "search_path")
        ]
    )
    private.close()

    assert ["shop", "shop"] == shown


def test_a_child_process_connects_by_itself(private: PrivatePostgres) -> None:
    """After a fork parent and child both go on, each on a connection of its own."""
    mine = private.run(ping)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: this process has threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(private.run(ping) == mine)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert (0, mine) == (status, private.run(ping))


# The caller's own transaction.


def rows(connection: Any) -> list[int]:
    """Return what the transaction has written."""
    return [number for (number,) in connection.execute("SELECT id FROM rows ORDER BY id")]


def write(connection: Any, number: int) -> Any:
    """Write a row."""
    return connection.execute("INSERT INTO rows VALUES (%s)", (number,))


def test_what_goes_well_belongs_to_the_transaction(connection: Any) -> None:
    """The savepoint leaves nothing behind, and what was done in it goes the transaction's way."""
    write(connection, 1)
    with savepoint(connection):
        write(connection, 2)

    assert [1, 2] == rows(connection)
    with pytest.raises(psycopg.errors.InvalidSavepointSpecification):
        connection.execute("ROLLBACK TO SAVEPOINT sigra_forward_enqueue")
    connection.rollback()
    assert [] == rows(connection)


def test_what_fails_is_undone_alone(connection: Any) -> None:
    """An error in it is one EnqueueError, which names its kind alone, and the transaction goes on."""
    write(connection, 1)
    with pytest.raises(EnqueueError, match=r"and the transaction goes on: DivisionByZero$"), savepoint(connection):
        write(connection, 2)
        connection.execute("SELECT 1 / 0")
    write(connection, 3)
    connection.commit()

    assert [1, 3] == rows(connection)


def test_an_order_to_the_process_passes(connection: Any) -> None:
    """What is no `Exception` is passed on as it is, and what was done is undone."""
    with pytest.raises(KeyboardInterrupt), savepoint(connection):
        write(connection, 1)
        raise KeyboardInterrupt

    assert [] == rows(connection)


def test_there_must_be_a_transaction(connection: Any) -> None:
    """In autocommit there is none, and a savepoint would hold nothing."""
    connection.autocommit = True

    with pytest.raises(EnqueueError, match=r"a transaction that is open and has not failed: "), savepoint(connection):
        write(connection, 1)
    assert [] == rows(connection)
    with connection.transaction(), savepoint(connection):  # but here it is
        write(connection, 2)
    assert [2] == rows(connection)


def test_the_transaction_must_not_have_failed(connection: Any) -> None:
    """It could not be committed any more."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")

    with pytest.raises(EnqueueError, match=r"InFailedSqlTransaction$"), savepoint(connection):
        write(connection, 1)


def test_a_connection_that_dies_in_it_is_told_as_what_it_is(connection: Any) -> None:
    """What comes out is the server's own word, and not what the undoing of it stumbled over."""
    with pytest.raises(EnqueueError, match=r"is gone with its connection: AdminShutdown$"), savepoint(connection):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_an_order_to_the_process_passes_when_the_connection_has_died(connection: Any) -> None:
    """A cancellation, or an exit, is not swallowed by a transaction that is gone."""
    with pytest.raises(KeyboardInterrupt), savepoint(connection):
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        raise KeyboardInterrupt


def test_what_cannot_be_kept_is_told(connection: Any) -> None:
    """A connection that dies at the very end of it is an EnqueueError too."""
    with pytest.raises(EnqueueError, match=r"is gone with its connection: \w+$"), savepoint(connection):
        write(connection, 1)
        with psycopg.connect(connection.info.dsn) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))


def test_what_cannot_be_kept_is_undone(connection: Any) -> None:
    """A savepoint that its own contents have ended cannot be kept: the error does not say that all is well."""
    failed = pytest.raises(EnqueueError, match=r"^the job was not enqueued, and the transaction has failed: ")
    with failed, savepoint(connection):
        connection.execute("RELEASE SAVEPOINT sigra_forward_enqueue")


def test_a_pipeline_is_refused(connection: Any) -> None:
    """What fails in a pipeline takes all that follows with it: nothing is sent there, and it goes on to its end."""
    with connection.pipeline():
        write(connection, 1)
        with pytest.raises(EnqueueError, match=r"^nothing was enqueued, .* pipeline"), savepoint(connection):
            write(connection, 2)
        write(connection, 3)
    connection.commit()

    assert [1, 3] == rows(connection)


def test_one_may_follow_another(connection: Any) -> None:
    """Within one transaction, and within the host's own savepoints."""
    with connection.transaction():
        for number in (1, 2):
            with savepoint(connection):
                write(connection, number)

    assert [1, 2] == rows(connection)


def test_the_same_awaited(postgres_server: tuple[str, int]) -> None:
    """`asavepoint` keeps what goes well, undoes what fails, passes on a cancellation, and wants a transaction, no pipeline."""

    async def use() -> list[int]:
        async with await psycopg.AsyncConnection.connect(conninfo(postgres_server)) as connection:
            await connection.execute("CREATE TEMPORARY TABLE rows (id int)")
            async with asavepoint(connection):
                await write(connection, 1)
            with pytest.raises(EnqueueError, match=r"goes on: DivisionByZero$"):
                async with asavepoint(connection):
                    await write(connection, 2)
                    await connection.execute("SELECT 1 / 0")
            with pytest.raises(asyncio.CancelledError):
                async with asavepoint(connection):
                    await write(connection, 3)
                    raise asyncio.CancelledError
            async with connection.pipeline():
                with pytest.raises(EnqueueError, match=r"^nothing was enqueued, .* pipeline"):
                    async with asavepoint(connection):
                        await write(connection, 5)
            await connection.commit()
            with pytest.raises(EnqueueError, match="the transaction has failed: "):
                async with asavepoint(connection):
                    await connection.execute("RELEASE SAVEPOINT sigra_forward_enqueue")
            await connection.rollback()
            await connection.set_autocommit(True)
            with pytest.raises(EnqueueError, match="a transaction that is open"):
                async with asavepoint(connection):
                    await write(connection, 4)
            cursor = await connection.execute("SELECT id FROM rows")
            return [number for (number,) in await cursor.fetchall()]

    assert [1] == asyncio.run(use())


def test_a_call_that_is_cancelled_leaves_the_transaction(postgres_server: tuple[str, int]) -> None:
    """A host that gives up waiting in the midst of a statement finds its transaction as it was."""

    async def use() -> list[int]:
        async with await psycopg.AsyncConnection.connect(conninfo(postgres_server)) as connection:
            await connection.execute("CREATE TEMPORARY TABLE rows (id int)")
            await write(connection, 1)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(_slowly(connection), 0.2)
            await write(connection, 3)
            cursor = await connection.execute("SELECT id FROM rows ORDER BY id")
            return [number for (number,) in await cursor.fetchall()]

    assert [1, 3] == asyncio.run(use())


async def _slowly(connection: Any) -> None:
    async with asavepoint(connection):
        await write(connection, 2)
        await connection.execute("SELECT pg_sleep(20)")


# What a connection is found below.


@pytest.mark.parametrize("wrong", [None, "postgresql://", object(), SimpleNamespace(connection=None)], ids=spelled)
def test_what_is_no_connection_is_refused(wrong: object) -> None:
    """The error says what was given and what is wanted."""
    with pytest.raises(EnqueueError, match=rf"^there is no psycopg.Connection below a {type(wrong).__name__}: pass"):
        unwrapped(wrong)
    with pytest.raises(EnqueueError, match=rf"psycopg.AsyncConnection below a {type(wrong).__name__}: pass"):
        asyncio.run(aunwrapped(wrong))


TAKEN = r"SQLAlchemy's session or connection on postgresql\+psycopg"


@pytest.mark.parametrize("kind", ["bare", "connection", "session"])
def test_psycopg2_is_refused(postgres_server: tuple[str, int], kind: str) -> None:
    """Its connections, bare or SQLAlchemy's, are not what is wanted, and the error says what is."""
    psycopg2 = pytest.importorskip("psycopg2")
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import Session

    dsn = conninfo(postgres_server)
    engine = sqlalchemy.create_engine(dsn.replace("postgresql:", "postgresql+psycopg2:"), poolclass=sqlalchemy.NullPool)
    make = {"bare": partial(psycopg2.connect, dsn), "connection": engine.connect, "session": partial(Session, engine)}
    given = make[kind]()

    with pytest.raises(EnqueueError, match=TAKEN):
        unwrapped(given)
    given.close()


@pytest.mark.parametrize("kind", ["bare", "connection", "session"])
def test_asyncpg_is_refused(postgres_server: tuple[str, int], kind: str) -> None:
    """The same, awaited."""
    asyncpg = pytest.importorskip("asyncpg")
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    dsn = conninfo(postgres_server)
    url = dsn.replace("postgresql:", "postgresql+asyncpg:")

    async def refuse() -> None:
        engine = create_async_engine(url, poolclass=sqlalchemy.NullPool)
        given = {"bare": lambda: None, "connection": engine.connect, "session": partial(AsyncSession, engine)}[kind]()
        given = given or await asyncpg.connect(dsn)
        if kind == "connection":
            await given.start()
        try:
            with pytest.raises(EnqueueError, match=TAKEN):
                await aunwrapped(given)
            with pytest.raises(EnqueueError, match=TAKEN):
                unwrapped(given)
        finally:
            await given.close()

    asyncio.run(refuse())


def test_a_session_of_the_other_kind_is_refused(postgres_server: tuple[str, int]) -> None:
    """One that is to be awaited is not for the sync call, nor the other way round; neither is set to work."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
    from sqlalchemy.orm import Session, scoped_session, sessionmaker

    url = conninfo(postgres_server).replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    async_engine = create_async_engine(url, poolclass=sqlalchemy.NullPool)
    scoped = async_scoped_session(async_sessionmaker(async_engine), lambda: None)

    for given in (AsyncSession(async_engine), scoped, async_engine.connect()):
        with pytest.raises(EnqueueError, match=TAKEN):
            unwrapped(given)
    session = Session(engine)
    for given in (session, scoped_session(sessionmaker(engine))):
        with pytest.raises(EnqueueError, match=TAKEN):
            asyncio.run(aunwrapped(given))
    assert not session.in_transaction()
    with engine.connect() as given, pytest.raises(EnqueueError, match=TAKEN):
        asyncio.run(aunwrapped(given))


@contextmanager
def closed(engine: Any) -> Iterator[Any]:
    """Give a connection of SQLAlchemy's that is closed."""
    with engine.connect() as given:
        pass
    yield given


@contextmanager
def failed(engine: Any) -> Iterator[Any]:
    """Give a session whose flush has failed."""
    from sqlalchemy import Column, Integer, MetaData, Table
    from sqlalchemy.orm import Session, registry

    class Row:
        pass

    mappers = registry()
    mappers.map_imperatively(Row, Table("nowhere_to_be_found", MetaData(), Column("id", Integer, primary_key=True)))
    with Session(engine) as given:
        given.add(Row())
        with pytest.raises(Exception, match="UndefinedTable"):
            given.flush()
        yield given
    mappers.dispose()


@contextmanager
def unreachable(engine: Any) -> Iterator[Any]:
    """Give a session whose database is down."""
    import sqlalchemy
    from sqlalchemy.orm import Session

    with Session(sqlalchemy.create_engine("postgresql+psycopg://postgres@127.0.0.1:1/x")) as given:
        yield given


@contextmanager
def unbound(engine: Any) -> Iterator[Any]:
    """Give a session without an engine."""
    from sqlalchemy.orm import Session

    with Session() as given:
        yield given


@pytest.mark.parametrize("given", [closed, failed, unreachable, unbound])
def test_what_gives_no_connection_is_told(postgres_server: tuple[str, int], given: Any) -> None:
    """Whatever SQLAlchemy raises, it is one EnqueueError, which says what kind of error it was."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    url = conninfo(postgres_server).replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)

    with (
        given(engine) as connection,
        pytest.raises(
            EnqueueError, match=r"^nothing was enqueued, .*the (Session|Connection) .* no connection: \w+Error"
        ),
    ):
        unwrapped(connection)


def test_what_gives_no_connection_is_told_async(postgres_server: tuple[str, int]) -> None:
    """The same, awaited."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    url = conninfo(postgres_server).replace("postgresql:", "postgresql+psycopg:")

    async def refuse() -> None:
        engine = create_async_engine(url, poolclass=sqlalchemy.NullPool)
        async with engine.connect() as connection:
            pass
        down = AsyncSession(create_async_engine("postgresql+psycopg://postgres@127.0.0.1:1/x"))
        for given in (connection, engine.connect(), down, AsyncSession()):
            with pytest.raises(EnqueueError, match=r"^nothing was enqueued, .* no connection: \w+Error|NotStarted"):
                await aunwrapped(given)
        await down.close()

    asyncio.run(refuse())


def test_psycopgs_own_is_found(connection: Any) -> None:
    """It is what it is."""
    assert connection is unwrapped(connection)


@pytest.mark.parametrize("kind", ["connection", "session", "scoped"])
def test_it_is_found_below_sqlalchemys(postgres_server: tuple[str, int], kind: str) -> None:
    """In the transaction that SQLAlchemy has begun, or begins by being asked."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import Session, scoped_session, sessionmaker

    url = conninfo(postgres_server).replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    make = {"connection": engine.connect, "session": partial(Session, engine)}
    given = make[kind]() if kind in make else scoped_session(sessionmaker(engine))
    ask = sqlalchemy.text("SELECT pg_backend_pid()")

    pid = given.execute(ask).scalar()
    found = unwrapped(given)

    assert pid == found.info.backend_pid
    given.close()


@pytest.mark.parametrize("kind", ["connection", "session"])
def test_it_is_found_below_sqlalchemys_async_ones(postgres_server: tuple[str, int], kind: str) -> None:
    """The same, awaited."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    url = conninfo(postgres_server).replace("postgresql:", "postgresql+psycopg:")
    engine = create_async_engine(url, poolclass=sqlalchemy.NullPool)

    async def find() -> bool:
        async with engine.connect() if kind == "connection" else AsyncSession(engine) as given:
            pid = (await given.execute(sqlalchemy.text("SELECT pg_backend_pid()"))).scalar()
            return bool(pid == (await aunwrapped(given)).info.backend_pid)

    assert asyncio.run(find())
