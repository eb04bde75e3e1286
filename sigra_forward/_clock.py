"""The clock: what tells the time and waits for it, so that tests and demos can bring one of their own."""

from __future__ import annotations

from threading import TIMEOUT_MAX, Condition
from time import monotonic
from typing import Protocol


class Clock(Protocol):
    """Tells the seconds since some moment, and waits for one to come."""

    def monotonic(self) -> float:
        """Return the seconds since some fixed moment."""
        ...

    def wait_until(self, condition: Condition, moment: float | None) -> None:
        """
        Wait on *condition*, which the caller holds, until it is notified or *moment* has come; ``None`` is never.

        It may return early: ask again what you waited for.
        """
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def monotonic(self) -> float:
        """Return `time.monotonic`."""
        return monotonic()

    def wait_until(self, condition: Condition, moment: float | None) -> None:
        """Wait in real time."""
        wait_at_most(condition, None if moment is None else moment - monotonic())


def wait_at_most(condition: Condition, seconds: float | None) -> None:
    """Wait on *condition* for *seconds*, or for as long as the platform can; ``None`` is for ever."""
    condition.wait(None if seconds is None else min(max(0.0, seconds), TIMEOUT_MAX))


SYSTEM_CLOCK = SystemClock()
