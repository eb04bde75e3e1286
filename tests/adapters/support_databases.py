"""The databases that the tests of `sigra_forward_sqlalchemy` run on: a class for each, by each kind of driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from sigra_forward._bridge import Bridge


class OnPostgreSQL:
    """A PostgreSQL database of the class's own."""

    driver: ClassVar[str] = "postgresql+psycopg"

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, postgres_server: tuple[str, int], postgres_database: str) -> str:
        return f"{cls.driver}://postgres@{postgres_server[0]}:{postgres_server[1]}/{postgres_database}"


class OnMariaDB:
    """A MariaDB database of the class's own."""

    driver: ClassVar[str] = "mysql+pymysql"

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, mariadb_server: tuple[str, int], mariadb_database: str) -> str:
        return f"{cls.driver}://root@{mariadb_server[0]}:{mariadb_server[1]}/{mariadb_database}"


class OnSQLite:
    """A SQLite file of the class's own."""

    driver: ClassVar[str] = "sqlite+pysqlite"

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, tmp_path_factory: pytest.TempPathFactory) -> str:
        return file_url(cls.driver, tmp_path_factory.mktemp("database"))


def file_url(driver: str, folder: Path) -> str:
    """Return the URL of a SQLite database in *folder*."""
    return f"{driver}:///{folder / 'database.db'}"


SYNC_TWINS = {
    "postgresql+asyncpg": "postgresql+psycopg",
    "mysql+asyncmy": "mysql+pymysql",
    "sqlite+aiosqlite": "sqlite+pysqlite",
}


def sync_url(url: str) -> str:
    """Return *url* with a driver that is not awaited."""
    driver, _, rest = url.partition("://")
    return f"{SYNC_TWINS.get(driver, driver)}://{rest}"


def engine_for(url: str, **options: Any) -> Any:
    """Return an engine, async where the driver is."""
    import sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    is_async = options.pop("is_async", False) or url.partition("://")[0] in SYNC_TWINS
    return create_async_engine(url, **options) if is_async else sqlalchemy.create_engine(url, **options)


def close_on(bridge: Bridge, store: Any) -> None:
    """Close what *store* has open on the loop of *bridge*."""
    if hasattr(store, "close"):
        bridge.call(lambda _: store.close(), None, None)
