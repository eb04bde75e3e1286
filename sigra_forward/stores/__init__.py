"""Audit repositories that need no library."""

from __future__ import annotations

from sigra_forward.stores._memory import InMemoryAuditRepository
from sigra_forward.stores._sqlite import SQLiteAuditRepository

__all__ = ["InMemoryAuditRepository", "SQLiteAuditRepository"]
