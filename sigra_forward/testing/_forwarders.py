"""Forwarders for tests, named by how they work."""

from __future__ import annotations

from collections import Counter
from threading import Condition
from typing import TYPE_CHECKING

from sigra_forward.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sigra_forward._event import AuditEvent
    from sigra_forward._outcome import Ack


class RecordingForwarder:
    """
    Accepts every event and keeps it, in ``events``.

    Args:
        answer: What it returns.
    """

    def __init__(self, answer: Ack | None = None) -> None:
        self.events: list[AuditEvent] = []
        self._answer = answer
        self._changed = Condition()

    def forward(self, event: AuditEvent) -> Ack | None:
        """Keep *event*."""
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()
        return self._answer

    def forward_batch(self, events: Sequence[AuditEvent]) -> None:
        """Keep *events*."""
        for event in events:
            self.forward(event)

    @property
    def ids(self) -> list[str]:
        """The ids of the events, in the order in which they came."""
        return [event.id for event in self.events]

    def wait_for(self, count: int, timeout: float = 10.0) -> list[str]:
        """
        Wait until *count* events have come, and return their ids.

        Raises:
            AssertionError: They did not within *timeout* seconds.
        """
        with self._changed:
            in_time = self._changed.wait_for(lambda: len(self.events) >= count, timeout)
        assert in_time, f"{len(self.events)} of {count} events came"
        return self.ids


class RaisingForwarder:
    """Raises *error* for every event, and keeps the event in ``events``."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.events: list[AuditEvent] = []

    def forward(self, event: AuditEvent) -> None:
        """Raise."""
        self.events.append(event)
        raise self.error


class FlakyForwarder(RecordingForwarder):
    """
    Raises for the first *failures* tries of each event, and then accepts it.

    Args:
        failures: How often it raises, for each event.
        error: What it raises; a `SinkError` by default.
    """

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        super().__init__()
        self._failures = failures
        self._error = error or SinkError("flaky")
        self.tries: Counter[str] = Counter()

    def forward(self, event: AuditEvent) -> Ack | None:
        """Raise, or keep *event*."""
        self.tries[event.id] += 1
        if self.tries[event.id] <= self._failures:
            raise self._error
        return super().forward(event)
