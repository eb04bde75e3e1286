"""`SQLAlchemyLedger`: receipts in a database that SQLAlchemy reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, MetaData, TextClause, bindparam, inspect, text
from sqlalchemy.schema import CreateSchema

from sigra_forward import ConfigurationError
from sigra_forward.stores.adapter import SCHEMA_VERSION, SQLLedger, cursor_parameters, to_failure, to_rows
from sigra_forward_sqlalchemy._database import database, is_async
from sigra_forward_sqlalchemy._tables import ledger_tables
from sigra_forward_sqlalchemy._words import WORDS, PostgreSQLWords

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine
    from typing_extensions import Self

    from sigra_forward.stores.adapter import Cursor, FailedAttempt, Lease, Receipt

T = TypeVar("T")

_LOCK = 7380113  # any number, and any name, that nobody else takes
_CREATE_TIMEOUT = 60


class SQLAlchemyLedger(SQLLedger):
    """
    Keep receipts in a database of the host's, by its engine, in transactions of their own.

    It works on PostgreSQL, on MariaDB and MySQL 8, and on SQLite, where `SQLiteLedger`, with a file of its own, is the
    better choice: SQLite has one writer at a time. Of what happens in a table's transaction the host's sessions see
    nothing. A transaction that the server breaks off for another's sake is begun again.

    Given an ``AsyncEngine`` it is an `AsyncSQLAlchemyLedger`.

    Args:
        engine: The host's: of the database of the audit table, or of another one.
        schema: The schema that the tables are in; ``None``: that of *metadata*, or else the database's own.
        metadata: Where the tables are added, for Alembic to find them; ``None``: a `MetaData` of their own.

    Attributes:
        metadata: The `MetaData` that has the tables.

    Raises:
        ConfigurationError: An option makes no sense, or the engine is for a database of another kind.
    """

    metadata: MetaData

    def __new__(cls, engine: Engine | AsyncEngine, **_: object) -> Self:
        """Make the kind of ledger that goes with the kind of engine."""
        if cls is SQLAlchemyLedger and is_async(engine):
            from sigra_forward_sqlalchemy._async_ledger import AsyncSQLAlchemyLedger

            return super().__new__(AsyncSQLAlchemyLedger)  # type: ignore[return-value]
        return super().__new__(cls)

    def __init__(
        self, engine: Engine | AsyncEngine, *, schema: str | None = None, metadata: MetaData | None = None
    ) -> None:
        if schema is not None and (not isinstance(schema, str) or not schema):
            msg = "SQLAlchemyLedger: schema must be a str that is not empty"
            raise ConfigurationError(msg)
        if not isinstance(metadata, (MetaData, type(None))):
            msg = "SQLAlchemyLedger: metadata must be SQLAlchemy's MetaData, as your models have one"
            raise ConfigurationError(msg)
        self._database: Any = database(engine, "SQLAlchemyLedger")
        super().__init__(WORDS[self._database.kind])
        self.metadata = MetaData() if metadata is None else metadata
        self._their_tables = ledger_tables(self.metadata, schema)
        self._schema = self._their_tables["schema"].schema
        self._place = self._told_place()
        self._tables = {name: f"{self._prefix()}{table.name}" for name, table in self._their_tables.items()}

    def create(self) -> None:
        """
        Make the tables, and their schema, unless they are there; and write down of which version they are.

        Where Alembic makes the tables, call it all the same: it finds them, and does the rest.

        Raises:
            ConfigurationError: The tables are those of a newer version of this library.
            sqlalchemy.exc.SQLAlchemyError: They cannot be made.
        """
        return self._change(self._create)

    def _create(self, connection: _Connection) -> None:
        with _alone(connection.native):
            self._refuse_newer(connection)
            if self._place is not None and not inspect(connection.native).has_schema(self._place):
                connection.native.execute(CreateSchema(self._place, if_not_exists=True))
            self.metadata.create_all(connection.native, list(self._their_tables.values()))
            if not connection.rows(self._sql("SELECT version FROM {schema}")):
                connection.change(self._sql("INSERT INTO {schema} (version) VALUES (:version)"), version=SCHEMA_VERSION)

    def _refuse_newer(self, connection: _Connection) -> None:
        if inspect(connection.native).has_table(self._their_tables["schema"].name, self._place):
            for (version,) in connection.rows(self._sql("SELECT version FROM {schema}")):
                self._refuse_other_version(version)

    def _read(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        return self._database.read(carried, operation, *arguments)  # type: ignore[no-any-return]

    def _change(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        return self._database.change(carried, operation, *arguments)  # type: ignore[no-any-return]

    def record(
        self,
        lane: int,
        receipts: Sequence[Receipt],
        lease: Lease | None = None,
        cursor: Cursor | None = None,
        failures: Sequence[FailedAttempt] = (),
    ) -> bool:
        """See `Ledger.record`. On PostgreSQL it is one statement: one round trip, and no transaction is ever open."""
        given = (lane, receipts, lease, cursor, failures)
        if isinstance(self._words, PostgreSQLWords):
            return self._database.at_once(carried, self._record_at_once, *given)  # type: ignore[no-any-return]
        return self._change(self._record, *given)

    def _record_at_once(
        self,
        connection: _Connection,
        lane: int,
        receipts: Sequence[Receipt],
        lease: Lease | None,
        cursor: Cursor | None,
        failures: Sequence[FailedAttempt],
    ) -> bool:
        words: Any = self._words
        once = {receipt.audit_event_id: receipt for receipt in reversed(receipts)}
        if len(once) < len(receipts):  # the statement would refuse an event that comes twice
            self._record_at_once(connection, lane, list(once.values()), lease, None, ())
            receipts = [receipt for receipt in receipts if once[receipt.audit_event_id] is not receipt]
            return self._record_at_once(connection, lane, receipts, lease, cursor, failures)
        ordered = [once[name] for name in sorted(once)]  # in one order, so that none deadlocks
        ((is_held,),) = connection.rows(
            self._sql(words.record),
            **words.record_parameters(
                lane,
                to_rows(ordered) if ordered else (),
                lease,
                None if cursor is None else cursor_parameters(cursor),
                [to_failure(lane, failure) for failure in failures],
            ),
        )
        return bool(is_held)

    def _told_place(self) -> str | None:
        """Return the schema where the engine is told to look for the one that the tables are said to be in."""
        translated = self._database.engine.get_execution_options().get("schema_translate_map") or {}
        place: str | None = translated.get(self._schema, self._schema)
        return place

    def _prefix(self) -> str:
        if self._place is None:
            return ""
        quoted: str = self._database.engine.dialect.identifier_preparer.quote_schema(self._place)
        return quoted.replace(":", r"\:") + "."  # which would be a parameter


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Have no other process make the tables at the same time; on SQLite the transaction itself sees to it."""
    kind = connection.dialect.name
    if kind == "postgresql":
        connection.execute(_text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    if kind not in {"mysql", "mariadb"}:
        yield
        return
    connection.execute(_text(f"SELECT GET_LOCK('sigra_forward_{_LOCK}', {_CREATE_TIMEOUT})"))
    try:
        yield
    finally:
        connection.execute(_text(f"SELECT RELEASE_LOCK('sigra_forward_{_LOCK}')"))


def carried(native: Connection, operation: Callable[..., T], /, *arguments: Any) -> T:
    """Return what *operation* comes to on *native*."""
    return operation(_Connection(native), *arguments)


class _Connection:
    def __init__(self, native: Connection) -> None:
        self.native = native

    def rows(self, sql: str, /, **parameters: Any) -> Sequence[Sequence[Any]]:
        return self.native.execute(_text(sql), parameters).fetchall()

    def change(self, sql: str, /, **parameters: Any) -> int:
        return self.native.execute(_text(sql), parameters).rowcount

    def change_many(self, sql: str, parameters: Sequence[Mapping[str, Any]], /) -> None:
        self.native.execute(_text(sql), parameters)


@cache
def _text(sql: str) -> TextClause:
    statement = text(sql)
    return statement.bindparams(bindparam("ids", expanding=True)) if " IN :ids" in sql else statement
