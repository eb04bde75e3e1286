"""What the ledgers and repositories of the adapters are made of. A store's users need nothing of it."""

from __future__ import annotations

from sigra_forward._dependencies import require
from sigra_forward._fork import close_before_fork, forget_after_fork
from sigra_forward._ledger import Cursor, FailedAttempt, Lane, Lease, Receipt
from sigra_forward._names import is_reference
from sigra_forward.stores._sql_ledger import (
    COMPLETED,
    IS_REUSED,
    RECEIPT_COLUMNS,
    SCHEMA_VERSION,
    Connection,
    Row,
    SQLLedger,
    Words,
)

__all__ = [
    "COMPLETED",
    "IS_REUSED",
    "RECEIPT_COLUMNS",
    "SCHEMA_VERSION",
    "Connection",
    "Cursor",
    "FailedAttempt",
    "Lane",
    "Lease",
    "Receipt",
    "Row",
    "SQLLedger",
    "Words",
    "close_before_fork",
    "forget_after_fork",
    "is_reference",
    "require",
]
