"""What the ledgers and repositories of the adapters are made of. A store's users need nothing of it."""

from __future__ import annotations

from sigra_forward._dependencies import require
from sigra_forward._event import FIELDS, events_of
from sigra_forward._fork import close_before_fork, forget_after_fork
from sigra_forward._instants import parse_iso
from sigra_forward._ledger import Cursor, FailedAttempt, Lane, Lease, Look, Receipt
from sigra_forward._log import log_error
from sigra_forward._names import NAME_RULE, is_name, is_reference, type_name
from sigra_forward._settle import seconds
from sigra_forward._source import Found
from sigra_forward.stores._sql_ledger import (
    ANYONE,
    COMPLETED,
    HOLDERS,
    IS_REUSED,
    RECEIPT_COLUMNS,
    REPLACEMENT,
    SCHEMA_VERSION,
    Connection,
    Row,
    SQLLedger,
    Words,
    cursor_parameters,
    to_failure,
    to_rows,
)
from sigra_forward.stores._values import (
    SPELLINGS,
    Times,
    metadata_column,
    metadata_of,
    spelled,
    unreadable,
    uuid_text,
)

__all__ = [
    "ANYONE",
    "COMPLETED",
    "FIELDS",
    "HOLDERS",
    "IS_REUSED",
    "NAME_RULE",
    "RECEIPT_COLUMNS",
    "REPLACEMENT",
    "SCHEMA_VERSION",
    "SPELLINGS",
    "Connection",
    "Cursor",
    "FailedAttempt",
    "Found",
    "Lane",
    "Lease",
    "Look",
    "Receipt",
    "Row",
    "SQLLedger",
    "Times",
    "Words",
    "close_before_fork",
    "cursor_parameters",
    "events_of",
    "forget_after_fork",
    "is_name",
    "is_reference",
    "log_error",
    "metadata_column",
    "metadata_of",
    "parse_iso",
    "require",
    "seconds",
    "spelled",
    "to_failure",
    "to_rows",
    "type_name",
    "unreadable",
    "uuid_text",
]
