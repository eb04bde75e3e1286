"""`Layout`: which column of the host's table is what, and how a row becomes an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from attrs import frozen
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    FromClause,
    Integer,
    SmallInteger,
    Text,
    TypeDecorator,
    Uuid,
    cast,
    type_coerce,
)
from sqlalchemy.types import NullType, TypeEngine

from sigra_forward import AuditEvent
from sigra_forward.errors import UnreadableRowError
from sigra_forward.stores.adapter import (
    SPELLINGS,
    Found,
    Times,
    is_reference,
    metadata_of,
    spelled,
    type_name,
    unreadable,
    uuid_text,
)
from sigra_forward_sqlalchemy._positions import to_position

Converter = Callable[[Any], Any]

_MOMENTS = ("occurred_at", "inserted_at")


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
        Return what to select: where a row stands, and then its fields and extra columns, or its id and time alone.

        It comes as the driver tells it: what SQLAlchemy makes of a value may fail, and would fail for all rows at once.
        """
        columns = [*self.fields.values(), *self.extra.values()]
        chosen = [self.position, self.id, *(columns if whole else [self.id, self.fields["occurred_at"]])]
        moments = [self.position, *(self.fields[name] for name in _MOMENTS if name in self.fields)]
        return [
            cast(column, Text) if times_as_text and any(column is moment for moment in moments) else _bare(column)
            for column in chosen
        ]

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


class Reader:
    """
    Makes events of the rows of a `Layout`.

    How each column is read is found once; events are made column by column, which is much faster than row by row.
    """

    def __init__(self, layout: Layout) -> None:
        self._source = layout.source
        self._names = tuple(layout.fields)
        self._extra = tuple(layout.extra)
        decorated = {name: decoration(column.type, layout.dialect) for name, column in layout.fields.items()}
        self._id = _after(decorated["id"], partial(_spelled, layout.id_type))
        self._moments = {
            name: _after(decorated[name], partial(_moment, layout.times, name))
            for name in _MOMENTS
            if name in decorated
        }
        converters = {
            name: _after(decorated[name], _reading_of(name, column.type)) for name, column in layout.fields.items()
        }
        converters |= {"id": self._id, **self._moments}
        extra = [decoration(column.type, layout.dialect) for column in layout.extra.values()]
        self._converters = [*converters.values(), *extra]

    def named(self, raw: object) -> str:
        """Return an id as events spell it, and one that cannot be spelled as what it looks like."""
        try:
            return str(self._id(raw))
        except (ValueError, TypeError):
            return str(raw)[:255]

    def whole(self, rows: Sequence[Sequence[Any]]) -> list[Found]:
        """Return what was found, in rows as `Layout.selected` has them."""
        return [
            Found(event.id, to_position(row[0], row[1]), event.occurred_at, event)
            if isinstance(event, AuditEvent)
            else Found(self.named(row[1]), to_position(row[0], row[1]), error=event)
            for row, event in zip(rows, self.events(rows), strict=True)
        ]

    def brief(self, rows: Sequence[Sequence[Any]]) -> list[Found]:
        """Return what was found, without the events."""
        return [self._brief(*row) for row in rows]

    def events(self, rows: Sequence[Sequence[Any]]) -> Sequence[AuditEvent | UnreadableRowError]:
        """Return the event of each row, or why there is none."""
        try:
            return self._events(rows)
        except (ValueError, TypeError):  # one of them is at fault; which, is told row by row
            return [self._event(row) for row in rows]

    def _brief(self, position: object, raw_id: object, _: object, occurred_at: object) -> Found:
        told, name = to_position(position, raw_id), self.named(raw_id)
        try:
            moment = self._moments["occurred_at"](occurred_at)
            if moment is None or not is_reference(name):
                AuditEvent(id=name, action="-", occurred_at=moment)  # it says why not
        except (ValueError, TypeError) as exc:
            return Found(name, told, error=unreadable(exc))
        return Found(name, told, moment)

    def _events(self, rows: Sequence[Sequence[Any]]) -> list[AuditEvent]:
        columns = list(zip(*rows, strict=True))[2:]
        for number, convert in enumerate(self._converters if rows else ()):
            if convert is not None:
                columns[number] = tuple(map(convert, columns[number]))
        count, names, source = len(self._names), self._names, self._source
        told = zip(*columns[:count], strict=True)
        if not self._extra:
            return [AuditEvent(source=source, **dict(zip(names, row))) for row in told]  # noqa: B905 - it costs
        return [
            AuditEvent(source=source, extra=dict(zip(self._extra, extra, strict=True)), **dict(zip(names, row)))  # noqa: B905
            for row, extra in zip(told, zip(*columns[count:], strict=True), strict=True)
        ]

    def _event(self, row: Sequence[Any]) -> AuditEvent | UnreadableRowError:
        try:
            return self._events([row])[0]
        except (ValueError, TypeError) as exc:
            return unreadable(exc)


def _bare(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return type_coerce(column, NullType())


def decoration(kind: TypeEngine[Any], dialect: Dialect) -> Converter | None:
    """Return what the host's own type makes of a value that comes from the driver; ``None`` where it is SQLAlchemy's."""
    process = kind.result_processor(dialect, None) if isinstance(kind, TypeDecorator) else None
    return None if process is None else partial(_decorated, process)


def _decorated(process: Converter, value: object) -> Any:
    try:
        return process(value)
    except Exception as exc:  # noqa: BLE001 - it is the host's, and its message may quote
        msg = f"its column's own type raised {type_name(exc)}"
        raise ValueError(msg) from None


def _python_type(kind: TypeEngine[Any]) -> type | None:
    try:
        return kind.python_type
    except NotImplementedError:  # nothing is known of it
        return None


def _after(first: Converter | None, then: Converter | None) -> Any:
    if first is None or then is None:
        return first or then
    return lambda value: then(first(value))


def _reading_of(name: str, kind: TypeEngine[Any]) -> Converter | None:
    if name == "metadata":
        return metadata_of
    if name.endswith("_id"):
        return _uuid_or_none if isinstance(kind, Uuid) else uuid_text
    return _text_or_none


def _spelled(id_type: type, value: object) -> object:
    return spelled(value, id_type)


def _moment(times: Times, name: str, value: Any) -> Any:
    if value is None or (type(value) is datetime and value.tzinfo is not None):
        return value
    return times.read(value, name)


def _uuid_or_none(value: object) -> object:
    return None if value is None else spelled(value, UUID)


def _text_or_none(value: object) -> object:
    """Return *value* as text: drivers tell an address, or a member of an enumeration, as objects of their own."""
    return value if value is None or type(value) is str else str(getattr(value, "value", value))
