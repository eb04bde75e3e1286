"""How a job gets into Procrastinate's tables: by its own statement, on connections that answer in time or on yours."""

from __future__ import annotations

import sys
from asyncio import Task, create_task, wait
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import psycopg
from procrastinate import PsycopgConnector, SyncPsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import JobDeferrer
from procrastinate.manager import JobManager
from procrastinate.tasks import configure_task

from sigra_forward import JobArgs
from sigra_forward.queues.adapter import ENQUEUE_TIMEOUT, TASK_NAME, BoundedCaller
from sigra_forward_psycopg import PrivatePostgres

# Never opened: each is handed the connection.
_MANAGER = JobManager(SyncPsycopgConnector())
_ASYNC_MANAGER = JobManager(PsycopgConnector())

_CONNECTIONS = {psycopg.Connection, psycopg.AsyncConnection}


def defer(connection: psycopg.Connection[Any], args: JobArgs, queue: str) -> None:
    """
    Put a job onto *queue*, on *connection*.

    Raises:
        psycopg.Error: What psycopg raised: Procrastinate's error does not tell which.
    """
    try:
        _deferrer(_MANAGER, queue, connection).defer(**args.to_dict())
    except ConnectorException as exc:
        raise exc.__cause__ or exc from None


async def adefer(connection: psycopg.AsyncConnection[Any], args: JobArgs, queue: str) -> None:
    """Put a job onto *queue* as `defer` does."""
    try:
        await _deferrer(_ASYNC_MANAGER, queue, connection).defer_async(**args.to_dict())
    except ConnectorException as exc:
        raise exc.__cause__ or exc from None


class Way(Protocol):
    """A way to Procrastinate's tables."""

    def defer(self, args: JobArgs, queue: str) -> None:
        """Put a job onto *queue*, within 1.3 seconds."""
        ...

    def close(self) -> None:
        """Close what can be opened anew."""
        ...


class PrivateWay:
    """On connections of our own, which neither wait nor are shared as those of the app's pool are."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._database = PrivatePostgres(options)

    def defer(self, args: JobArgs, queue: str) -> None:
        """Put a job onto *queue*."""
        self._database.run(partial(defer, args=args, queue=queue))

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


class AppsWay:
    """As the app itself does it, on a thread that is given up on in time."""

    def __init__(self, manager: JobManager) -> None:
        self._manager = manager
        self._caller = BoundedCaller()
        self._calls: set[Task[object]] = set()

    def defer(self, args: JobArgs, queue: str) -> None:
        """Put a job onto *queue*."""
        self._caller.call(partial(_deferrer(self._manager, queue).defer, **args.to_dict()), ENQUEUE_TIMEOUT)

    async def adefer(self, args: JobArgs, queue: str) -> None:
        """Put a job onto *queue*, on the loop that the app is open on, within 1.3 seconds."""
        call: Task[object] = create_task(_deferrer(self._manager, queue).defer_async(**args.to_dict()))
        self._calls.add(call)
        call.add_done_callback(self._forget)
        try:
            done, _ = await wait({call}, timeout=ENQUEUE_TIMEOUT)
        finally:
            call.cancel()  # without waiting for it: psycopg asks the server first
        if not done:
            msg = f"it was not back after {ENQUEUE_TIMEOUT:g} s"
            raise TimeoutError(msg)
        call.result()

    def _forget(self, call: Task[object]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # or asyncio would tell that nobody has looked at it

    def close(self) -> None:
        """Let the idle threads end."""
        self._caller.close()


def way(manager: JobManager) -> PrivateWay | AppsWay:
    """Return the way to the tables of *manager*."""
    options = _options(manager.connector)
    return AppsWay(manager) if options is None else PrivateWay(options)


def pool_of(connector: Any) -> Any:
    """Return the pool of the host's own that *connector* was opened with, if it was."""
    if not getattr(connector, "_pool_externally_set", False):
        return None
    return getattr(connector, "_async_pool", None) or getattr(connector, "_pool", None)


def _deferrer(manager: JobManager, queue: str, connection: Any = None) -> JobDeferrer:
    return configure_task(name=TASK_NAME, job_manager=manager, queue=queue, connection=connection)


def _options(connector: Any) -> dict[str, Any] | None:
    """Return what `psycopg.connect` takes to do as *connector* does, or ``None`` where that cannot be told."""
    if type(connector) in {PsycopgConnector, SyncPsycopgConnector}:
        return _pool_options(connector)
    django = sys.modules.get("procrastinate.contrib.django.django_connector")
    if django is not None and type(connector) is django.DjangoConnector and django.is_psycopg3:
        options: dict[str, Any] = django.utils.connector_params(connector.alias)
        return options
    return None


def _pool_options(connector: Any) -> dict[str, Any] | None:
    pool = pool_of(connector)
    given = connector._pool_args if pool is None else _told_by(pool)  # noqa: SLF001 - there is no other way to tell
    conninfo, options = given.get("conninfo", ""), given.get("kwargs") or {}
    if not isinstance(conninfo, str) or not isinstance(options, Mapping):  # made anew for each connection
        return None
    if given.get("configure") or given.get("connection_class", psycopg.Connection) not in _CONNECTIONS:
        return None
    return {"conninfo": conninfo, **options, "cursor_factory": None}


def _told_by(pool: Any) -> dict[str, Any]:
    told = {name: getattr(pool, name) for name in ("conninfo", "kwargs", "connection_class")}
    return {**told, "configure": getattr(pool, "_configure", None)}
