"""Telemetry for tests."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sigra_forward.telemetry import TelemetryEvent

_Event = TypeVar("_Event", bound="TelemetryEvent")


class RecordingTelemetry:
    """Keeps every telemetry event in ``events``. Safe for threads."""

    def __init__(self) -> None:
        self.events: list[TelemetryEvent] = []
        self._changed = Condition()

    def emit(self, event: TelemetryEvent, /) -> None:
        """Keep *event*."""
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def of(self, kind: type[_Event]) -> list[_Event]:
        """Return the events of one *kind*, such as `Failed`."""
        return [event for event in self.events if type(event) is kind]

    def wait_for(self, fits: Callable[[list[TelemetryEvent]], object], timeout: float = 10.0) -> None:
        """
        Wait until *fits* says yes to the events so far.

        Raises:
            AssertionError: It did not within *timeout* seconds.
        """
        with self._changed:
            in_time = self._changed.wait_for(lambda: fits(self.events), timeout)
        assert in_time, f"not among these events: {self.events}"
