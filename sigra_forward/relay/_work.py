"""What a lane's work is made of: asking ports, work on the side, and no more than so much of it a second."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")

_SHORTEST = 0.001
"""Seconds: a wait that is a rounding error long would be no wait at all."""

Ask: TypeAlias = "Callable[..., Any]"
"""``ask(method, *arguments, **options)`` returns what a port's method gives, awaited where it is async."""


class Later(Generic[T]):
    """Calls *function* on a thread of its own; `result` waits for what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._answer: Any = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="sigra-forward-relay-side", daemon=True)
        self._thread.start()

    def result(self) -> T:
        """
        Return what it returned.

        Raises:
            BaseException: What it raised.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._answer  # type: ignore[no-any-return]

    def _run(self) -> None:
        try:
            self._answer = self._function()
        except BaseException as exc:  # noqa: BLE001 - raised by `result`
            self._error = exc


class Limiter:
    """
    Lets through so many events a second: those of one second at once, and no fewer than those of a tenth of one.

    Args:
        rate: Events a second; ``None``: as many as there are.
    """

    def __init__(self, rate: float | None, now: float) -> None:
        self._rate = rate
        self._left = self._most = max(1.0, rate or 0.0)
        self._least = max(1.0, self._most / 10)
        self._at = now

    def allowed(self, now: float, wanted: int) -> int:
        """Return how many of *wanted* may go now."""
        if self._rate is None:
            return wanted
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return min(wanted, int(self._left)) if self._left >= self._least else 0

    @property
    def is_limiting(self) -> bool:
        """Tell whether there is a limit at all."""
        return self._rate is not None

    def take(self, count: int) -> None:
        """Let *count* through."""
        self._left -= count

    def next_in(self) -> float:
        """Return the seconds until more may go."""
        return 0.0 if self._rate is None else max(_SHORTEST, (self._least - self._left) / self._rate)
