"""`SQLiteLedger`: receipts in a SQLite file of their own, by the standard library's `sqlite3`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from sigra_forward._settle import seconds
from sigra_forward.errors import ConfigurationError
from sigra_forward.stores._sql_ledger import COMPLETED, SCHEMA_VERSION, SQLLedger, Words, to_number
from sigra_forward.stores._sqlite_connections import Connections

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

_SCHEMA = f"""
CREATE TABLE {{schema}} (version INTEGER NOT NULL);
INSERT INTO {{schema}} VALUES ({SCHEMA_VERSION});
CREATE TABLE {{lanes}} (
    number INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    forwarder TEXT NOT NULL,
    floor INTEGER NOT NULL,
    blocked_until INTEGER,
    owner TEXT,
    epoch INTEGER NOT NULL DEFAULT 0,
    leased_until INTEGER NOT NULL DEFAULT 0,
    UNIQUE (source, forwarder)
);
CREATE TABLE {{receipts}} (
    lane INTEGER NOT NULL,
    audit_event_id TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    state INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    due_at INTEGER,
    reason TEXT,
    detail TEXT,
    ack TEXT,
    generation INTEGER NOT NULL,
    excuse TEXT,
    PRIMARY KEY (lane, audit_event_id)
) WITHOUT ROWID;
CREATE INDEX sigra_forward_unsettled ON {{receipts}} (lane, state, due_at) WHERE state <> {COMPLETED};
CREATE TABLE {{attempts}} (
    lane INTEGER NOT NULL,
    audit_event_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    reason TEXT,
    detail TEXT
);
CREATE INDEX sigra_forward_attempts_of ON {{attempts}} (lane, audit_event_id);
CREATE TABLE {{cursors}} (
    lane INTEGER NOT NULL,
    name TEXT NOT NULL,
    position TEXT,
    until TEXT,
    moved_at INTEGER,
    PRIMARY KEY (lane, name)
) WITHOUT ROWID;
"""


def _now() -> datetime:
    return datetime.now(timezone.utc)


class _Words(Words):
    now = "sigra_forward_now()"


class SQLiteLedger(SQLLedger):
    """
    Keep receipts in a SQLite file of their own, beside the host's database and never inside its transactions.

    The file is in WAL mode, so that whoever reads it waits for nobody, and every receipt is on the disk before it
    counts. It may be used by several threads and processes of one machine at once; not over a network file system.

    Args:
        path: The file. `create` makes it where there is none.
        timeout: Seconds to wait for a lock that another writer holds.
        now: The clock that leases and retries go by, an aware `datetime`. All who use the file are on one machine.

    Raises:
        ConfigurationError: An option makes no sense.
    """

    elsewhere = "another file"

    def __init__(
        self, path: str | os.PathLike[str], *, timeout: float = 5.0, now: Callable[[], datetime] = _now
    ) -> None:
        if not isinstance(path, (str, os.PathLike)) or os.fspath(path) in {"", ":memory:"}:
            msg = "SQLiteLedger: path must be that of a database file, which ':memory:' is not"
            raise ConfigurationError(msg)
        if seconds(timeout) is None:
            msg = "SQLiteLedger: timeout must be a finite number of seconds of at least 0"
            raise ConfigurationError(msg)
        super().__init__(_Words())
        self._clock = now
        self._connections = Connections(path, "rw", timeout, self._set_up)
        self._makers = Connections(path, "rwc", timeout, self._set_up)

    def create(self) -> None:
        """
        Make the file and its tables, unless they are there.

        Raises:
            ConfigurationError: The tables are those of a newer version of this library.
            sqlite3.Error: The file cannot be written.
        """
        with self._makers.one() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            with _transaction(connection, "IMMEDIATE"):
                self._create(connection)
        self._makers.close()

    def _create(self, connection: sqlite3.Connection) -> None:
        query = "SELECT count(*) FROM sqlite_master WHERE name = ?"
        (found,) = connection.execute(query, (self._tables["schema"],)).fetchone()
        if not found:
            for statement in self._sql(_SCHEMA).split(";\n"):
                connection.execute(statement)
        (version,) = connection.execute(self._sql("SELECT max(version) FROM {schema}")).fetchone()
        self._refuse_other_version(version)

    def close(self) -> None:
        """Close the connections that are not in use. A later call opens one anew."""
        self._connections.close()

    def _read(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        with self._connections.one() as connection, _transaction(connection, "DEFERRED"):
            return operation(_Connection(connection), *arguments)

    def _change(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        with self._connections.one() as connection, _transaction(connection, "IMMEDIATE"):
            return operation(_Connection(connection), *arguments)

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = FULL")
        connection.create_function("sigra_forward_now", 0, lambda: to_number(self._clock()))


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str) -> Iterator[None]:
    """Run a transaction; where an exception goes through, its connection is closed, which rolls it back."""
    connection.execute(f"BEGIN {kind}")
    yield
    connection.execute("COMMIT")


class _Connection:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, /, **parameters: Any) -> Sequence[Sequence[Any]]:
        return self._connection.execute(sql, parameters).fetchall()

    def change(self, sql: str, /, **parameters: Any) -> int:
        return self._connection.execute(sql, parameters).rowcount

    def change_many(self, sql: str, parameters: Sequence[Mapping[str, Any]], /) -> None:
        self._connection.executemany(sql, parameters)
