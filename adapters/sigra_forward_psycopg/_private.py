"""`PrivatePostgres`: a database, on connections of our own that give up in time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import partial
from math import inf
from time import monotonic
from typing import Any, TypeVar

import psycopg

from sigra_forward.queues.adapter import ENQUEUE_TIMEOUT, BoundedCaller, Places, forget_after_fork

_PARENTS_CONNECTIONS: list[object] = []

T = TypeVar("T")


class PrivatePostgres:
    """
    Connections to a database, in autocommit, each used by one thread at a time.

    It connects on a thread that is given up on in time, because no timeout of a socket covers a name that does not
    resolve; all else it does on the caller's own. A connection that the server has closed is opened anew, once.

    Args:
        options: What `psycopg.connect` takes, by keyword.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = {"connect_timeout": 2, **options, "autocommit": True}
        self._idle: list[_InTime] = []
        self._places = Places()
        self._caller = BoundedCaller()
        forget_after_fork(self)

    def run(self, function: Callable[[psycopg.Connection[Any]], T]) -> T:
        """
        Return what *function* makes of a connection, within `ENQUEUE_TIMEOUT` in all. It may be called twice.

        Raises:
            TimeoutError: No connection, or not all the answers, came in time.
            Exception: What psycopg or *function* raised.
        """
        until = monotonic() + ENQUEUE_TIMEOUT
        with self._places.one(ENQUEUE_TIMEOUT):
            return self._run(function, until)

    def close(self) -> None:
        """Close the connections that are not in use. A later `run` opens one anew."""
        self._drop_idle()
        self._idle = []  # what opens too late for its caller finds that nobody wants it
        self._caller.close()

    def forget(self) -> None:
        """Leave the parent process its connections."""
        _PARENTS_CONNECTIONS.append(self._idle)
        self._idle = []

    def _run(self, function: Callable[[psycopg.Connection[Any]], T], until: float) -> T:
        connection = self._taken()
        if connection is not None:
            try:
                return self._used(connection, function, until)
            except Exception:
                if not connection.was_broken:
                    raise
                self._drop_idle()  # gone stale, as this one was: the server was restarted since
        return self._used(self._opened(until), function, until)

    def _used(self, connection: _InTime, function: Callable[[psycopg.Connection[Any]], T], until: float) -> T:
        connection.until = until
        try:
            answer = function(connection)
        except BaseException:
            connection.was_broken = connection.broken
            connection.close()
            raise
        self._idle.append(connection)
        return answer

    def _drop_idle(self) -> None:
        while (connection := self._taken()) is not None:
            connection.close()

    def _taken(self) -> _InTime | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _opened(self, until: float) -> _InTime:
        """Return a new connection. One that opens too late is kept for whoever comes next."""
        opening: Future[_InTime] = Future()
        idle = self._idle
        try:
            self._caller.call(partial(self._open, opening, idle), max(0.0, until - monotonic()))
        except BaseException:
            if not opening.cancel():  # it has opened this very moment
                self._keep(opening.result(), idle)
            raise
        return opening.result()

    def _open(self, opening: Future[_InTime], idle: list[_InTime]) -> None:
        connection = _InTime.connect(**self._options)
        if opening.set_running_or_notify_cancel():
            opening.set_result(connection)
        else:
            self._keep(connection, idle)

    def _keep(self, connection: _InTime, idle: list[_InTime]) -> None:
        if idle is self._idle and len(idle) < self._places.free:
            idle.append(connection)
        else:
            connection.close()


class _InTime(psycopg.Connection[Any]):
    """A connection that waits for its server until a moment that is set for it, and no longer."""

    until = inf
    """When `monotonic` says so."""

    was_broken = False
    """Whether the server had closed it, when it was closed here."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """Wait as psycopg does, which looks up ten times a second, until `until`."""
        return super().wait(_ending(gen, self.until), *args, **options)


def _ending(gen: Generator[Any, Any, T], until: float) -> Generator[Any, Any, T]:
    """Pass on what psycopg's own waiting asks and is told, until it is too late; then ask nothing more."""
    told = None
    try:
        while monotonic() < until:
            told = yield gen.send(told)
    except StopIteration as end:
        answer: T = end.value
        return answer
    gen.close()
    msg = f"no answer from PostgreSQL within {ENQUEUE_TIMEOUT:g} s"
    raise TimeoutError(msg)
