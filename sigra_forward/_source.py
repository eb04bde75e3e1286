"""`Found`: what a reading of the audit table finds, row by row."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from sigra_forward._event import AuditEvent
from sigra_forward.errors import UnreadableRowError


@frozen(slots=False)
class Found:
    """
    One committed row of the audit table.

    Args:
        audit_event_id: Its id as the repository spells it; of a row that has no proper one, what can be told of it.
        position: Where it stands in the order of the reading: opaque, unique, compared by the database alone.
        occurred_at: Its time, where that can be told.
        event: The whole row, where it was asked for.
        error: Why the row cannot be told as an `AuditEvent`.
    """

    audit_event_id: str
    position: str
    occurred_at: datetime | None = None
    event: AuditEvent | None = None
    error: UnreadableRowError | None = None
