"""Read an ISO 8601 instant the same way on every Python: 3.10 knows neither ``Z`` nor odd fractions."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime

_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(?:(:[0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r" ?([Zz]|[+-][0-9]{2}(?::?[0-5][0-9])?)?"
)


def parse_iso(text: str) -> datetime:
    """
    Return the instant that *text* names, aware if and only if *text* has an offset.

    Raises:
        ValueError: *text* is not ``YYYY-MM-DD[T ]hh:mm[:ss[.fraction]][ ][Z|±hh[[:]mm]]``. Never echoes it.
    """
    match = _ISO.fullmatch(text)
    if match is not None:
        with suppress(ValueError):  # a 13th month; its message may quote
            return datetime.fromisoformat(_normal(match))
    msg = "not an ISO 8601 date and time, as in 2026-01-31T09:30:00Z"
    raise ValueError(msg)


def _normal(match: re.Match[str]) -> str:
    date, minutes, seconds, fraction, offset = match.groups()
    return f"{date}T{minutes}{seconds or ':00'}.{(fraction or '').ljust(6, '0')[:6]}{_offset(offset)}"


def _offset(offset: str | None) -> str:
    if offset is None:
        return ""
    if offset in {"Z", "z"}:
        return "+00:00"
    digits = offset[1:].replace(":", "").ljust(4, "0")
    return f"{offset[0]}{digits[:2]}:{digits[2:]}"
