"""Turn the values of an audit row into what every JSON encoder takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from enum import Enum
from math import inf, isfinite

from sigra_forward._names import type_name

MAX_DEPTH = 100

_ELLIPSIS = "…"

_CONTAINERS = (Mapping, list, tuple, set, frozenset)


def json_safe(value: object, within: tuple[int, ...] = ()) -> object:
    """
    Return *value* made of `dict`, `list`, `str`, `int`, finite `float`, `bool` and ``None`` only.

    Args:
        value: Anything.
        within: The ids of the containers that *value* stands in.
    """
    kind = type(value)
    if kind is str:
        return _text(value)  # type: ignore[arg-type]
    if value is None or kind is bool:
        return value
    if kind is dict and len(within) < MAX_DEPTH and _is_plain(value):  # type: ignore[arg-type]  # as most metadata is
        return dict(value)  # type: ignore[call-overload]
    if kind is int:
        return _integer(value)  # type: ignore[arg-type]
    if kind is float:
        return value if isfinite(value) else _not_finite(value)  # type: ignore[arg-type]
    if kind is datetime:
        return value.isoformat()  # type: ignore[attr-defined]
    if kind is dict or (isinstance(value, _CONTAINERS) and not isinstance(value, Enum)):
        return _container(value, within)  # type: ignore[arg-type]
    return _other(value, within)


def _is_plain(value: dict[object, object]) -> bool:
    """Tell whether *value* is ASCII texts under ASCII texts alone."""
    for key, item in value.items():
        if type(key) is not str or type(item) is not str or not (key.isascii() and item.isascii()):
            return False
    return True


def _container(value: Mapping[object, object] | Iterable[object], within: tuple[int, ...]) -> object:
    if len(within) >= MAX_DEPTH or id(value) in within:
        return _ELLIPSIS
    within = (*within, id(value))
    if type(value) is dict or isinstance(value, Mapping):
        return {
            _key(key): item if type(item) is str and item.isascii() else json_safe(item, within)
            for key, item in value.items()
        }
    return [json_safe(item, within) for item in value]


def _key(key: object) -> str:
    return key if type(key) is str and key.isascii() else str(json_safe(key))


def _other(value: object, within: tuple[int, ...]) -> object:
    if isinstance(value, Enum):
        return json_safe(value.value, within)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        from base64 import b64encode

        return b64encode(bytes(value)).decode()
    if isinstance(value, int):
        return _integer(int.__pos__(value))
    if isinstance(value, float):
        return json_safe(float.__pos__(value))
    return _text(_spelled(value))


def _spelled(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)  # of a subclass, str() may be the same object again
    try:
        return str.__str__(str(value))
    except Exception:  # noqa: BLE001 - it is foreign, and no reason to keep an event back
        return type_name(value)


def _text(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _integer(value: int) -> int | str:
    """Leave what fits in 64 bits; Python spells no more than 640 digits where its limit is set lowest."""
    if -(2**63) <= value < 2**64:
        return value
    return str(value) if value.bit_length() <= 2048 else hex(value)


def _not_finite(value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN alone is not equal to itself
        return "NaN"
    return "Infinity" if value == inf else "-Infinity"
