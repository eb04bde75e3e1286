"""Answers that must be awaited: how to tell one, and how to let go of one that nobody will await."""

from __future__ import annotations

from typing import Any

from sigra_forward._names import type_name


def is_awaitable(answer: object) -> bool:
    """Tell whether *answer* can be awaited, asking its type alone: an object may lie about its class."""
    try:
        return hasattr(type(answer), "__await__")
    except Exception:  # noqa: BLE001 - a metaclass may raise; what cannot be asked cannot be awaited
        return False


def close_if_awaitable(answer: Any) -> bool:
    """Let go of *answer* if it is awaitable, so that it never runs and warns of nothing; tell whether it was."""
    if not is_awaitable(answer):
        return False
    try:
        let_go = getattr(answer, "close", None) or getattr(answer, "cancel", None)
        if callable(let_go):
            close_if_awaitable(let_go())
    except Exception as exc:  # noqa: BLE001 - it is foreign, and it is not wanted anyway
        from sigra_forward._log import log_warning

        log_warning("an awaitable that nobody awaits raised %s when it was closed", type_name(exc))
    return True
