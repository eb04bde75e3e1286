"""The library's log lines."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from sigra_forward._log import log_error, log_warning


@pytest.mark.parametrize(
    ("level", "log"),
    [pytest.param(logging.WARNING, log_warning, id="warning"), pytest.param(logging.ERROR, log_error, id="error")],
)
def test_lines_go_to_the_logger_of_the_library(
    level: int, log: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """A line goes to ``sigra_forward``, at its level, its arguments filled in, and without a traceback."""
    log("closing %s raised %s", "it", "OSError")

    assert [("sigra_forward", level, "closing it raised OSError")] == caplog.record_tuples
    assert [None] == [record.exc_info for record in caplog.records]


def test_a_filter_that_raises_stops_nothing() -> None:
    """A host's broken logging filter loses the line, and raises nothing into the library."""
    raised: list[str] = []

    def broken(record: logging.LogRecord) -> bool:
        raised.append(record.msg)
        msg = "broken"
        raise ValueError(msg)

    logger = logging.getLogger("sigra_forward")
    logger.addFilter(broken)
    try:
        log_error("a line")
    finally:
        logger.removeFilter(broken)

    assert ["a line"] == raised
