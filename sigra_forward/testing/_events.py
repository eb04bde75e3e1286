"""Audit events for tests."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

from sigra_forward._event import AuditEvent


def make_event(**fields: Any) -> AuditEvent:
    """Return an `AuditEvent` with a UUID of its own, a usual sign-in otherwise; *fields* replace what is given."""
    usual: dict[str, Any] = {
        "id": str(uuid4()),
        "action": "session.create",
        "occurred_at": datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc),
        "outcome": "success",
        "actor_id": "42",
        "actor_type": "user",
        "ip_address": "192.0.2.1",
        "metadata": {"method": "password"},
    }
    return AuditEvent(**{**usual, **fields})
