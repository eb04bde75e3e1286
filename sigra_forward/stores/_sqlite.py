"""`SQLiteAuditRepository`: reads the host's existing audit table by the standard library's `sqlite3`."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from datetime import datetime, timezone, tzinfo
from typing import TYPE_CHECKING, Any
from uuid import UUID

from attrs import frozen

from sigra_forward._event import DEFAULT_SOURCE, FIELDS, AuditEvent
from sigra_forward._names import NAME_RULE, is_name
from sigra_forward._settle import seconds
from sigra_forward._source import Found
from sigra_forward.errors import ConfigurationError, UnreadableRowError
from sigra_forward.stores._sqlite_connections import Connections
from sigra_forward.stores._values import SPELLINGS, Times, metadata_of, spelled, text_key, unreadable, uuid_text

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUIRED = ("id", "action", "occurred_at")

MAX_IDS = 150
"""Ids asked for at once: a UUID may be stored in five ways, and old versions of SQLite take 999 parameters."""

_OTHER_IDS = tuple(name for name in FIELDS if name.endswith("_id"))
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class SQLiteAuditRepository:
    """
    Read an existing audit table of a SQLite database.

    Nothing is ever written: connections are opened for queries only (``PRAGMA query_only``), are kept for reuse, and
    hold no cursor or transaction between calls.

    Args:
        database: The path of the database file.
        table: The table's, or view's, name.
        columns: The column of each field of `AuditEvent` whose name is not the field's own. A field without a column
            in the table is left at its default; ``id``, ``action`` and ``occurred_at`` must have one.
        extra: Further columns of the table to hand on in ``AuditEvent.extra``.
        id_type: `str`, `int` or `UUID`: what the ids are. A UUID may be stored as text in lower or in upper case, with
            or without hyphens, or as 16 bytes. An id that cannot be one is not found.
        tz: The zone of times that are stored as text without an offset. Without it such a time is an error.
        epoch_unit: Seconds per unit of times that are stored as numbers since 1970: 0.001 for milliseconds.
        position: The column in whose order a relay reads the table, oldest first: a time or a sequence, indexed where
            the table is large; ``occurred_at``'s where none is named. The id breaks ties. A null comes before all.
        source: The permanent name of this table, set on every event.
        timeout: Seconds to wait for a lock that a writer holds.

    Raises:
        ConfigurationError: An option makes no sense. Whether table and columns exist is asked at the first `get`,
            because the host may create them later.
    """

    def __init__(
        self,
        database: str | os.PathLike[str],
        *,
        table: str = DEFAULT_SOURCE,
        columns: Mapping[str, str] | None = None,
        extra: Sequence[str] = (),
        id_type: type[str] | type[int] | type[UUID] = str,
        tz: tzinfo | None = None,
        epoch_unit: float = 1,
        position: str | None = None,
        source: str = DEFAULT_SOURCE,
        timeout: float = 5.0,
    ) -> None:
        columns = dict(columns or {})
        _check_options(database, columns, extra, id_type, tz, epoch_unit, source, timeout)
        position = columns.get("occurred_at", "occurred_at") if position is None else position
        for name in (table, *columns.values(), *extra, position):
            _check_identifier(name)
        self.source = source
        self._connections = Connections(database, "rw", timeout, _query_only)
        self._table = table
        self._columns = columns
        self._extra = tuple(extra)
        self._id_type = id_type
        self._position = position
        self._times = Times(tz, epoch_unit, "SQLiteAuditRepository")
        self._query: _Query | None = None

    def get(self, audit_event_id: str, /) -> AuditEvent | None:
        """
        Return the committed row *audit_event_id*, or ``None``.

        Raises:
            ConfigurationError: The table, or a column that must be there, is not.
            sqlite3.Error: The database cannot be read now.
            UnreadableRowError: The row cannot be told as an `AuditEvent`: its metadata is no JSON object, or the like.
        """
        keys = self._keys(audit_event_id)
        if not keys:
            return None
        with self._connections.one() as connection:
            query = self._planned(connection)
            places = ",".join("?" * len(keys))
            rows = connection.execute(f"{query.select} WHERE {query.id} IN ({places}) LIMIT 1", keys).fetchall()
        if not rows:
            return None
        event = self._told(query, rows[0])
        # An INTEGER column takes "01" and " 1" for 1, where the host left id_type at str.
        is_another = self._id_type is str and event.id != audit_event_id and type(rows[0][0]) is int
        return None if is_another else event

    def get_many(self, audit_event_ids: Sequence[str]) -> Mapping[str, AuditEvent | UnreadableRowError]:
        """
        Return the rows that are there of *audit_event_ids*, by id; of one that cannot be told, the error.

        Raises:
            ConfigurationError, sqlite3.Error: As `get`.
        """
        found: dict[str, AuditEvent | UnreadableRowError] = {}
        for start in range(0, len(audit_event_ids), MAX_IDS):
            keys = [key for name in audit_event_ids[start : start + MAX_IDS] for key in self._keys(name)]
            wanted = {self._named(key) for key in keys}  # an INTEGER column takes "01" for 1
            with self._connections.one() as connection:
                query = self._planned(connection)
                places = ",".join("?" * len(keys))
                rows = connection.execute(f"{query.select} WHERE {query.id} IN ({places})", keys).fetchall()
            told = {self._named(row[0]): self._told_or_error(query, row) for row in rows}
            found |= {name: event for name, event in told.items() if name in wanted}
        return found

    def head(self) -> str | None:
        """Return the position of the last row that is there now, or ``None`` where there is none."""
        with self._connections.one() as connection:
            query = self._planned(connection)
            order = f"{query.position} DESC, {query.id} DESC"
            rows = connection.execute(
                f"SELECT {query.position}, {query.id} FROM {query.table} ORDER BY {order} LIMIT 1"
            ).fetchall()
        return _position(*rows[0]) if rows else None

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
            ConfigurationError, sqlite3.Error: As `get`.
        """
        with self._connections.one() as connection:
            query = self._planned(connection)
            where, given = query.within(after, until, actions)
            columns = query.columns if whole else f"{query.id}, {query.occurred_at}"
            rows = connection.execute(
                f"SELECT {query.position}, {query.id}, {columns} FROM {query.table} {where} "
                f"ORDER BY {query.position}, {query.id} LIMIT ?",
                (*given, limit),
            ).fetchall()
        tell = self._whole if whole else self._brief
        return [tell(query, _position(*row[:2]), row[2:]) for row in rows]

    def count(self, *, after: str | None = None, until: str | None = None, actions: Sequence[str] = ("*",)) -> int:
        """Return how many rows `scan` would return in all."""
        with self._connections.one() as connection:
            query = self._planned(connection)
            where, given = query.within(after, until, actions)
            ((count,),) = connection.execute(f"SELECT count(*) FROM {query.table} {where}", given).fetchall()
        return int(count)

    def close(self) -> None:
        """Close the connections that are not in use. A later `get` opens one anew."""
        self._connections.close()

    def _planned(self, connection: sqlite3.Connection) -> _Query:
        """Return the query for the schema as it is now: the host may alter its table while we run."""
        ((version,),) = connection.execute("PRAGMA schema_version").fetchall()
        query = self._query
        if query is None or query.version != version:
            self._query = query = self._plan(connection, version)
        return query

    def _plan(self, connection: sqlite3.Connection, version: int) -> _Query:
        found = connection.execute("SELECT name FROM pragma_table_xinfo(?)", (self._table,)).fetchall()
        existing = {_folded(name): name for (name,) in found}
        if not existing:
            msg = f"the database has no table {self._table!r}: SQLiteAuditRepository(table=...) names the audit table"
            raise ConfigurationError(msg)
        wanted = {name: self._columns.get(name, name) for name in FIELDS if name not in {"source", "extra"}}
        missing = [
            f"{name}={column!r}"
            for name, column in wanted.items()
            if _folded(column) not in existing and (name in REQUIRED or name in self._columns)
        ]
        missing += [f"extra {column!r}" for column in self._extra if _folded(column) not in existing]
        missing += [] if _folded(self._position) in existing else [f"position={self._position!r}"]
        if missing:
            msg = f"table {self._table!r} has no column for {', '.join(missing)}; it has {', '.join(existing.values())}"
            raise ConfigurationError(msg)
        fields = {name: column for name, column in wanted.items() if _folded(column) in existing}
        return _Query(
            version,
            table=f"{_quoted(self._table)} AS t",
            columns=", ".join(_column(column) for column in (*fields.values(), *self._extra)),
            fields=tuple(fields),
            id=_column(fields["id"]),
            action=_column(fields["action"]),
            occurred_at=_column(fields["occurred_at"]),
            position=_column(self._position),
        )

    def _keys(self, audit_event_id: str) -> tuple[object, ...]:
        return SPELLINGS[self._id_type](audit_event_id)

    def _whole(self, query: _Query, position: str, row: tuple[object, ...]) -> Found:
        told = self._told_or_error(query, row)
        if isinstance(told, UnreadableRowError):
            return Found(self._named(row[0]), position, error=told)
        return Found(told.id, position, told.occurred_at, told)

    def _brief(self, _: _Query, position: str, row: tuple[object, ...]) -> Found:
        try:
            return Found(self._named(row[0]), position, self._times.read(row[1], "occurred_at"))
        except (ValueError, TypeError) as exc:
            return Found(self._named(row[0]), position, error=unreadable(exc))

    def _named(self, raw: object) -> str:
        """Return an id as it is spelled, and one that cannot be spelled as what it looks like."""
        try:
            return str(spelled(raw, self._id_type))
        except ValueError:
            return str(raw)[:255]

    def _told_or_error(self, query: _Query, row: tuple[object, ...]) -> AuditEvent | UnreadableRowError:
        try:
            return self._told(query, row)
        except UnreadableRowError as exc:
            return exc

    def _told(self, query: _Query, row: tuple[object, ...]) -> AuditEvent:
        try:
            return self._event(query.fields, row)
        except (ValueError, TypeError) as exc:
            raise unreadable(exc) from exc

    def _event(self, fields: tuple[str, ...], row: tuple[object, ...]) -> AuditEvent:
        values: dict[str, Any] = dict(zip(fields, row, strict=False))
        values["id"] = spelled(values["id"], self._id_type)
        for name in _OTHER_IDS:
            values[name] = uuid_text(values.get(name))
        values["metadata"] = metadata_of(values.get("metadata"))
        for name in ("occurred_at", "inserted_at"):
            if values.get(name) is not None:
                values[name] = self._times.read(values[name], name)
        extra = dict(zip(self._extra, row[len(fields) :], strict=True))
        return AuditEvent(source=self.source, extra=extra, **values)


def _query_only(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")


@frozen
class _Query:
    version: int
    table: str
    columns: str
    fields: tuple[str, ...]
    id: str
    action: str
    occurred_at: str
    position: str

    @property
    def select(self) -> str:
        return f"SELECT {self.columns} FROM {self.table}"

    def within(self, after: str | None, until: str | None, actions: Sequence[str]) -> tuple[str, list[object]]:
        """Return the ``WHERE`` of a scan, and what to give it."""
        clauses: list[str] = []
        given: list[object] = []
        begins_with_null = True
        if after is not None:
            value, raw_id = _place(after)
            begins_with_null = value is None
            if begins_with_null:
                clauses.append(f"({self.position} IS NOT NULL OR {self.id} > ?)")
            else:
                clauses.append(f"({self.position}, {self.id}) > (?, ?)")
            given += [raw_id] if begins_with_null else [value, raw_id]
        if until is not None:
            value, raw_id = _place(until)
            if value is None:
                clauses.append(f"({self.position} IS NULL AND {self.id} <= ?)")
            else:
                or_null = f" OR {self.position} IS NULL" if begins_with_null else ""
                clauses.append(f"(({self.position}, {self.id}) <= (?, ?){or_null})")
            given += [raw_id] if value is None else [value, raw_id]
        if "*" not in actions:
            wanted = []
            for action in actions:
                prefix = action.removesuffix("*")
                wanted.append(f"substr({self.action}, 1, {len(prefix)})" if prefix != action else self.action)
                given.append(prefix)
            clauses.append(f"({' OR '.join(f'{part} = ? COLLATE BINARY' for part in wanted)})")
        return f"WHERE {' AND '.join(clauses)}" if clauses else "", given


def _position(value: object, raw_id: object) -> str:
    return json.dumps(
        [part.hex() if isinstance(part, bytes) else part for part in (value, raw_id)]
        + [isinstance(value, bytes), isinstance(raw_id, bytes)]
    )


def _place(position: str) -> list[object]:
    value, raw_id, *are_bytes = json.loads(position)
    return [
        bytes.fromhex(part) if is_bytes else part for part, is_bytes in zip((value, raw_id), are_bytes, strict=True)
    ]


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _column(name: str) -> str:
    """Tell a column by its table, for SQLite takes a bare name that it does not find, in its quotes, for a text."""
    return f"t.{_quoted(name)}"


def _folded(identifier: str) -> bytes:
    """Fold the case of ASCII alone, as SQLite does."""
    return identifier.encode().lower()


def _check_identifier(name: object) -> None:
    if not isinstance(name, str) or not name or "\x00" in name or not text_key(name):
        msg = "a table or column name must be a str that is not empty, with no NUL and no lone surrogate in it"
        raise ConfigurationError(msg)


def _check_options(
    database: object,
    columns: Mapping[str, str],
    extra: object,
    id_type: object,
    tz: object,
    epoch_unit: object,
    source: object,
    timeout: object,
) -> None:
    unknown = sorted(set(columns) - set(FIELDS) | {"source", "extra"} & set(columns))
    rules = {
        "database must be the path of a database file, which ':memory:' is not": isinstance(
            database, (str, os.PathLike)
        )
        and os.fspath(database) not in {"", ":memory:"},
        f"columns names {', '.join(map(repr, unknown))}, which it cannot place: see AuditEvent's fields": not unknown,
        "extra must be a tuple of column names": isinstance(extra, (tuple, list)),
        "id_type must be str, int or uuid.UUID": id_type in (str, int, UUID),
        "tz must be a tzinfo, such as datetime.timezone.utc": tz is None or isinstance(tz, tzinfo),
        "epoch_unit must be a number of seconds above 0": bool(seconds(epoch_unit)),
        f"source must be {NAME_RULE}": is_name(source),
        "timeout must be a finite number of seconds of at least 0": seconds(timeout) is not None,
    }
    for rule, kept in rules.items():
        if not kept:
            msg = f"SQLiteAuditRepository: {rule}"
            raise ConfigurationError(msg)
