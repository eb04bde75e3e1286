"""`Reader`: how a row of the host's table becomes an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from uuid import UUID

from sqlalchemy import Dialect, TypeDecorator, Uuid
from sqlalchemy.types import TypeEngine

from sigra_forward import AuditEvent
from sigra_forward.errors import UnreadableRowError
from sigra_forward.stores.adapter import (
    Found,
    events_of,
    is_reference,
    metadata_column,
    metadata_of,
    spelled,
    type_name,
    unreadable,
    uuid_text,
)
from sigra_forward_sqlalchemy._layout import MOMENTS, Layout, is_text
from sigra_forward_sqlalchemy._positions import told, told_uuid

if TYPE_CHECKING:
    from datetime import datetime

Converter: TypeAlias = "Callable[[Any], Any]"
Columns: TypeAlias = "Callable[[Sequence[Any]], Sequence[Any]]"


class Reader:
    """
    Makes events of rows, in which the columns stand as `Layout.columns` has them.

    How each column is read is found once; events are made column by column, which is faster than row by row.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._source = layout.source
        self._id = _converter(layout, "id")
        self._occurred_at = _converter(layout, "occurred_at")
        places = {column: place for place, column in enumerate(layout.columns(whole=True))}
        self._fields = {name: (places[column], _columns(layout, name)) for name, column in layout.fields.items()}
        self._extra = {
            name: (places[column], _each(_decoration(column.type, layout.dialect)))
            for name, column in layout.extra.items()
        }
        self._id_place = places[layout.id]
        self._time_place = layout.columns(whole=False).index(layout.fields["occurred_at"])
        self._tell_position = told_uuid if layout.is_uuid_as_text(layout.position) else told
        self._tell_id = told_uuid if layout.is_uuid_as_text(layout.id) else told

    def named(self, row: Sequence[Any]) -> str:
        """Return a row's id as events spell it, and one that cannot be spelled as what it looks like."""
        raw = row[self._id_place]
        try:
            return str(self._id(raw))
        except (ValueError, TypeError):
            return str(raw)[:255]

    def position(self, row: Sequence[Any]) -> str:
        """Return where a row stands."""
        return f"{self._tell_position(row[0])}/{self._tell_id(row[self._id_place])}"

    def whole(self, rows: Sequence[Sequence[Any]]) -> list[Found]:
        """Return what was found, with the events."""
        return [
            Found(event.id, partial(self.position, row), event.occurred_at, event)
            if type(event) is AuditEvent
            else Found(self.named(row), partial(self.position, row), error=event)  # type: ignore[arg-type]
            for row, event in zip(rows, self.events(rows), strict=True)
        ]

    def brief(self, rows: Sequence[Sequence[Any]]) -> list[Found]:
        """Return what was found, by ids and times alone."""
        return list(map(self._brief, rows))

    def events(self, rows: Sequence[Sequence[Any]]) -> Sequence[AuditEvent | UnreadableRowError]:
        """Return the event of each row, or why there is none."""
        try:
            return self._events(rows)
        except (ValueError, TypeError):  # one of them is at fault; which, is told row by row
            return list(map(self._event, rows))

    def spelled(self, value: object) -> str:
        """Return an id that a mapped object holds as events spell it."""
        return str(spelled(value, self._layout.id_type))

    def event_of(self, values: Mapping[str, Any]) -> AuditEvent:
        """Return the event of what a mapped object holds."""
        read = {name: _in_memory(self._layout, name)(values[name]) for name in self._layout.fields}
        extra = {name: values[f"extra {name}"] for name in self._layout.extra}
        return self._made({**read, "extra": extra})

    def _brief(self, row: Sequence[Any]) -> Found:
        name, position = self.named(row), partial(self.position, row)
        try:
            moment = self._occurred_at(row[self._time_place])
            if moment is None or not is_reference(name):
                AuditEvent(id=name, action="-", occurred_at=cast("datetime", moment))  # it says why not
        except (ValueError, TypeError) as exc:
            return Found(name, position, error=unreadable(exc))
        return Found(name, position, moment)

    def _events(self, rows: Sequence[Sequence[Any]]) -> list[AuditEvent]:
        if not rows:
            return []
        columns = list(zip(*rows, strict=True))
        told = {name: convert(columns[place]) for name, (place, convert) in self._fields.items()}
        if self._extra:
            parts = [convert(columns[place]) for place, convert in self._extra.values()]
            told["extra"] = [dict(zip(self._extra, row, strict=True)) for row in zip(*parts, strict=True)]
        events = events_of(self._source, told)
        if events is None:
            return [self._made(dict(zip(told, row, strict=True))) for row in zip(*told.values(), strict=True)]
        return events

    def _made(self, values: dict[str, Any]) -> AuditEvent:
        return AuditEvent(source=self._source, **values)

    def _event(self, row: Sequence[Any]) -> AuditEvent | UnreadableRowError:
        try:
            return self._events([row])[0]
        except (ValueError, TypeError) as exc:
            return unreadable(exc)


def _columns(layout: Layout, name: str) -> Columns:
    """Return what reads all values of a field's column at once."""
    if _decoration(layout.fields[name].type, layout.dialect) is None:
        if name in MOMENTS:
            return partial(layout.times.column, name)
        if name == "metadata":
            return partial(metadata_column, is_checked=layout.is_told_as_text(layout.fields[name]))
    return _each(_converter(layout, name))


def _each(convert: Converter | None) -> Columns:
    return _same if convert is None else lambda column: list(map(convert, column))


def _converter(layout: Layout, name: str) -> Any:
    """Return what reads the column of a field; ``None`` where there is nothing to do."""
    kind = layout.fields[name].type
    decorated, read = _decoration(kind, layout.dialect), _reading(layout, name)
    if decorated is None or read is None:
        return decorated or read
    return lambda value: read(decorated(value))


def _reading(layout: Layout, name: str) -> Converter | None:
    column = layout.fields[name]
    if name in MOMENTS:
        return partial(layout.times.moment, name)
    if name == "metadata":
        return metadata_of
    if name == "id":
        return str if layout.is_uuid_as_text(column) else partial(_spelled, layout.id_type)
    if name.endswith("_id"):
        return None if layout.is_uuid_as_text(column) else _uuid_or_none if isinstance(column.type, Uuid) else uuid_text
    return None if is_text(column.type) else _text_or_none


def _in_memory(layout: Layout, name: str) -> Converter:
    if name == "id":
        return partial(_spelled, layout.id_type)
    if name.endswith("_id"):
        return _uuid_or_none if isinstance(layout.fields[name].type, Uuid) else uuid_text
    return _reading(layout, name) or _same


def _same(value: Any) -> Any:
    return value


def _spelled(id_type: type, value: object) -> object:
    return spelled(value, id_type)


def _uuid_or_none(value: object) -> object:
    return None if value is None else spelled(value, UUID)


def _text_or_none(value: object) -> object:
    """Return *value* as text: drivers tell an address, or a member of an enumeration, as objects of their own."""
    return value if value is None or type(value) is str else str(getattr(value, "value", value))


def _decoration(kind: TypeEngine[Any], dialect: Dialect) -> Converter | None:
    """Return what the host's own type makes of a value of the driver's; ``None`` where it is SQLAlchemy's."""
    process = kind.dialect_impl(dialect).result_processor(dialect, None) if isinstance(kind, TypeDecorator) else None
    return None if process is None else partial(_decorated, process)


def _decorated(process: Converter, value: object) -> Any:
    try:
        return process(value)
    except Exception as exc:  # noqa: BLE001 - it is the host's, and its message may quote
        msg = f"its column's own type raised {type_name(exc)}"
        raise ValueError(msg) from None
