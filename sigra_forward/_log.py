"""The library's log lines. `logging` is loaded with the first of them: most processes never need one."""

from __future__ import annotations


def log_warning(message: str, *args: object) -> None:
    """Log to ``sigra_forward`` at WARNING. Of a foreign exception only the type's name may be an argument."""
    import logging

    logging.getLogger("sigra_forward").warning(message, *args)


def log_error(message: str, *args: object) -> None:
    """Log to ``sigra_forward`` at ERROR. Of a foreign exception only the type's name may be an argument."""
    import logging

    logging.getLogger("sigra_forward").error(message, *args)
