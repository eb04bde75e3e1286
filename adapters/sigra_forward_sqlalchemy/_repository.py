"""`SQLAlchemyAuditRepository`: reads the host's existing audit table by the host's engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DataError

from sigra_forward import AuditEvent
from sigra_forward.errors import UnreadableRowError
from sigra_forward_sqlalchemy._database import database, is_async
from sigra_forward_sqlalchemy._instances import values_of
from sigra_forward_sqlalchemy._layout import Layout
from sigra_forward_sqlalchemy._positions import moment_or_text
from sigra_forward_sqlalchemy._queries import Queries
from sigra_forward_sqlalchemy._reader import Reader
from sigra_forward_sqlalchemy._table import USER, hosts_table

if TYPE_CHECKING:
    from datetime import tzinfo
    from uuid import UUID

    from sqlalchemy import Connection, Engine, Select
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.orm import InstanceState
    from typing_extensions import Self

    from sigra_forward.stores.adapter import Found

MAX_IDS = 1000
"""Ids asked for at once."""


class SQLAlchemyAuditRepository:
    """
    Read an existing audit table by the host's engine.

    Nothing is ever written, and no connection, cursor or transaction is held between calls. A row that cannot be told
    as an `AuditEvent` is an error of its own, and keeps no other from being read.

    Given an ``AsyncEngine`` it is an `AsyncSQLAlchemyAuditRepository`.

    Args:
        engine: The host's.
        table: A `Table`, a mapped class, or a table's or view's name, whose columns are looked up at the first call.
        schema: Where to look up a name.
        columns: The column, or the mapped attribute, of each field of `AuditEvent` whose name is not the field's own.
            A field without one is left at its default; ``id``, ``action`` and ``occurred_at`` must have one.
        extra: Further columns to hand on in ``AuditEvent.extra``, as the driver tells them.
        id_type: `str`, `int` or `UUID`: what the ids are, where their column does not say. A UUID may be stored in a
            column of its own kind, as text in lower or in upper case, with or without hyphens, or as 16 bytes.
        position: The column in whose order a relay reads the table, oldest first: a time or a sequence, indexed where
            the table is large; ``occurred_at``'s where none is named. The id breaks ties. A null comes before all.
        tz: The zone of times that are stored without one. Without it such a time is an error.
        epoch_unit: Seconds per unit of times that are stored as numbers since 1970: 0.001 for milliseconds.
        source: The permanent name of this table, set on every event.

    Raises:
        ConfigurationError: An option makes no sense, a column is missing, or the database is of another kind.
    """

    def __new__(cls, engine: Engine | AsyncEngine, *_: object, **__: object) -> Self:
        """Make the kind of repository that goes with the kind of engine."""
        if cls is SQLAlchemyAuditRepository and is_async(engine):
            from sigra_forward_sqlalchemy._async_repository import AsyncSQLAlchemyAuditRepository

            return super().__new__(AsyncSQLAlchemyAuditRepository)  # type: ignore[return-value]
        return super().__new__(cls)

    def __init__(
        self,
        engine: Engine | AsyncEngine,
        table: object = "audit_events",
        *,
        schema: str | None = None,
        columns: Mapping[str, str] | None = None,
        extra: Sequence[str] = (),
        id_type: type[str] | type[int] | type[UUID] | None = None,
        position: str | None = None,
        tz: tzinfo | None = None,
        epoch_unit: float = 1,
        source: str = "audit_events",
    ) -> None:
        self.source = source
        self._database: Any = database(engine, USER)
        self._table = hosts_table(table, schema, columns, extra, id_type, position, tz, epoch_unit, source)
        self._plan: _Plan | None = None
        if not self._table.is_looked_up:
            self._plan = _Plan(self._table.known_layout(self._database.engine.dialect))

    def get(self, audit_event_id: str, /) -> AuditEvent | None:
        """
        Return the committed row *audit_event_id*, or ``None``.

        Raises:
            ConfigurationError: The table, or a column that must be there, is not.
            sqlalchemy.exc.SQLAlchemyError: The database cannot be read now.
            UnreadableRowError: The row cannot be told as an `AuditEvent`: its metadata is no JSON object, or the like.
        """
        return self._database.read(self._get, audit_event_id)  # type: ignore[no-any-return]

    def get_many(self, audit_event_ids: Sequence[str], /) -> Mapping[str, AuditEvent | UnreadableRowError]:
        """
        Return the rows that are there of *audit_event_ids*, by id; of one that cannot be told, the error.

        Raises:
            ConfigurationError, sqlalchemy.exc.SQLAlchemyError: As `get`.
        """
        return self._database.read(self._get_many, audit_event_ids)  # type: ignore[no-any-return]

    def head(self) -> str | None:
        """Return the position of the last row that is there now, or ``None`` where there is none."""
        return self._database.read(self._head)  # type: ignore[no-any-return]

    def scan(
        self,
        after: str | None,
        limit: int,
        *,
        until: str | None = None,
        actions: Sequence[str] = ("*",),
        whole: bool = False,
    ) -> Sequence[Found]:
        """
        Return up to *limit* committed rows in ascending order of their positions; see `AuditSource.scan`.

        Raises:
            ConfigurationError, sqlalchemy.exc.SQLAlchemyError: As `get`.
        """
        return self._database.read(self._scan, after, limit, until, actions, whole)  # type: ignore[no-any-return]

    def count(self, *, after: str | None = None, until: str | None = None, actions: Sequence[str] = ("*",)) -> int:
        """Return how many rows `scan` would return in all."""
        return self._database.read(self._count, after, until, actions)  # type: ignore[no-any-return]

    def told(self, state: InstanceState[Any]) -> tuple[str, AuditEvent | None]:
        """
        Return the id of a mapped object that has just been flushed, and its event, where all of it is in memory.

        No query is made. For `dispatch_on_commit`.
        """
        (key, *_) = state.mapper.primary_key_from_instance(state.obj())
        if self._plan is None:
            return str(key), None
        values = values_of(state, self._plan.layout)
        if values is None:
            return self._plan.reader.spelled(key), None
        try:
            event = self._plan.reader.event_of(values)
        except (ValueError, TypeError):  # which reading it tells
            event = None
        return self._plan.reader.spelled(values["id"]), event

    def _get(self, connection: Connection, audit_event_id: str) -> AuditEvent | None:
        found = self._get_many(connection, [audit_event_id])
        for told in found.values():
            if isinstance(told, UnreadableRowError):
                raise told
            return told
        return None

    def _get_many(
        self, connection: Connection, audit_event_ids: Sequence[str]
    ) -> dict[str, AuditEvent | UnreadableRowError]:
        plan = self._planned(connection)
        found: dict[str, AuditEvent | UnreadableRowError] = {}
        for start in range(0, len(audit_event_ids), MAX_IDS):
            keys: dict[str, Sequence[object]] = {}
            for name in audit_event_ids[start : start + MAX_IDS]:
                if stored_as := plan.layout.keys(name):
                    keys[plan.layout.wanted(name)] = stored_as
            rows = _rows(connection, plan.queries.by_keys, keys=[key for many in keys.values() for key in many])
            names = [plan.reader.named(row) for row in rows]
            # What the database takes for the same, as "A" for "a", is another.
            told = zip(names, plan.reader.events(rows), strict=True)
            found |= {name: event for name, event in told if name in keys}
        return found

    def _head(self, connection: Connection) -> str | None:
        plan = self._planned(connection)
        for part in range(len(plan.queries.heads())):
            if rows := _page(connection, partial(_nth, plan.queries.heads, part)):
                return plan.reader.position(rows[0])
        return None

    def _scan(
        self,
        connection: Connection,
        after: str | None,
        limit: int,
        until: str | None,
        actions: Sequence[str],
        whole: bool,
    ) -> list[Found]:
        plan = self._planned(connection)
        tell = plan.reader.whole if whole else plan.reader.brief
        found: list[Found] = []
        for stretch in plan.queries.stretches(after, until, actions):
            if len(found) < limit:
                ask = partial(plan.queries.scan, stretch, limit - len(found), whole=whole)
                found += tell(_page(connection, ask))
        return found

    def _count(self, connection: Connection, after: str | None, until: str | None, actions: Sequence[str]) -> int:
        queries = self._planned(connection).queries
        stretches = queries.stretches(after, until, actions)
        return sum(int(connection.execute(queries.count(stretch)).scalar_one()) for stretch in stretches)

    def _planned(self, connection: Connection) -> _Plan:
        if self._plan is None:
            self._plan = _Plan(self._table.layout(connection))
        return self._plan


class _Plan:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.queries = Queries(layout)
        self.reader = Reader(layout)


def _rows(connection: Connection, query: Select[Any], **parameters: Any) -> Sequence[Sequence[Any]]:
    return connection.execute(query, parameters).fetchall()


def _nth(queries: Callable[..., Sequence[Select[Any]]], number: int, **options: Any) -> Select[Any]:
    return queries(**options)[number]


def _page(connection: Connection, ask: Callable[..., Select[Any]]) -> Sequence[Sequence[Any]]:
    """Return the rows; with their times as text, where one of them is beyond what Python can tell."""
    try:
        return _rows(connection, ask())
    except (DataError, OverflowError, ValueError):
        rows = _rows(connection, ask(times_as_text=True))
        return [(moment_or_text(row[0]), *row[1:]) for row in rows]
