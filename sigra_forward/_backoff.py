"""The default retry curve, upstream's to the letter."""

from __future__ import annotations

from typing import TypeGuard

from sigra_forward._names import type_name


def backoff(attempt: int, *, jitter: int | None = None) -> int:
    """
    Return the seconds to wait after failed *attempt*: ``attempt**4 + 15 + r * attempt``.

    Four retries wait 17-26, 33-51, 99-126 and 275-311 seconds: 7 to 8.6 minutes in all. The curve is that of
    Elixir's ``Sigra.Workers.AuditForward``.

    Args:
        attempt: The attempt that failed, 1-based.
        jitter: Pins r, an integer from 1 to 10, which is drawn at random otherwise.

    Raises:
        ValueError: *attempt* is less than 1, or *jitter* is not in 1 to 10, or either is no integer.
    """
    if not is_count(attempt):
        msg = f"attempt must be an integer of at least 1, the attempt that failed; got {_told(attempt)}"
        raise ValueError(msg)
    if jitter is None:
        from random import randint

        jitter = randint(1, 10)  # noqa: S311 - spreads load, guards nothing
    elif not is_count(jitter) or int.__gt__(jitter, 10):
        msg = f"jitter must be an integer from 1 to 10; got {_told(jitter)}"
        raise ValueError(msg)
    attempt = int.__index__(attempt)
    return attempt**4 + 15 + int.__index__(jitter) * attempt


def is_count(value: object) -> TypeGuard[int]:
    """Tell whether *value* is an integer of at least 1; a bool is none."""
    kind = type(value)  # asked alone, and so are the methods of `int`: a subclass may raise in its own
    return issubclass(kind, int) and kind is not bool and int.__ge__(value, 1)  # type: ignore[operator]


def _told(value: object) -> str:
    kind = type(value)
    short = kind is bool or (kind is int and -1000 < value < 1000)  # type: ignore[operator]
    return repr(value) if short else type_name(value)
