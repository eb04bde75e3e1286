"""The caller's own transaction: the psycopg connection below whatever it is told by, and a savepoint in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg

from sigra_forward import EnqueueError

NAME = "sigra_forward_enqueue"


def unwrapped(connection: Any) -> psycopg.Connection[Any]:
    """
    Return the psycopg 3 connection below *connection*.

    Args:
        connection: A psycopg connection; a SQLAlchemy ``Session`` or ``Connection`` on ``postgresql+psycopg``; or
            Django's ``connection``.

    Raises:
        EnqueueError: There is none below it.
    """
    found = connection
    if hasattr(found, "get_bind"):  # SQLAlchemy's Session
        found = found.connection()
    if hasattr(found, "ensure_connection"):  # Django's
        found.ensure_connection()
        found = found.connection
    else:
        found = _driver_connection(getattr(found, "connection", found))
    if not isinstance(found, psycopg.Connection):
        raise EnqueueError(_refusal(connection, "psycopg.Connection"))
    return found


async def aunwrapped(connection: Any) -> psycopg.AsyncConnection[Any]:
    """
    Return the async psycopg 3 connection below *connection*.

    Args:
        connection: An async psycopg connection, or a SQLAlchemy ``AsyncSession`` or ``AsyncConnection`` on
            ``postgresql+psycopg``.

    Raises:
        EnqueueError: There is none below it.
    """
    found = connection
    if hasattr(found, "get_bind"):  # SQLAlchemy's AsyncSession
        found = await found.connection()
    if hasattr(found, "get_raw_connection"):  # its AsyncConnection
        found = _driver_connection(await found.get_raw_connection())
    if not isinstance(found, psycopg.AsyncConnection):
        raise EnqueueError(_refusal(connection, "psycopg.AsyncConnection"))
    return found


@contextmanager
def savepoint(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """
    Do something in the transaction of *connection* whose failure the transaction outlives.

    Raises:
        EnqueueError: There is no transaction, it has failed already, or what was done in it failed.
    """
    try:
        connection.execute(f"SAVEPOINT {NAME}")
    except Exception as exc:
        raise EnqueueError(_no_transaction(exc)) from exc
    try:
        yield
    except BaseException as exc:
        connection.execute(f"ROLLBACK TO SAVEPOINT {NAME}")
        if isinstance(exc, Exception):
            raise EnqueueError(_failed(exc)) from exc
        raise
    finally:
        connection.execute(f"RELEASE SAVEPOINT {NAME}")


@asynccontextmanager
async def asavepoint(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[None]:
    """Do something in the transaction of *connection* as `savepoint` does."""
    try:
        await connection.execute(f"SAVEPOINT {NAME}")
    except Exception as exc:
        raise EnqueueError(_no_transaction(exc)) from exc
    try:
        yield
    except BaseException as exc:
        await connection.execute(f"ROLLBACK TO SAVEPOINT {NAME}")
        if isinstance(exc, Exception):
            raise EnqueueError(_failed(exc)) from exc
        raise
    finally:
        await connection.execute(f"RELEASE SAVEPOINT {NAME}")


def _driver_connection(pooled: Any) -> Any:
    return getattr(pooled, "driver_connection", None) or pooled


def _refusal(connection: object, wanted: str) -> str:
    return (
        f"there is no {wanted} below a {type(connection).__name__}: pass one, or SQLAlchemy's session or connection "
        f"on postgresql+psycopg"
    )


def _no_transaction(exc: Exception) -> str:
    return f"the job needs a transaction that is open and has not failed: {type(exc).__name__}"


def _failed(exc: Exception) -> str:
    return f"the job was not enqueued, and the transaction goes on: {type(exc).__name__}"
