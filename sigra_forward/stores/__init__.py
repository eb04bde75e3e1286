"""Audit repositories, and a ledger, that need no library."""

from __future__ import annotations

from sigra_forward.stores._memory import InMemoryAuditRepository
from sigra_forward.stores._sqlite import SQLiteAuditRepository
from sigra_forward.stores._sqlite_ledger import SQLiteLedger

__all__ = ["InMemoryAuditRepository", "SQLiteAuditRepository", "SQLiteLedger"]
