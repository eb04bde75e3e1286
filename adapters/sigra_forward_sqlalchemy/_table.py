"""How the host names its audit table, and the `Layout` that is found for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any
from uuid import UUID

from attrs import frozen
from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    FromClause,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    TypeDecorator,
    Uuid,
)
from sqlalchemy import inspect as sqlalchemy_inspect
from sqlalchemy.exc import NoInspectionAvailable, NoSuchTableError
from sqlalchemy.orm import Mapper

from sigra_forward import ConfigurationError
from sigra_forward.stores.adapter import FIELDS, NAME_RULE, Times, is_name, seconds
from sigra_forward_sqlalchemy._layout import Layout

USER = "SQLAlchemyAuditRepository"
REQUIRED = ("id", "action", "occurred_at")


@frozen
class HostsTable:
    """
    What the host has said about its audit table.

    Args:
        named: A `Table`, or what else has columns; a mapper; or a name, whose table is looked up in the database.
        schema: Where to look it up.
        columns: The column of each field whose name is not the field's own.
        extra: Further columns to hand on.
        id_type: What the ids are; ``None``: what their column says.
        position: The column in whose order it is read.
        times: How times are read.
        source: The permanent name of the table.
    """

    named: FromClause | Mapper[Any] | str
    schema: str | None
    columns: Mapping[str, str]
    extra: tuple[str, ...]
    id_type: type | None
    position: str
    times: Times
    source: str

    @property
    def is_looked_up(self) -> bool:
        """Whether a database must be asked for its columns."""
        return isinstance(self.named, str)

    def layout(self, connection: Connection) -> Layout:
        """
        Return the layout of the table as it is in the database.

        Raises:
            ConfigurationError: It is not there, or lacks a column.
        """
        if not isinstance(self.named, str):
            return self.known_layout(connection.dialect)
        try:
            table = Table(self.named, MetaData(), schema=self.schema, autoload_with=connection, resolve_fks=False)
        except NoSuchTableError as exc:
            msg = f"the database has no table {self.named!r}: {USER}(table=...) names the audit table"
            raise ConfigurationError(msg) from exc
        return self._layout(table, {}, connection.dialect)

    def known_layout(self, dialect: Dialect) -> Layout:
        """
        Return the layout of a table that SQLAlchemy knows.

        Raises:
            ConfigurationError: It lacks a column.
        """
        if isinstance(self.named, Mapper):
            return self._layout(self.named.local_table, _attributes(self.named), dialect)
        return self._layout(self.named, {}, dialect)  # type: ignore[arg-type]

    def _layout(self, table: FromClause, attributes: Mapping[str, ColumnElement[Any]], dialect: Dialect) -> Layout:
        existing = {**{column.name: column for column in table.c}, **dict(table.c), **attributes}
        wanted = {name: self.columns.get(name, name) for name in FIELDS if name not in {"source", "extra"}}
        missing = [
            f"{name}={column!r}"
            for name, column in wanted.items()
            if column not in existing and (name in REQUIRED or name in self.columns)
        ]
        missing += [f"extra {column!r}" for column in self.extra if column not in existing]
        missing += [] if self.position in existing else [f"position={self.position!r}"]
        if missing:
            there = ", ".join(column.name for column in table.c)
            name = getattr(table, "name", type(table).__name__)
            msg = f"table {name!r} has no column for {', '.join(missing)}; it has {there}"
            raise ConfigurationError(msg)
        fields = {name: existing[column] for name, column in wanted.items() if column in existing}
        return Layout(
            table,
            fields,
            extra={name: existing[name] for name in self.extra},
            position=existing[self.position],
            id_type=_type_of(fields["id"]) if self.id_type is None else self.id_type,
            times=self.times,
            source=self.source,
            dialect=dialect,
        )


def _attributes(mapper: Mapper[Any]) -> dict[str, ColumnElement[Any]]:
    local = set(mapper.local_table.c)
    columns = {attribute.key: attribute.columns[0] for attribute in mapper.column_attrs}
    return {key: column for key, column in columns.items() if column in local}


def _type_of(column: ColumnElement[Any]) -> type:
    """Return what ids are by their column; bytes can be nothing but UUIDs."""
    kind = column.type
    if isinstance(kind, (Uuid, LargeBinary)):
        return UUID
    if isinstance(kind, TypeDecorator):
        return UUID if isinstance(kind.impl_instance, (Uuid, LargeBinary)) else _plain(kind.impl_instance)
    return _plain(kind)


def _plain(kind: object) -> type:
    return int if isinstance(kind, Integer) else str


def hosts_table(
    table: object,
    schema: str | None,
    columns: Mapping[str, str] | None,
    extra: object,
    id_type: object,
    position: object,
    tz: object,
    epoch_unit: object,
    source: object,
) -> HostsTable:
    """
    Return what the host has said, where it makes sense.

    Raises:
        ConfigurationError: It makes none.
    """
    columns = dict(columns or {})
    named = _named(table)
    names = [*columns.values(), *(extra if isinstance(extra, (tuple, list)) else ()), position, schema]
    unknown = sorted(set(columns) - set(FIELDS) | {"source", "extra"} & set(columns))
    rules = {
        "table must be a Table, a mapped class, or a name": named is not None,
        f"columns names {', '.join(map(repr, unknown))}, which it cannot place: see AuditEvent's fields": not unknown,
        "extra must be a tuple of column names": isinstance(extra, (tuple, list)),
        "the name of a column, or of a schema, must be a str that is not empty": all(
            name is None or (isinstance(name, str) and name) for name in names
        ),
        "schema goes with the name of a table; a Table has its own": schema is None or isinstance(table, str),
        "id_type must be str, int or uuid.UUID": id_type in (None, str, int, UUID),
        "tz must be a tzinfo, such as datetime.timezone.utc": tz is None or isinstance(tz, tzinfo),
        "epoch_unit must be a number of seconds above 0": bool(seconds(epoch_unit)),
        f"source must be {NAME_RULE}": is_name(source),
    }
    for rule, kept in rules.items():
        if not kept:
            msg = f"{USER}: {rule}"
            raise ConfigurationError(msg)
    place = columns.get("occurred_at", "occurred_at") if position is None else position
    times = Times(tz, epoch_unit, USER)  # type: ignore[arg-type]
    return HostsTable(named, schema, columns, tuple(extra), id_type, place, times, source)  # type: ignore[arg-type]


def _named(table: object) -> FromClause | Mapper[Any] | str | None:
    if isinstance(table, (FromClause, str)):
        return table or None if isinstance(table, str) else table
    try:
        found = sqlalchemy_inspect(table)
    except NoInspectionAvailable:
        return None
    return found if isinstance(found, Mapper) else None
