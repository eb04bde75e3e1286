"""`InMemoryAuditRepository`: an audit table that is a dict, for tests and trials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import evolve

from sigra_forward._event import DEFAULT_SOURCE
from sigra_forward._source import Found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        self._order: list[str] = []
        for event in events:
            self.add(event)

    def add(self, event: AuditEvent) -> AuditEvent:
        """Commit *event*, replacing one with the same id, and return it as this table tells it."""
        stored = event if event.source == self.source else evolve(event, source=self.source)
        if stored.id not in self._events:
            self._order.append(stored.id)
        self._events[stored.id] = stored
        return stored

    def get(self, audit_event_id: str, /) -> AuditEvent | None:
        """Return the event *audit_event_id*, or ``None``."""
        return self._events.get(audit_event_id)

    def get_many(self, audit_event_ids: Iterable[str]) -> Mapping[str, AuditEvent]:
        """Return the events that are there of *audit_event_ids*, by id."""
        return {name: self._events[name] for name in audit_event_ids if name in self._events}

    def head(self) -> str | None:
        """Return the position of the last event, or ``None`` where there is none. The order is that of `add`."""
        return str(len(self._order)) if self._order else None

    def scan(
        self,
        after: str | None,
        limit: int,
        *,
        until: str | None = None,
        actions: Sequence[str] = ("*",),
        whole: bool = False,
    ) -> Sequence[Found]:
        """Return up to *limit* events in the order of their positions; see `AuditSource.scan`."""
        found = []
        for number in range(int(after or 0), len(self._order) if until is None else int(until)):
            event = self._events[self._order[number]]
            if _is_among(event.action, actions):
                found.append(Found(event.id, str(number + 1), event.occurred_at, event if whole else None))
            if len(found) == limit:
                break
        return found

    def count(self, *, after: str | None = None, until: str | None = None, actions: Sequence[str] = ("*",)) -> int:
        """Return how many events `scan` would return in all."""
        return len(self.scan(after, len(self._order) + 1, until=until, actions=actions))

    def __len__(self) -> int:
        return len(self._events)


def _is_among(action: str, actions: Sequence[str]) -> bool:
    return any(action.startswith(name[:-1]) if name.endswith("*") else action == name for name in actions)
