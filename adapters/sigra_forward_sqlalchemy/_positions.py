"""Positions: where a row stands in the order of reading, as text that is unique to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

from sigra_forward import ConfigurationError
from sigra_forward.stores.adapter import parse_iso

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of columns without a zone
_MICROSECOND = timedelta(microseconds=1)


def from_position(position: str) -> tuple[Any, Any]:
    """Return the two of which *position* is made: those of the position's column and of the id's."""
    value, _, raw_id = position.partition("/")
    return _READERS[value[0]](value[1:]), _READERS[raw_id[0]](raw_id[1:])


def moment_or_text(value: object) -> object:
    """Return a time that comes as text as what it is, so that its position is the same; another one as its text."""
    try:
        return parse_iso(value) if isinstance(value, str) else value
    except ValueError:
        return value


_is_plain = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch  # as most ids are, which need no quoting


def _text(value: str) -> str:
    return f"s{value}" if _is_plain(value) else f"s{quote(value, safe='')}"


def _moment(value: datetime) -> str:
    """Tell an instant alike, whatever zone the session shows it in."""
    if value.tzinfo is None:
        return f"T{(value - _NAIVE_EPOCH) // _MICROSECOND}"
    return f"t{(value - _EPOCH) // _MICROSECOND}"


_TELLERS: Mapping[type, Callable[[Any], str]] = {
    datetime: _moment,
    int: lambda value: f"i{value}",
    str: _text,
    UUID: lambda value: f"u{value}",
    type(None): lambda _: "n",
    bytes: lambda value: f"b{value.hex()}",
    float: lambda value: f"f{value!r}",
    Decimal: lambda value: f"d{value}",
    date: lambda value: f"D{value.isoformat()}",
}
_READERS: Mapping[str, Callable[[str], object]] = {
    "t": lambda text: _EPOCH + timedelta(0, 0, int(text)),
    "T": lambda text: _NAIVE_EPOCH + timedelta(0, 0, int(text)),
    "i": int,
    "s": unquote,
    "u": UUID,
    "n": lambda _: None,
    "b": bytes.fromhex,
    "f": float,
    "d": Decimal,
    "D": date.fromisoformat,
}


def told_uuid(text: str | None) -> str:
    """Return a part of a position, for a UUID that comes as text."""
    return "n" if text is None else f"u{text}"


def told(value: object) -> str:
    """
    Return a part of a position, of what stands in a column.

    Raises:
        ConfigurationError: It is of a kind that cannot be one.
    """
    teller = _TELLERS.get(type(value))
    if teller is not None:
        return teller(value)
    for kind, teller in _TELLERS.items():  # a driver's own UUID
        if isinstance(value, kind):
            return teller(value)
    msg = f"a {type(value).__name__} can be no position: name another column by position=..."
    raise ConfigurationError(msg)
