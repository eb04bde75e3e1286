"""`PrivatePostgres`: a database, on connections of our own that give up in time."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import psycopg

from sigra_forward.queues.adapter import BoundedCaller, forget_after_fork

CONNECT_TIMEOUT = 0.7
"""Seconds to connect in, the name's resolution included."""

ANSWER_TIMEOUT = 0.6
"""Seconds for one answer: a connect and a statement stay within the 1.5 seconds of an enqueue."""

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
        self._caller = BoundedCaller()
        forget_after_fork(self)

    def run(self, function: Callable[[psycopg.Connection[Any]], T]) -> T:
        """
        Return what *function* makes of a connection. It may be called twice.

        Raises:
            TimeoutError: No connection, or no answer, came in time.
            Exception: What psycopg or *function* raised.
        """
        connection = self._taken()
        if connection is not None:
            try:
                return self._used(connection, function)
            except Exception:
                if not connection.was_broken:
                    raise
                self._drop_idle()  # gone stale, as this one was: the server was restarted since
        while (connection := self._taken()) is None:
            self._caller.call(partial(self._open, self._idle), CONNECT_TIMEOUT)
        return self._used(connection, function)

    def close(self) -> None:
        """Close the connections that are not in use. A later `run` opens one anew."""
        self._drop_idle()
        self._idle = []  # what opens too late for its caller finds that nobody wants it
        self._caller.close()

    def forget(self) -> None:
        """Leave the parent process its connections."""
        _PARENTS_CONNECTIONS.append(self._idle)
        self._idle = []

    def _used(self, connection: _InTime, function: Callable[[psycopg.Connection[Any]], T]) -> T:
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

    def _open(self, idle: list[_InTime]) -> None:
        connection = _InTime.connect(**self._options)
        if idle is self._idle:
            idle.append(connection)
        else:
            connection.close()


class _InTime(psycopg.Connection[Any]):
    """A connection whose every wait for the server ends in time."""

    was_broken = False
    """Whether the server had closed it, when it was closed here."""

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **options: Any) -> Any:
        """Wait as psycopg does, but no longer than `ANSWER_TIMEOUT`."""
        return super().wait(_ending(gen, monotonic() + ANSWER_TIMEOUT), *args, **options)


def _ending(gen: Generator[Any, Any, T], until: float) -> Generator[Any, Any, T]:
    """Pass on what psycopg's own waiting asks and is told; being told of nothing, look at the time."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and monotonic() > until:
                gen.close()
                msg = f"no answer from PostgreSQL after {ANSWER_TIMEOUT:g} s"
                raise TimeoutError(msg)
            wanted = gen.send(ready)
    except StopIteration as end:
        answer: T = end.value
        return answer
