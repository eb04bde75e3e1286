"""How stored values are read, and how the ids of events are spelled, whatever database they come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from operator import attrgetter
from typing import Any
from uuid import UUID

from attrs import frozen

from sigra_forward._instants import parse_iso
from sigra_forward._names import type_name
from sigra_forward.errors import UnreadableRowError

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_zone_of = attrgetter("tzinfo")
_UTC = {"UTC", "Etc/UTC"}


@frozen
class Times:
    """
    How stored times are read.

    Args:
        tz: The zone of those that have no offset.
        unit: Seconds per unit of those that are numbers since 1970.
        user: Whose ``tz`` it is, for whoever has to set it.
    """

    tz: tzinfo | None
    unit: float
    user: str

    def read(self, value: object, name: str) -> datetime:
        """
        Read a stored time: a `datetime`, a number since 1970, or ISO 8601 text.

        Raises:
            ValueError, TypeError: It is none, or has no offset and there is no zone for it.
        """
        if isinstance(value, datetime):
            return self._zoned(value, name)
        if isinstance(value, (int, float)):
            try:
                return _EPOCH + timedelta(seconds=value * self.unit)
            except (OverflowError, ValueError) as exc:
                msg = f"{name} is out of range as seconds since 1970: does epoch_unit=... fit?"
                raise ValueError(msg) from exc
        if not isinstance(value, str):
            msg = f"{name} must be ISO 8601 text or a number since 1970; it is a {type_name(value)}"
            raise TypeError(msg)
        try:
            moment = parse_iso(value)
        except ValueError as exc:
            msg = f"{name} is {exc}"
            raise ValueError(msg) from None
        return self._zoned(moment, name)

    def moment(self, name: str, value: Any) -> Any:
        """Read a stored time that may be null; one with a zone is taken as it is."""
        if value is None or (type(value) is datetime and value.tzinfo is not None):
            return value
        return self.read(value, name)

    def column(self, name: str, values: Sequence[Any]) -> Sequence[Any]:
        """
        Read a column of stored times, any of which may be null.

        A driver's own UTC becomes Python's, with which everything that is done with a time is twice as fast.
        """
        if set(map(type, values)) == {datetime}:
            zones = set(map(_zone_of, values))
            if zones == {timezone.utc}:
                return values
            if len(zones) == 1 and str(*zones) in _UTC:
                return [value.replace(tzinfo=timezone.utc) for value in values]
        return [self.moment(name, value) for value in values]

    def _zoned(self, moment: datetime, name: str) -> datetime:
        if moment.tzinfo is not None:
            return moment
        if self.tz is None:
            msg = f"{name} has no offset: tell {self.user}(tz=...) which zone it is in"
            raise ValueError(msg)
        return moment.replace(tzinfo=self.tz)


def text_key(text: str) -> tuple[object, ...]:
    """Return what to look for where ids are text."""
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return ()
    return (text,)


def _integer_key(text: str) -> tuple[object, ...]:
    try:
        number = int(text)
    except ValueError:
        return ()
    return (number,) if str(number) == text and -(2**63) <= number < 2**63 else ()


def _uuid_keys(text: str) -> tuple[object, ...]:
    try:
        uuid = UUID(text)
    except ValueError:
        return ()
    texts = (str(uuid), uuid.hex)
    return (*texts, *map(str.upper, texts), uuid.bytes)


SPELLINGS: Mapping[type, Callable[[str], tuple[object, ...]]] = {
    str: text_key,
    int: _integer_key,
    UUID: _uuid_keys,
}
"""What to look for, by what the ids are."""


def spelled(value: object, id_type: type) -> object:
    """Return a stored id as events spell it."""
    if id_type is UUID and isinstance(value, str):
        return str(UUID(value))
    return uuid_text(value)


def uuid_text(value: object) -> object:
    """Spell 16 bytes as the UUID that they must be, for no other id is stored as bytes."""
    return str(UUID(bytes=value)) if isinstance(value, bytes) and len(value) == 16 else value


def metadata_of(value: object) -> dict[str, object]:
    """
    Return stored metadata, be it a mapping or its JSON.

    Raises:
        ValueError, TypeError: It is neither.
    """
    try:
        metadata = _loaded(value) if isinstance(value, (str, bytes)) else value
    except (ValueError, RecursionError):  # of which the message may quote
        msg = "metadata is no JSON"
        raise ValueError(msg) from None
    if metadata is None:  # NULL, or the text null
        return {}
    if not isinstance(metadata, dict):
        msg = f"metadata must be a JSON object as text; it is a {type_name(metadata)}"
        raise TypeError(msg)
    return metadata


def metadata_column(values: Sequence[Any], *, is_checked: bool = False) -> Sequence[dict[str, object]]:
    """
    Return a column of stored metadata.

    Args:
        values: The column.
        is_checked: The database has seen to it that each of them is JSON, as text, or null: they are read at once.

    Raises:
        ValueError, TypeError: One of them is no metadata.
    """
    if is_checked:
        try:
            loaded = json.loads(f"[{','.join([value or '{}' for value in values])}]")
        except (ValueError, TypeError, RecursionError):
            loaded = []
        if set(map(type, loaded)) == {dict} and len(loaded) == len(values):
            return loaded  # type: ignore[no-any-return]
    return list(map(metadata_of, values))


def _loaded(value: str | bytes) -> object:
    """Return what JSON says; of an object without blanks round it in half the time."""
    if type(value) is str and value[:1] == "{" and value[-1:] == "}":
        loaded, end = _decoder.raw_decode(value)
        if end == len(value):
            return loaded
    return json.loads(value)


_decoder = json.JSONDecoder()


def unreadable(exc: Exception) -> UnreadableRowError:
    """Return the error of a row, of which *exc* says what is wrong."""
    return UnreadableRowError(f"the row cannot be told as an AuditEvent: {exc}")
