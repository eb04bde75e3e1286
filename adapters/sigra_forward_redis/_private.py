"""`PrivateRedis`: the server of a client of the host's, on connections of our own that give up in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sigra_forward.queues.adapter import ENQUEUE_TIMEOUT, BoundedCaller

CONNECT_TIMEOUT = 0.5
"""Seconds to connect in, the name's resolution included."""

SOCKET_TIMEOUT = 0.4
"""Seconds for one answer: a connect, its handshake and a command stay within the 1.5 seconds of an enqueue."""

T = TypeVar("T")


class PrivateRedis:
    """
    A client for the server of another client, which is left as it is.

    It connects on a thread that is given up on after half a second, because no socket timeout covers a name that does
    not resolve; all else it does on the caller's own. A connection that the server has closed is opened anew, once.

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

    def run(self, function: Callable[[redis.Redis], T]) -> T:
        """
        Return what *function* makes of the client.

        Raises:
            TimeoutError: It was not back in time.
            Exception: What *function*, or the client, raised.
        """
        if self._is_ours:
            try:
                return function(self.client)
            except redis.TimeoutError as exc:  # of redis-py's own, which is no TimeoutError
                msg = "Redis did not answer in time"
                raise TimeoutError(msg) from exc
        return self._caller.call(partial(function, self.client), ENQUEUE_TIMEOUT)

    def close(self) -> None:
        """Close our connections. A later `run` opens one anew."""
        if self._is_ours:
            self.client.connection_pool.disconnect()
        self._caller.close()

    def _private(self, pool: redis.ConnectionPool) -> redis.Redis:
        options = {
            **pool.connection_kwargs,
            "socket_timeout": SOCKET_TIMEOUT,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        }
        kind = connecting_in_time(pool.connection_class, self._caller)
        return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=kind, **options))


def connecting_in_time(kind: Any, caller: BoundedCaller) -> Any:
    """Return *kind*, a class of redis-py's connections, as one that connects by *caller*, half a second at most."""

    class InTime(kind):  # type: ignore[misc]
        def _connect(self) -> Any:  # the one place in which redis-py resolves a name and opens a socket
            return caller.call(super()._connect, CONNECT_TIMEOUT)

    return InTime
