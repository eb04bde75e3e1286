"""`SQLAlchemyAuditRepository`: what every source promises, over tables as hosts have them, by each kind of driver."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, ClassVar
from uuid import UUID

import pytest

pytest.importorskip("sqlalchemy")

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.dialects.postgresql import JSONB

from sigra_forward import AuditEvent
from sigra_forward.testing.contracts import _audit_repository, _audit_source
from sigra_forward.testing.contracts._audit_source import AuditSourceContract
from sigra_forward_sqlalchemy import SQLAlchemyAuditRepository
from tests.adapters.support_databases import OnMariaDB, OnPostgreSQL, OnSQLite, close_on, engine_for, sync_url

UTC = timezone.utc
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
UUID_1 = UUID("7d44e1e5-6f3c-4e2f-8f0a-9d6d8a1b2c3d")

MICROSECONDS = sa.DateTime(timezone=True).with_variant(DATETIME(fsp=6), "mysql")
DETAILS = sa.JSON().with_variant(JSONB(), "postgresql")


def audit_table(id_type: Any, name: str = "audit_events", **columns: Any) -> sa.Table:
    """Return an audit table with all columns."""
    kinds = {
        "id": id_type,
        "action": sa.String(255),
        "occurred_at": MICROSECONDS,
        "inserted_at": MICROSECONDS,
        "metadata": DETAILS,
        **columns,
    }
    texts = (name for name in AuditEvent.__annotations__ if name not in {*kinds, "source", "extra"})
    kinds |= dict.fromkeys(texts, sa.String(255))
    options = {"id": {"primary_key": True, "autoincrement": False}, "occurred_at": {"nullable": False}}
    return sa.Table(
        name, sa.MetaData(), *(sa.Column(column, kind, **options.get(column, {})) for column, kind in kinds.items())
    )


class RepositoryContract(AuditSourceContract):
    """The contract over a table with all columns, which is emptied before each test."""

    fields = tuple(set(AuditEvent.__annotations__) - {"source", "extra"})
    table: ClassVar[sa.Table]
    options: ClassVar[dict[str, Any]] = {"tz": UTC}

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls, url: str) -> Iterator[sa.Engine]:
        engine = sa.create_engine(sync_url(url))
        cls.table.metadata.create_all(engine)
        yield engine
        engine.dispose()

    @pytest.fixture(name="repository")
    def _repository(self, url: str, host: sa.Engine) -> Iterator[SQLAlchemyAuditRepository]:
        with host.begin() as connection:
            connection.execute(sa.delete(self.table))
        self.host_engine = host
        engine = engine_for(url, **self.engine_options())
        repository = SQLAlchemyAuditRepository(engine, self.named(), **self.options)
        yield repository
        for bridge in (_audit_source._bridge, _audit_repository._bridge):
            close_on(bridge, repository)
        _audit_source._bridge.call(lambda _: engine.dispose(), None, None)

    def engine_options(self) -> dict[str, Any]:
        return {}

    def named(self) -> Any:
        return self.table

    def commit(self, repository: Any, event: AuditEvent) -> None:
        row = {name: getattr(event, name) for name in self.fields}
        row["id"] = self.stored(event.id)
        with self.host_engine.begin() as connection:
            connection.execute(sa.insert(self.table).values(**row))

    def stored(self, audit_event_id: str) -> object:
        """Spell an id as the host does."""
        return audit_event_id


class WithUUIDs(RepositoryContract):
    """Ids are UUIDs, in a column of their own kind."""

    table = audit_table(sa.Uuid())

    def stored(self, audit_event_id: str) -> object:
        return UUID(audit_event_id)


class WithTexts(RepositoryContract):
    """Ids are text of any kind."""

    table = audit_table(sa.String(255))

    def new_id(self, number: int) -> str:
        return f"Evt '{number}' \N{SNOWMAN}"


class WithIntegers(RepositoryContract):
    """Ids are integers, by a table that is looked up by its name."""

    table = audit_table(sa.BigInteger())

    def new_id(self, number: int) -> str:
        return str(number)

    def stored(self, audit_event_id: str) -> object:
        return int(audit_event_id)

    def named(self) -> str:
        return "audit_events"


class TestUUIDsOnPostgreSQL(OnPostgreSQL, WithUUIDs):
    """By psycopg 3."""


class TestUUIDsOnPostgreSQLByPsycopg2(OnPostgreSQL, WithUUIDs):
    """By psycopg2."""

    driver = "postgresql+psycopg2"


class TestUUIDsOnPostgreSQLByAsyncpg(OnPostgreSQL, WithUUIDs):
    """By asyncpg, awaited."""

    driver = "postgresql+asyncpg"


class TestUUIDsOnPostgreSQLByPsycopgAwaited(OnPostgreSQL, WithUUIDs):
    """By psycopg 3, awaited."""

    def engine_options(self) -> dict[str, Any]:
        return {"is_async": True}


class TestTextsOnPostgreSQL(OnPostgreSQL, WithTexts):
    """By psycopg 3."""


class TestIntegersOnPostgreSQL(OnPostgreSQL, WithIntegers):
    """By psycopg 3."""


class TestIntegersOnPostgreSQLByAsyncpg(OnPostgreSQL, WithIntegers):
    """By asyncpg, awaited."""

    driver = "postgresql+asyncpg"


class TestUUIDsOnMariaDB(OnMariaDB, WithUUIDs):
    """By PyMySQL."""


class TestTextsOnMariaDB(OnMariaDB, WithTexts):
    """By PyMySQL."""


class TestIntegersOnMariaDBAwaited(OnMariaDB, WithIntegers):
    """By asyncmy."""

    driver = "mysql+asyncmy"


class TestTextsOnMariaDBAwaited(OnMariaDB, WithTexts):
    """By asyncmy."""

    driver = "mysql+asyncmy"


class TestUUIDsOnSQLite(OnSQLite, WithUUIDs):
    """By sqlite3."""


class TestTextsOnSQLite(OnSQLite, WithTexts):
    """By sqlite3."""


class TestIntegersOnSQLiteAwaited(OnSQLite, WithIntegers):
    """By aiosqlite."""

    driver = "sqlite+aiosqlite"


class TestSequenceOnPostgreSQL(OnPostgreSQL, WithIntegers):
    """In the order of the ids themselves."""

    options: ClassVar = {"position": "id"}

    def test_rows_at_one_moment_are_told_apart(self, repository: Any) -> None:
        """So they are anyway."""
        super().test_rows_at_one_moment_are_told_apart(repository)
