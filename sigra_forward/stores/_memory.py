"""`InMemoryAuditRepository`: an audit table that is a dict, for tests and trials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import evolve

from sigra_forward._event import DEFAULT_SOURCE

if TYPE_CHECKING:
    from sigra_forward._event import AuditEvent


class InMemoryAuditRepository:
    """
    Hold events in a dict, by id. Safe for threads.

    Args:
        events: The events to begin with.
        source: The permanent name of this table, set on every event.
    """

    def __init__(self, events: Iterable[AuditEvent] = (), *, source: str = DEFAULT_SOURCE) -> None:
        self.source = source
        self._events: dict[str, AuditEvent] = {}
        for event in events:
            self.add(event)

    def add(self, event: AuditEvent) -> AuditEvent:
        """Commit *event*, replacing one with the same id, and return it as this table tells it."""
        stored = event if event.source == self.source else evolve(event, source=self.source)
        self._events[stored.id] = stored
        return stored

    def get(self, audit_event_id: str, /) -> AuditEvent | None:
        """Return the event *audit_event_id*, or ``None``."""
        return self._events.get(audit_event_id)

    def __len__(self) -> int:
        return len(self._events)
