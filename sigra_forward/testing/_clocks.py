"""Clocks for tests and demos."""

from __future__ import annotations

from collections import Counter
from threading import Condition
from time import monotonic

from sigra_forward._clock import wait_at_most


class FakeClock:
    """
    A clock that moves only when it is told to, and then wakes whoever waited for that moment.

    Args:
        now: The seconds that it begins with.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._changed = Condition()
        self._waiting: Counter[tuple[Condition, float | None]] = Counter()

    def monotonic(self) -> float:
        """Return the seconds that it stands at."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on by *seconds*, and wake everyone who waits."""
        with self._changed:
            self._now += seconds
        self._wake()

    def advance_to_next(self, timeout: float = 10.0) -> float:
        """
        Wait until somebody waits for a moment to come, move on to the earliest one, and return it.

        Raises:
            AssertionError: Nobody did within *timeout* real seconds.
        """
        with self._changed:
            in_time = self._changed.wait_for(self._moments, timeout)
            assert in_time, "nobody waits for this clock"
            self._now = moment = min(self._moments())
        self._wake()
        return moment

    def wait_until(self, condition: Condition, moment: float | None) -> None:
        """Wait on *condition* until it is notified or the clock has been moved to *moment*."""
        key = (condition, moment)
        with self._changed:
            if moment is not None and moment <= self._now:
                return
            self._waiting[key] += 1
            self._changed.notify_all()
        condition.wait()
        with self._changed:
            self._waiting -= Counter([key])

    def _wake(self) -> None:
        with self._changed:
            waiting = {condition for condition, _ in self._waiting}
        for condition in waiting:
            with condition:
                condition.notify_all()

    def _moments(self) -> list[float]:
        return [moment for _, moment in self._waiting if moment is not None and moment > self._now]


class ScaledClock:
    """
    The machine's clock, *factor* times as fast: five minutes of backoff pass in three seconds with a factor of 100.

    Args:
        factor: Its seconds per real second.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def monotonic(self) -> float:
        """Return the scaled seconds."""
        return monotonic() * self._factor

    def wait_until(self, condition: Condition, moment: float | None) -> None:
        """Wait on *condition* until it is notified or the scaled *moment* has come."""
        wait_at_most(condition, None if moment is None else (moment - self.monotonic()) / self._factor)
