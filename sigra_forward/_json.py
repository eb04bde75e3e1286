"""Turn the values of an audit row into what every JSON encoder takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from enum import Enum
from math import isfinite


def json_safe(value: object) -> object:
    """Return *value* made of `dict`, `list`, `str`, `int`, finite `float`, `bool` and ``None`` only."""
    kind = type(value)
    if kind is str:
        return _text(value)  # type: ignore[arg-type]
    if value is None or kind is int or kind is bool:
        return value
    if kind is float:
        return value if isfinite(value) else _not_finite(value)  # type: ignore[arg-type]
    return _other(value)


def _other(value: object) -> object:
    if isinstance(value, Enum):
        return json_safe(value.value)
    if isinstance(value, Mapping):
        return {_text(key if isinstance(key, str) else str(key)): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [json_safe(item) for item in value]
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        from base64 import b64encode

        return b64encode(value).decode("ascii")
    for plain in (str, int, float):
        if isinstance(value, plain):
            return json_safe(plain(value))
    return _text(str(value))


def _text(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _not_finite(value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN alone is not equal to itself
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
