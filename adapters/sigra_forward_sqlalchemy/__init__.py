"""Ledger and audit table in a database that SQLAlchemy 2 reaches: PostgreSQL, MariaDB, MySQL or SQLite."""

from __future__ import annotations

from sigra_forward.stores.adapter import require

require("sqlalchemy", "2.0", extra="sqlalchemy")

from sigra_forward_sqlalchemy._async_ledger import AsyncSQLAlchemyLedger  # noqa: E402
from sigra_forward_sqlalchemy._async_repository import AsyncSQLAlchemyAuditRepository  # noqa: E402
from sigra_forward_sqlalchemy._commit import CommitHook, dispatch_on_commit  # noqa: E402
from sigra_forward_sqlalchemy._ledger import SQLAlchemyLedger  # noqa: E402
from sigra_forward_sqlalchemy._repository import SQLAlchemyAuditRepository  # noqa: E402

__all__ = [
    "AsyncSQLAlchemyAuditRepository",
    "AsyncSQLAlchemyLedger",
    "CommitHook",
    "SQLAlchemyAuditRepository",
    "SQLAlchemyLedger",
    "dispatch_on_commit",
]
