"""The caller's own transaction: the psycopg connection below whatever it is told by, and a savepoint in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import psycopg

from sigra_forward import AuditEvent, ConfigurationError, EnqueueError, JobArgs
from sigra_forward.queues.adapter import Binding

NAME = "sigra_forward_enqueue"

_BEGIN, _UNDO, _END = f"SAVEPOINT {NAME}", f"ROLLBACK TO SAVEPOINT {NAME}", f"RELEASE SAVEPOINT {NAME}"


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
        connection.execute(_BEGIN)
    except Exception as exc:
        raise EnqueueError(_no_transaction(exc)) from exc
    try:
        yield
    except BaseException as exc:
        with suppress(psycopg.Error):  # the connection may be what failed
            connection.execute(_UNDO)
            connection.execute(_END)
        if isinstance(exc, Exception):
            raise EnqueueError(_failed(exc, connection)) from exc
        raise
    connection.execute(_END)


@asynccontextmanager
async def asavepoint(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[None]:
    """Do something in the transaction of *connection* as `savepoint` does."""
    try:
        await connection.execute(_BEGIN)
    except Exception as exc:
        raise EnqueueError(_no_transaction(exc)) from exc
    try:
        yield
    except BaseException as exc:
        with suppress(psycopg.Error):
            await connection.execute(_UNDO)
            await connection.execute(_END)
        if isinstance(exc, Exception):
            raise EnqueueError(_failed(exc, connection)) from exc
        raise
    await connection.execute(_END)


def enqueue_in(
    connection: Any, binding: Binding, event: AuditEvent, put: Callable[[psycopg.Connection[Any], JobArgs], object]
) -> tuple[str, ...]:
    """
    Put the jobs of *event* into the transaction of *connection*, all of them or none.

    Args:
        connection: See `unwrapped`.
        binding: Whose routes decide which jobs there are.
        event: What was written.
        put: Puts one job onto its queue, on the psycopg connection that it is given.

    Returns:
        The names of the forwarders that a job was made for.

    Raises:
        EnqueueError: No job was made; the transaction goes on.
    """
    jobs = _jobs_of(binding, event)
    native = unwrapped(connection)
    with savepoint(native):
        for args in jobs:
            put(native, args)
    return tuple(args.forwarder for args in jobs)


async def aenqueue_in(
    connection: Any,
    binding: Binding,
    event: AuditEvent,
    put: Callable[[psycopg.AsyncConnection[Any], JobArgs], Awaitable[object]],
) -> tuple[str, ...]:
    """Put the jobs of *event* into the transaction of *connection* as `enqueue_in` does; see `aunwrapped`."""
    jobs = _jobs_of(binding, event)
    native = await aunwrapped(connection)
    async with asavepoint(native):
        for args in jobs:
            await put(native, args)
    return tuple(args.forwarder for args in jobs)


def _jobs_of(binding: Binding, event: AuditEvent) -> list[JobArgs]:
    try:
        return binding.jobs_of(event)
    except ConfigurationError as exc:
        raise EnqueueError(str(exc)) from exc


def _driver_connection(pooled: Any) -> Any:
    return getattr(pooled, "driver_connection", None) or pooled


def _refusal(connection: object, wanted: str) -> str:
    return (
        f"there is no {wanted} below a {type(connection).__name__}: pass one, or SQLAlchemy's session or connection "
        f"on postgresql+psycopg"
    )


def _no_transaction(exc: Exception) -> str:
    return f"the job needs a transaction that is open and has not failed: {type(exc).__name__}"


def _failed(exc: Exception, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> str:
    fate = "is gone with its connection" if connection.closed else "goes on"
    return f"the job was not enqueued, and the transaction {fate}: {type(exc).__name__}"
