"""`PrivateRedis`: the server of a client of the host's, on connections of our own that give up in time."""

from __future__ import annotations

import select
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from functools import partial
from math import inf
from ssl import SSLSocket
from time import monotonic
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sigra_forward.queues.adapter import ENQUEUE_TIMEOUT, BoundedCaller, Places

_SOONEST = 0.001
"""Seconds that a socket is given when no time is left: with 0 it would not wait at all, and not time out either."""

_LEEWAY = 0.05
"""Seconds more than are left that a socket may have been given, before it is given fewer."""

_UNTIL: ContextVar[float] = ContextVar("sigra_forward_redis_until", default=inf)

T = TypeVar("T")


class PrivateRedis:
    """
    A client for the server of another client, which is left as it is.

    It connects on a thread that is given up on in time, because no socket timeout covers a name that does not resolve;
    all else it does on the caller's own. However many connects and answers a call needs, they share its time. A
    connection that the server has closed is opened anew, once. At most `MAX_CONNECTIONS` are open.

    Args:
        client: The host's client.

    Attributes:
        client: Ours. For a client whose pool is of a kind that we do not know, such as Sentinel's, it is the host's.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._caller = BoundedCaller()
        pool = client.connection_pool
        self._is_ours = type(pool) in {redis.ConnectionPool, redis.BlockingConnectionPool}
        self.client = self._private(pool) if self._is_ours else client
        self._places = Places()

    def run(self, function: Callable[[redis.Redis], T]) -> T:
        """
        Return what *function* makes of the client, on one connection at a time.

        Raises:
            TimeoutError: It was not back in time.
            Exception: What *function*, or the client, raised.
        """
        if not self._is_ours:
            return self._caller.call(partial(function, self.client), ENQUEUE_TIMEOUT)
        until = _UNTIL.set(monotonic() + ENQUEUE_TIMEOUT)
        try:
            with self._places.one(ENQUEUE_TIMEOUT):
                return function(self.client)
        except (TimeoutError, redis.TimeoutError) as exc:  # redis-py's own is another
            self.client.connection_pool.disconnect(inuse_connections=False)  # those that are idle may be dead as well
            msg = "Redis did not answer in time"
            raise TimeoutError(msg) from exc
        finally:
            _UNTIL.reset(until)

    def close(self) -> None:
        """Close our connections. A later `run` opens one anew."""
        if self._is_ours:
            self.client.connection_pool.disconnect()
        self._caller.close()

    def _private(self, pool: redis.ConnectionPool) -> redis.Redis:
        options = {
            **pool.connection_kwargs,
            "socket_timeout": ENQUEUE_TIMEOUT,
            "socket_connect_timeout": ENQUEUE_TIMEOUT / 2,  # so that a name's second address has its turn
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        }
        kind = _connecting_in_time(pool.connection_class, self._caller)
        return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=kind, **options))


def _connecting_in_time(kind: Any, caller: BoundedCaller) -> Any:
    """Return *kind*, a class of redis-py's connections, as one that is done until `_UNTIL`; it connects by *caller*."""

    class InTime(kind):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            # What a server need not be told: each would cost a new connection one more answer, of few that have time.
            self.driver_info = self.lib_name = self.lib_version = self.maint_notifications_config = None

        def can_read(self, timeout: float = 0) -> bool:
            """Ask the system whether an idle connection is still open, where redis-py would read and catch an error."""
            opened = self._sock
            return (not isinstance(opened, _InTimeSocket) or opened.may_be_read()) and bool(super().can_read(timeout))

        def _connect(self) -> Any:  # the one place in which redis-py resolves a name and opens a socket
            return _InTimeSocket(_called_in_time(super()._connect, caller))

    return InTime


def _called_in_time(connect: Callable[[], Any], caller: BoundedCaller) -> Any:
    """Return the socket that *connect* returns, called by *caller*; one that comes too late is closed."""
    opening: Future[Any] = Future()

    def call() -> None:
        connected = connect()
        if opening.set_running_or_notify_cancel():
            opening.set_result(connected)
        else:
            connected.close()

    try:
        caller.call(call, _left())
    except BaseException:
        if not opening.cancel():  # it has come this very moment
            opening.result().close()
        raise
    return opening.result()


class _InTimeSocket:
    """A socket whose timeout is what is left until `_UNTIL`, or its own if that is less."""

    def __init__(self, connected: Any) -> None:
        self._socket = connected
        self._own = self._set = connected.gettimeout()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, seconds: float) -> None:
        self._own = seconds

    def may_be_read(self) -> bool:
        """Tell whether something has come, or the end: on TLS, and on Windows, that takes a reading."""
        if isinstance(self._socket, SSLSocket) or not hasattr(select, "poll"):
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def recv(self, *args: Any) -> Any:
        return self._in_time().recv(*args)

    def recv_into(self, *args: Any) -> Any:
        return self._in_time().recv_into(*args)

    def sendall(self, *args: Any) -> Any:
        return self._in_time().sendall(*args)

    def _in_time(self) -> Any:
        seconds = min(self._own, _left())
        if not seconds <= self._set <= seconds + _LEEWAY:  # to set it costs a call of the system
            self._socket.settimeout(seconds)
            self._set = seconds
        return self._socket


def _left() -> float:
    return min(max(_UNTIL.get() - monotonic(), _SOONEST), ENQUEUE_TIMEOUT)
