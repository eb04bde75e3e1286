"""The ledger's tables, as SQLAlchemy and Alembic know tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.mysql import VARCHAR
from sqlalchemy.types import TypeEngine

from sigra_forward.stores.adapter import COMPLETED

_MAX_LENGTH = 255


class ExactText(TypeDecorator[str]):
    """Up to 255 characters, compared one by one: no case is folded, no blank is left out."""

    impl = String(_MAX_LENGTH)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Name the collation that does so."""
        if dialect.name == "postgresql":
            return String(_MAX_LENGTH, collation="C")
        if dialect.name in {"mysql", "mariadb"}:
            collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
            return VARCHAR(_MAX_LENGTH, charset="utf8mb4", collation=collation)
        return String(_MAX_LENGTH)


_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # of which alone SQLite counts up by itself
_OPTIONS = {
    f"{name}_{option}": value
    for name in ("mysql", "mariadb")
    for option, value in {"engine": "InnoDB", "charset": "utf8mb4"}.items()
}


def ledger_tables(metadata: MetaData, schema: str | None) -> Mapping[str, Table]:
    """Return the ledger's tables, by their short names, in *metadata*, where they are added unless they are there."""
    place = schema if schema is not None else metadata.schema
    found = {}
    for name, columns in _columns().items():
        full_name = f"sigra_forward_{name}"
        known = metadata.tables.get(full_name if place is None else f"{place}.{full_name}")
        options: dict[str, Any] = {"schema": schema, **_OPTIONS}
        found[name] = Table(full_name, metadata, *columns, **options) if known is None else known
    return found


def _columns() -> dict[str, list[Any]]:
    unsettled = text(f"state <> {COMPLETED}")
    return {
        "schema": [Column("version", Integer, primary_key=True, autoincrement=False)],
        "lanes": [
            Column("number", Integer, primary_key=True),
            Column("source", ExactText, nullable=False),
            Column("forwarder", ExactText, nullable=False),
            Column("floor", BigInteger, nullable=False),
            Column("blocked_until", BigInteger),
            Column("owner", Text),
            Column("epoch", BigInteger, nullable=False, server_default=text("0")),
            Column("leased_until", BigInteger, nullable=False, server_default=text("0")),
            UniqueConstraint("source", "forwarder", name="sigra_forward_lane_names"),
        ],
        "receipts": [
            Column("lane", Integer, primary_key=True, autoincrement=False),
            Column("audit_event_id", ExactText, primary_key=True),
            Column("occurred_at", BigInteger, nullable=False),
            Column("state", SmallInteger, nullable=False),
            Column("first_at", BigInteger, nullable=False),
            Column("last_at", BigInteger, nullable=False),
            Column("attempt", Integer, nullable=False),
            Column("due_at", BigInteger),
            Column("reason", Text),
            Column("detail", Text),
            Column("ack", Text),
            Column("generation", Integer, nullable=False),
            Column("excuse", Text),
            Index(
                "sigra_forward_unsettled", "lane", "state", "due_at", postgresql_where=unsettled, sqlite_where=unsettled
            ),
        ],
        "attempts": [
            Column("number", _NUMBER, primary_key=True),
            Column("lane", Integer, nullable=False),
            Column("audit_event_id", ExactText, nullable=False),
            Column("generation", Integer, nullable=False),
            Column("attempt", Integer, nullable=False),
            Column("at", BigInteger, nullable=False),
            Column("reason", Text),
            Column("detail", Text),
            Index("sigra_forward_attempts_of", "lane", "audit_event_id"),
        ],
        "cursors": [
            Column("lane", Integer, primary_key=True, autoincrement=False),
            Column("name", ExactText, primary_key=True),
            Column("position", Text),
            Column("until", Text),
            Column("moved_at", BigInteger),
        ],
    }
