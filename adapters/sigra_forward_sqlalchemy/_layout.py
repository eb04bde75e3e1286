"""`Layout`: which column of the host's table is what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from attrs import frozen
from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Date,
    DateTime,
    Dialect,
    Enum,
    FromClause,
    Integer,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    Uuid,
    cast,
    type_coerce,
)
from sqlalchemy.types import NullType, TypeEngine

from sigra_forward.stores.adapter import (
    SPELLINGS,
    Times,
    is_reference,
)

Converter = Callable[[Any], Any]

MOMENTS = ("occurred_at", "inserted_at")


@frozen
class Layout:
    """
    A table whose columns have been found.

    Args:
        table: What is read.
        fields: The columns, by the names of their fields.
        extra: Those that are handed on, by name.
        position: The one in whose order it is read.
        id_type: What the ids are.
        times: How times are read.
        source: The permanent name of the table.
        dialect: The database's.
    """

    table: FromClause
    fields: Mapping[str, ColumnElement[Any]]
    extra: Mapping[str, ColumnElement[Any]]
    position: ColumnElement[Any]
    id_type: type
    times: Times
    source: str
    dialect: Dialect

    @property
    def id(self) -> ColumnElement[Any]:
        """The column of the ids."""
        return self.fields["id"]

    def selected(self, *, whole: bool, times_as_text: bool = False) -> list[ColumnElement[Any]]:
        """
        Return what to select, each column once: see `Reader`.

        It comes as the driver tells it: what SQLAlchemy makes of a value may fail, and would fail for all rows at once.
        """
        moments = {column for column in self.columns(whole=True) if is_time(column.type)}
        return [
            cast(column, Text)
            if (times_as_text and column in moments) or self.is_told_as_text(column)
            else _bare(column)
            for column in self.columns(whole=whole)
        ]

    def columns(self, *, whole: bool) -> list[ColumnElement[Any]]:
        """Return the columns that make an event, or those that make its id, its time and where it stands."""
        parts = [*self.fields.values(), *self.extra.values()] if whole else [self.fields["occurred_at"]]
        return list(dict.fromkeys([self.position, self.id, *parts]))

    def is_uuid_as_text(self, column: ColumnElement[Any]) -> bool:
        """Tell whether the text that comes of *column* stands for a UUID, as which it must go back."""
        return isinstance(column.type, Uuid) and self.is_told_as_text(column)

    def is_told_as_text(self, column: ColumnElement[Any]) -> bool:
        """Tell whether PostgreSQL had better make text of it: a driver makes an object, of which we would make text."""
        is_extra = any(column is extra for extra in self.extra.values())
        return self.dialect.name == "postgresql" and isinstance(column.type, (Uuid, JSON)) and not is_extra

    def keys(self, audit_event_id: str) -> Sequence[object]:
        """Return what *audit_event_id* may be stored as; nothing, where it cannot be an id of this table."""
        if not is_reference(audit_event_id):
            return ()
        keys = SPELLINGS[self.id_type](audit_event_id)
        kind = self.id.type
        if keys and self.id_type is UUID and isinstance(kind, (Uuid, TypeDecorator)):
            return (str(keys[0]) if isinstance(kind, Uuid) and not kind.as_uuid else UUID(str(keys[0])),)
        if isinstance(kind, Integer):
            bound: int = 1 << self._bits(kind)
            return [key for key in keys if isinstance(key, int) and -bound <= key < bound]
        stored = _python_type(kind)
        return [key for key in keys if stored is None or isinstance(key, stored)]

    def wanted(self, audit_event_id: str) -> str:
        """Return *audit_event_id*, which can be one, as events spell it."""
        return str(SPELLINGS[self.id_type](audit_event_id)[0])

    def _bits(self, kind: Integer) -> int:
        if self.dialect.name != "postgresql":  # the others compare with whatever fits into 64 bits
            return 63
        return 15 if isinstance(kind, SmallInteger) else 63 if isinstance(kind, BigInteger) else 31


def _bare(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return type_coerce(column, NullType())


def _python_type(kind: TypeEngine[Any]) -> type | None:
    try:
        return kind.python_type
    except NotImplementedError:  # nothing is known of it
        return None


def is_text(kind: TypeEngine[Any]) -> bool:
    """Tell whether a column holds text, and no member of an enumeration."""
    return isinstance(kind, String) and not isinstance(kind, Enum)


def is_time(kind: TypeEngine[Any]) -> bool:
    """Tell whether a column holds times of a kind that the database knows as such, other than as SQLite does."""
    return isinstance(kind.impl_instance if isinstance(kind, TypeDecorator) else kind, (Date, DateTime))
