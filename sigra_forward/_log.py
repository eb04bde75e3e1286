"""The library's log lines. `logging` is loaded with the first of them: most processes never need one."""

from __future__ import annotations

from contextlib import suppress


def log_warning(message: str, *args: object) -> None:
    """Log to ``sigra_forward`` at WARNING. Of a foreign exception only the type's name may be an argument."""
    _log("warning", message, args)


def log_error(message: str, *args: object) -> None:
    """Log to ``sigra_forward`` at ERROR. Of a foreign exception only the type's name may be an argument."""
    _log("error", message, args)


def _log(level: str, message: str, args: tuple[object, ...]) -> None:
    import logging

    with suppress(Exception):  # a host's filter or handler may raise, and no log line is worth a job
        getattr(logging.getLogger("sigra_forward"), level)(message, *args)
