"""`Database`: the host's engine, sync or async, as the ledger and the repository use it."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, SingletonThreadPool, StaticPool

from sigra_forward import ConfigurationError
from sigra_forward.stores.adapter import close_before_fork, forget_after_fork

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

TRIES = 10
"""How often a transaction is begun that the server breaks off, so that another one may go on."""

_BROKEN_OFF = {"40001", "40P01", 1020, 1213}
"""PostgreSQL's serialization failure and deadlock; MariaDB's changed record and deadlock."""

_PARENTS_POOLS: list[object] = []

_KINDS = {"postgresql": "postgresql", "mysql": "mariadb", "mariadb": "mariadb", "sqlite": "sqlite"}

# Of MariaDB it would take round trips, and outside of what SQLAlchemy watches: it would not learn there that a
# connection is lost.
_LEVELS = {
    "postgresql": ("AUTOCOMMIT", "READ COMMITTED"),
    "mariadb": (None, None),
    "sqlite": ("AUTOCOMMIT", "AUTOCOMMIT"),
}

IDLE_TIMEOUT = 20
"""Seconds after which PostgreSQL ends a transaction of ours whose process sleeps, with the lane's lock in its hands."""

# Whatever the driver begins, and when. On SQLite a transaction that reads before it writes may not become a writer.
_BEGINNINGS = {
    "postgresql": (f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}s'",),
    "mariadb": ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"),
    "sqlite": ("BEGIN IMMEDIATE",),
}

_OWN_MEMORY = (StaticPool, SingletonThreadPool)
"""Pools of a database in memory: their connections are the database."""


class Database:
    """
    A database by the host's engine.

    It reads in autocommit, so that nothing is open when an answer is there, and changes in a transaction of its own,
    whatever the engine's isolation level is.

    Args:
        engine: The host's.
        user: Who says so, where the engine will not do.
    """

    def __init__(self, engine: Engine, user: str) -> None:
        if not isinstance(engine, Engine):
            msg = f"{user}(engine) takes SQLAlchemy's Engine or AsyncEngine; got a {type(engine).__name__}"
            raise ConfigurationError(msg)
        if engine.dialect.name not in _KINDS:
            msg = f"{user} works on PostgreSQL, MariaDB, MySQL and SQLite; the engine is one for {engine.dialect.name}"
            raise ConfigurationError(msg)
        self.engine = engine
        self.kind = _KINDS[engine.dialect.name]
        self._reading, self._changing = _options(engine)
        forget_after_fork(self)
        close_before_fork(self)

    def read(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        """Return ``operation(connection, *arguments)``, in autocommit."""
        with self._reading.connect() as connection:
            return operation(connection, *arguments)

    def change(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        """Return ``operation(connection, *arguments)``, in a transaction; it may be called again."""
        with self._changing.connect() as connection:
            return in_transaction(connection, operation, *arguments)

    def at_once(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        """Return ``operation(connection, *arguments)``, each statement by itself; it may be called again."""
        with self._reading.connect() as connection:
            return _repeated(connection, operation, *arguments)

    def close(self) -> None:
        """Let go of a SQLite database before a fork: its locks are the process's, and a child believes to hold them."""
        if self.kind == "sqlite" and not self.engine.dialect.is_async and isinstance(self.engine.pool, QueuePool):
            self.engine.dispose()

    def forget(self) -> None:
        """Leave the parent process its connections, as SQLAlchemy wants it."""
        pool = self.engine.pool
        if not isinstance(pool, _OWN_MEMORY):
            _PARENTS_POOLS.append(pool)
            self.engine.dispose(close=False)


class AsyncDatabase:
    """
    A database by the host's async engine: what `Database` is, awaited.

    The connections of most async drivers belong to the event loop that they were opened on, and the library has a loop
    of its own beside the host's: so each loop has a pool of its own here, set up as the engine's is.

    Args:
        engine: The host's.
        user: Who says so, where the engine will not do.
    """

    def __init__(self, engine: AsyncEngine, user: str) -> None:
        self._database = Database(engine.sync_engine, user)
        self._awaited = type(engine)
        self.engine = self._database.engine
        self.kind = self._database.kind
        self.forget()
        forget_after_fork(self)

    async def read(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        """Return ``operation(connection, *arguments)``, in autocommit."""
        reading, _ = self._engines()
        async with reading.connect() as connection:
            return await connection.run_sync(operation, *arguments)

    async def change(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        """Return ``operation(connection, *arguments)``, in a transaction; it may be called again."""
        _, changing = self._engines()
        async with changing.connect() as connection:
            return await connection.run_sync(in_transaction, operation, *arguments)

    async def at_once(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        """Return ``operation(connection, *arguments)``, each statement by itself; it may be called again."""
        reading, _ = self._engines()
        async with reading.connect() as connection:
            return await connection.run_sync(_repeated, operation, *arguments)

    async def close(self) -> None:
        """Close the connections of the running loop that are not in use. A later call opens one anew."""
        engines = self._by_loop.pop(get_running_loop(), None)
        if engines is not None and engines[0].pool is not self.engine.pool:
            await engines[0].dispose()

    def forget(self) -> None:
        """Leave the parent process its loops."""
        self._by_loop: dict[AbstractEventLoop, tuple[AsyncEngine, AsyncEngine]] = {}

    def _engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        loop = get_running_loop()
        try:
            return self._by_loop[loop]
        except KeyError:
            for ended in [known for known in self._by_loop if known.is_closed()]:
                self._by_loop.pop(ended, None)
            reading, changing = _options(_with_own_pool(self.engine))
            return self._by_loop.setdefault(loop, (self._awaited(reading), self._awaited(changing)))


def database(engine: Engine | AsyncEngine, user: str) -> Database | AsyncDatabase:
    """Return the database behind *engine*, which *user* was given."""
    if is_async(engine):
        return AsyncDatabase(cast("AsyncEngine", engine), user)
    return Database(cast("Engine", engine), user)


def is_async(engine: object) -> bool:
    """Tell whether *engine* is one of ``sqlalchemy.ext.asyncio``, without loading that for those who do not use it."""
    return isinstance(getattr(engine, "sync_engine", None), Engine)


def in_transaction(connection: Connection, operation: Callable[..., T], /, *arguments: Any) -> T:
    """Return ``operation(connection, *arguments)``, in a transaction, begun again where the server breaks it off."""
    answer: T = _repeated(connection, _once, operation, *arguments)
    return answer


def _repeated(connection: Connection, operation: Callable[..., T], /, *arguments: Any) -> T:
    """Return ``operation(connection, *arguments)``, called again where the server breaks it off for another's sake."""
    for _ in range(TRIES - 1):
        try:
            return operation(connection, *arguments)
        except DBAPIError as exc:
            if connection.invalidated or not _is_broken_off(exc.orig):
                raise
    return operation(connection, *arguments)


def _once(connection: Connection, operation: Callable[..., T], /, *arguments: Any) -> T:
    kind = _KINDS[connection.dialect.name]
    with connection.begin():
        for statement in _BEGINNINGS[kind]:
            connection.exec_driver_sql(statement)
        answer = operation(connection, *arguments)
        if kind == "sqlite":
            connection.exec_driver_sql("COMMIT")
        return answer


def _is_broken_off(error: object) -> bool:
    first = next(iter(getattr(error, "args", ())), None)
    codes = (getattr(error, "sqlstate", None), getattr(error, "pgcode", None), first)
    return any(code in _BROKEN_OFF for code in codes if isinstance(code, (str, int)))


def _options(engine: Engine) -> tuple[Engine, Engine]:
    """Return *engine* as it reads, and as it changes."""
    reading, changing = _LEVELS[_KINDS[engine.dialect.name]]
    return (
        engine.execution_options(isolation_level=reading) if reading else engine,
        engine.execution_options(isolation_level=changing) if changing else engine,
    )


def _with_own_pool(engine: Engine) -> Engine:
    if not isinstance(engine.pool, QueuePool):  # none is kept, or it is the database itself
        return engine
    own = Engine(
        engine.pool.recreate(),
        engine.dialect,
        engine.url,
        logging_name=engine.logging_name,
        echo=cast("Any", engine.echo),
        execution_options=engine.get_execution_options(),
        hide_parameters=engine.hide_parameters,
    )
    own.dispatch._update(engine.dispatch)  # noqa: SLF001 - what the host listens to
    return own
