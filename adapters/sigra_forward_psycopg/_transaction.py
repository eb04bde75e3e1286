"""The caller's own transaction: the psycopg connection below whatever it is told by, and a savepoint in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from inspect import iscoroutinefunction
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

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
        EnqueueError: There is none below it, or it cannot connect.
    """
    try:
        found = _below(connection)
    except Exception as exc:
        raise EnqueueError(_no_connection(connection, exc)) from exc
    if not isinstance(found, psycopg.Connection):
        raise EnqueueError(_refusal(connection, "psycopg.Connection", ", or Django's connection"))
    return found


async def aunwrapped(connection: Any) -> psycopg.AsyncConnection[Any]:
    """
    Return the async psycopg 3 connection below *connection*.

    Args:
        connection: An async psycopg connection, or a SQLAlchemy ``AsyncSession`` or ``AsyncConnection`` on
            ``postgresql+psycopg``.

    Raises:
        EnqueueError: There is none below it, or it cannot connect.
    """
    try:
        found = await _abelow(connection)
    except Exception as exc:
        raise EnqueueError(_no_connection(connection, exc)) from exc
    if not isinstance(found, psycopg.AsyncConnection):
        raise EnqueueError(_refusal(connection, "psycopg.AsyncConnection"))
    return found


@contextmanager
def savepoint(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """
    Do something in the transaction of *connection* whose failure the transaction outlives.

    Raises:
        EnqueueError: There is no transaction, it has failed already, or it is in a pipeline, where what fails takes
            with it all that follows; or what was done in it failed.
    """
    _refuse_pipeline(connection)
    try:
        connection.execute(_BEGIN)
    except Exception as exc:
        raise EnqueueError(_no_transaction(exc)) from exc
    try:
        yield
    except BaseException as exc:
        _undo(connection)
        if isinstance(exc, Exception):
            raise EnqueueError(_failed(exc, connection)) from exc
        raise
    try:
        connection.execute(_END)
    except Exception as exc:
        _undo(connection)
        raise EnqueueError(_failed(exc, connection)) from exc


@asynccontextmanager
async def asavepoint(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[None]:
    """Do something in the transaction of *connection* as `savepoint` does."""
    _refuse_pipeline(connection)
    try:
        await connection.execute(_BEGIN)
    except Exception as exc:
        raise EnqueueError(_no_transaction(exc)) from exc
    try:
        yield
    except BaseException as exc:
        await _aundo(connection)
        if isinstance(exc, Exception):
            raise EnqueueError(_failed(exc, connection)) from exc
        raise
    try:
        await connection.execute(_END)
    except Exception as exc:
        await _aundo(connection)
        raise EnqueueError(_failed(exc, connection)) from exc


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
        EnqueueError: No job was made; the transaction goes on, where it has not failed by itself.
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


def _below(connection: Any) -> Any:
    found = connection
    if hasattr(found, "get_raw_connection"):  # SQLAlchemy's AsyncConnection, and not for us
        return found
    if hasattr(found, "get_bind") and not iscoroutinefunction(found.connection):  # its Session
        found = found.connection()
    if hasattr(found, "ensure_connection"):  # Django's
        found.ensure_connection()
        return found.connection
    return _driver_connection(getattr(found, "connection", found))


async def _abelow(connection: Any) -> Any:
    found = connection
    if hasattr(found, "get_bind") and iscoroutinefunction(found.connection):  # SQLAlchemy's AsyncSession
        found = await found.connection()
    if hasattr(found, "get_raw_connection"):  # its AsyncConnection
        found = _driver_connection(await found.get_raw_connection())
    return found


def _driver_connection(pooled: Any) -> Any:
    return getattr(pooled, "driver_connection", None) or pooled


def _refuse_pipeline(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    if connection.pgconn.pipeline_status:
        msg = "nothing was enqueued, because the connection is in pipeline mode: do it before the pipeline, or after it"
        raise EnqueueError(msg)


def _undo(connection: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error):  # the connection may be what failed
        connection.execute(_UNDO)
        connection.execute(_END)


async def _aundo(connection: psycopg.AsyncConnection[Any]) -> None:
    with suppress(psycopg.Error):
        await connection.execute(_UNDO)
        await connection.execute(_END)


def _no_connection(connection: object, exc: Exception) -> str:
    return f"nothing was enqueued, because the {type(connection).__name__} gave no connection: {type(exc).__name__}"


def _refusal(connection: object, wanted: str, besides: str = "") -> str:
    return (
        f"there is no {wanted} below a {type(connection).__name__}: pass one, or SQLAlchemy's session or connection "
        f"on postgresql+psycopg{besides}"
    )


def _no_transaction(exc: Exception) -> str:
    return f"the job needs a transaction that is open and has not failed: {type(exc).__name__}"


def _failed(exc: Exception, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> str:
    if connection.closed:
        fate = "is gone with its connection"
    elif connection.info.transaction_status == TransactionStatus.INTRANS:
        fate = "goes on"
    else:
        fate = "has failed"
    return f"the job was not enqueued, and the transaction {fate}: {type(exc).__name__}"
