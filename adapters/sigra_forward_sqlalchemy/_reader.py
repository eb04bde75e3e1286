"""`Reader`: how a row of the host's table becomes an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import repeat
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Dialect, TypeDecorator, Uuid
from sqlalchemy.types import TypeEngine

from sigra_forward import AuditEvent
from sigra_forward.errors import UnreadableRowError
from sigra_forward.stores.adapter import (
    FIELDS,
    Found,
    Times,
    is_reference,
    metadata_of,
    spelled,
    type_name,
    unreadable,
    uuid_text,
)
from sigra_forward_sqlalchemy._layout import MOMENTS, Layout, is_text
from sigra_forward_sqlalchemy._positions import told, told_uuid

Converter = Callable[[Any], Any]


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
        self._fields = {name: (places[column], _converter(layout, name)) for name, column in layout.fields.items()}
        self._extra = {
            name: (places[column], _decoration(column.type, layout.dialect)) for name, column in layout.extra.items()
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
            Found(event.id, position, event.occurred_at, event)
            if type(event) is AuditEvent
            else Found(self.named(row), position, error=event)  # type: ignore[arg-type]
            for row, position, event in zip(rows, map(self.position, rows), self.events(rows), strict=True)
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
        return _to_event(self._source, extra, *(read.get(name) for name in _NAMES))

    def _brief(self, row: Sequence[Any]) -> Found:
        name, position = self.named(row), self.position(row)
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
        told = {name: _converted(columns[place], convert) for name, (place, convert) in self._fields.items()}
        extra: Iterable[Any] = _NOTHING
        if self._extra:
            parts = [_converted(columns[place], convert) for place, convert in self._extra.values()]
            extra = (dict(zip(self._extra, row, strict=True)) for row in zip(*parts, strict=True))
        return list(map(_to_event, repeat(self._source), extra, *(told.get(name, _NOTHING) for name in _NAMES)))

    def _event(self, row: Sequence[Any]) -> AuditEvent | UnreadableRowError:
        try:
            return self._events([row])[0]
        except (ValueError, TypeError) as exc:
            return unreadable(exc)


_NAMES = tuple(name for name in FIELDS if name not in {"source", "extra"})
_NOTHING = repeat(None)


def _to_event(
    source: Any,
    extra: Any,
    event_id: Any,
    action: Any,
    occurred_at: Any,
    outcome: Any,
    actor_id: Any,
    actor_type: Any,
    target_id: Any,
    target_type: Any,
    ip_address: Any,
    user_agent: Any,
    organization_id: Any,
    effective_user_id: Any,
    inserted_at: Any,
    metadata: Any,
) -> AuditEvent:
    """Make an event of values in the order of `_NAMES`."""
    return AuditEvent(
        id=event_id,
        action=action,
        occurred_at=occurred_at,
        source=source,
        outcome=outcome,
        actor_id=actor_id,
        actor_type=actor_type,
        target_id=target_id,
        target_type=target_type,
        ip_address=ip_address,
        user_agent=user_agent,
        organization_id=organization_id,
        effective_user_id=effective_user_id,
        inserted_at=inserted_at,
        metadata=metadata,
        extra=extra,
    )


def _converted(column: Sequence[Any], convert: Converter | None) -> Sequence[Any]:
    return column if convert is None else list(map(convert, column))


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
        return partial(_moment, layout.times, name)
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


def _moment(times: Times, name: str, value: Any) -> Any:
    if value is None or (type(value) is datetime and value.tzinfo is not None):
        return value
    return times.read(value, name)


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
