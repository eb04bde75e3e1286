"""`Found`: what a reading of the audit table finds, row by row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import field, frozen

from sigra_forward._event import AuditEvent
from sigra_forward.errors import UnreadableRowError


def _told(place: str | Callable[[], str]) -> str:
    return place if isinstance(place, str) else place()


@frozen(slots=False)  # made for every row: filling a dict takes half the time
class Found:
    """
    One committed row of the audit table.

    Args:
        audit_event_id: Its id as the repository spells it; of a row that has no proper one, what can be told of it.
        position: Where it stands in the order of the reading: opaque, unique, compared by the database alone. A
            function that returns it will do: of most rows nobody asks for it.
        occurred_at: Its time, where that can be told.
        event: The whole row, where it was asked for.
        error: Why the row cannot be told as an `AuditEvent`.
    """

    audit_event_id: str
    _position: str | Callable[[], str] = field(eq=_told)
    occurred_at: datetime | None = None
    event: AuditEvent | None = None
    error: UnreadableRowError | None = None

    @property
    def position(self) -> str:
        """Where it stands."""
        return _told(self._position)
