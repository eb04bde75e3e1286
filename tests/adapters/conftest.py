"""Real servers, and a place of the test's own on each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest

from tests.adapters.services import MARIADB, POSTGRES, RABBITMQ, REDIS, Address, are_required, serving, unavailable

SERVERS = {"redis_server", "rabbitmq_server", "postgres_server", "mariadb_server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that asks for a server, however indirectly."""
    for item in items:
        if SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("services")


Report = TypeVar("Report", pytest.CollectReport, pytest.TestReport)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Have no file be left out for want of a library, where all is to be there."""
    return _with_no_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have no test be left out, where all is to be there."""
    return _with_no_skip((yield))


def _with_no_skip(report: Report) -> Report:
    if are_required() and report.skipped and not hasattr(report, "wasxfail"):
        _, _, reason = report.longrepr
        if "oban" not in reason or sys.version_info >= (3, 12):  # below that it is not to be had
            report.outcome = "failed"
            report.longrepr = f"{reason}; nothing is to be skipped where SIGRA_FORWARD_REQUIRE_SERVICES is 1"
    return report


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Address]:
    """Yield the address of a Redis."""
    with serving(REDIS) as address:
        yield address


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[Address]:
    """Yield the address of a RabbitMQ."""
    with serving(RABBITMQ) as address:
        yield address


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Address]:
    """Yield the address of a PostgreSQL."""
    with serving(POSTGRES) as address:
        yield address


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Address]:
    """Yield the address of a MariaDB."""
    with serving(MARIADB) as address:
        yield address


@pytest.fixture(scope="class")
def redis_db(redis_server: Address) -> Iterator[int]:
    """Yield the number of a Redis database that is empty, and empty it again."""
    from redis import Redis

    host, port = redis_server
    claim = f"sigra-forward-{uuid4()}"
    for number in range(15, 0, -1):
        with Redis(host, port, number) as client:
            if client.dbsize() == 0 and client.set("sigra-forward-tests", claim, nx=True):
                break
    else:
        unavailable(f"Redis on {host}:{port} has no empty database among 1 to 15")
    yield number
    with Redis(host, port, number) as client:
        client.flushdb()


@pytest.fixture(scope="class")
def rabbitmq_vhost(rabbitmq_server: Address) -> Iterator[str]:
    """Yield a virtual host of the test's own where the machine lets us make one, or the default one."""
    tool = shutil.which("rabbitmqctl") if rabbitmq_server == ("127.0.0.1", RABBITMQ.port) else None
    vhost = f"sigra-forward-{uuid4().hex[:8]}"
    if tool is None or subprocess.run([tool, "-q", "add_vhost", vhost], capture_output=True, check=False).returncode:
        yield "/"
        return
    subprocess.run([tool, "-q", "set_permissions", "-p", vhost, "guest", ".*", ".*", ".*"], check=True)
    yield vhost
    subprocess.run([tool, "-q", "delete_vhost", vhost], check=True)


@pytest.fixture(scope="class")
def postgres_database(postgres_server: Address) -> Iterator[str]:
    """Yield the name of an empty PostgreSQL database, and drop it afterwards."""
    import psycopg

    host, port = postgres_server
    name = f"sigra_forward_{uuid4().hex[:8]}"
    with psycopg.connect(host=host, port=port, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield name
    with psycopg.connect(host=host, port=port, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="class")
def mariadb_database(mariadb_server: Address) -> Iterator[str]:
    """Yield the name of an empty MariaDB database, which folds case as MariaDB does, and drop it afterwards."""
    import pymysql

    host, port = mariadb_server
    name = f"sigra_forward_{uuid4().hex[:8]}"
    server = {"host": host, "port": port, "user": "root", "autocommit": True}
    with pymysql.connect(**server) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    yield name
    with pymysql.connect(**server) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="session")
def workers() -> Path:
    """Return the folder of the modules that worker processes import."""
    return Path(__file__).parent / "workers"
