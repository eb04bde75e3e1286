"""`SQLAlchemyLedger`: what every ledger promises, on each database and by each kind of driver; and what is its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest

pytest.importorskip("sqlalchemy")

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, ProgrammingError

from sigra_forward import ConfigurationError, State
from sigra_forward.ports import Ledger
from sigra_forward.stores._sql_ledger import SCHEMA_VERSION
from sigra_forward.stores.adapter import Cursor, Lease, Receipt
from sigra_forward.testing import TCPProxy
from sigra_forward.testing.contracts import _ledger as contract
from sigra_forward.testing.contracts._ledger import LedgerContract, ask
from sigra_forward_sqlalchemy import AsyncSQLAlchemyLedger, SQLAlchemyLedger
from tests.adapters.support_databases import OnMariaDB, OnPostgreSQL, OnSQLite, close_on, engine_for, file_url, sync_url
from tests.support_parts import python, python_process

MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)


def receipt(audit_event_id: str, state: State = State.COMPLETED, **fields: Any) -> Receipt:
    """Return a receipt."""
    return Receipt(audit_event_id, MOMENT, state, MOMENT, MOMENT, **fields)


class SQLAlchemyLedgerContract(LedgerContract):
    """The contract, over tables that are emptied before each test."""

    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def created(cls, url: str) -> Iterator[SQLAlchemyLedger]:
        engine = sa.create_engine(sync_url(url))
        ledger = SQLAlchemyLedger(engine, **cls.options)
        ledger.create()
        yield ledger
        if cls.options.get("schema"):
            with engine.begin() as connection:
                connection.execute(sa.schema.DropSchema(cls.options["schema"], **cls.cascade(engine)))
        engine.dispose()

    @staticmethod
    def cascade(engine: sa.Engine) -> dict[str, bool]:
        return {"cascade": True} if engine.dialect.name == "postgresql" else {}

    @pytest.fixture(name="ledger")
    def _ledger(self, url: str, created: SQLAlchemyLedger) -> Iterator[SQLAlchemyLedger]:
        with created._database.engine.begin() as connection:
            for name, table in created._their_tables.items():
                if name != "schema":
                    connection.execute(sa.delete(table))
        yield from self.made(url)

    @pytest.fixture
    def other_ledger(self, url: str) -> Iterator[SQLAlchemyLedger]:
        yield from self.made(url)

    def made(self, url: str) -> Iterator[SQLAlchemyLedger]:
        engine = engine_for(url, **self.engine_options())
        ledger = SQLAlchemyLedger(engine, **self.options)
        yield ledger
        close_on(contract._bridge, ledger)
        contract._bridge.call(lambda _: engine.dispose(), None, None)

    def engine_options(self) -> dict[str, Any]:
        return {}


class TestPostgreSQL(OnPostgreSQL, SQLAlchemyLedgerContract):
    """By psycopg 3."""


class TestPostgreSQLByPsycopg2(OnPostgreSQL, SQLAlchemyLedgerContract):
    """By psycopg2."""

    driver = "postgresql+psycopg2"


class TestPostgreSQLByAsyncpg(OnPostgreSQL, SQLAlchemyLedgerContract):
    """By asyncpg, awaited."""

    driver = "postgresql+asyncpg"


class TestPostgreSQLByPsycopgAwaited(OnPostgreSQL, SQLAlchemyLedgerContract):
    """By psycopg 3, awaited."""

    def engine_options(self) -> dict[str, Any]:
        return {"is_async": True}


class TestPostgreSQLInASchema(OnPostgreSQL, SQLAlchemyLedgerContract):
    """In a schema of its own, whose name needs quotes."""

    options: ClassVar = {"schema": 'Its "own": schema'}


class TestMariaDB(OnMariaDB, SQLAlchemyLedgerContract):
    """By PyMySQL."""


class TestMariaDBAwaited(OnMariaDB, SQLAlchemyLedgerContract):
    """By asyncmy."""

    driver = "mysql+asyncmy"


class TestMariaDBInASchema(OnMariaDB, SQLAlchemyLedgerContract):
    """In another database of the server."""

    options: ClassVar = {"schema": f"sigra_forward_{uuid4().hex[:8]}"}


class TestSQLite(OnSQLite, SQLAlchemyLedgerContract):
    """By sqlite3."""


class TestSQLiteAwaited(OnSQLite, SQLAlchemyLedgerContract):
    """By aiosqlite."""

    driver = "sqlite+aiosqlite"
