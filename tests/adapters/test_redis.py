"""`PrivateRedis`: a client for the host's server that connects and answers in time."""

from __future__ import annotations

import os
import socket
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

redis = pytest.importorskip("redis")

from redis.sentinel import SentinelConnectionPool

from sigra_forward.testing import TCPProxy
from sigra_forward.testing.contracts import within
from sigra_forward_redis import PrivateRedis

BUDGET = 1.5


def ping(client: Any) -> bool:
    """Ask whether it is there."""
    return bool(client.ping())


@pytest.fixture
def proxy(redis_server: tuple[str, int]) -> Iterator[TCPProxy]:
    """Stand before Redis."""
    with TCPProxy(*redis_server) as proxy:
        yield proxy


@pytest.fixture
def private(proxy: TCPProxy) -> Iterator[PrivateRedis]:
    """Give a private client, for a server behind the proxy."""
    private = PrivateRedis(redis.Redis(port=proxy.port))
    yield private
    private.close()


@pytest.mark.parametrize("harm", ["refuse", "freeze"])
def test_it_fails_in_time_and_comes_back(private: PrivateRedis, proxy: TCPProxy, harm: str) -> None:
    """Gone in mid-life, each call fails within the budget; once the server is back, the next one works."""
    private.run(ping)
    getattr(proxy, harm)()

    for _ in range(3):
        with pytest.raises((redis.RedisError, TimeoutError)):
            within(BUDGET, private.run, ping)
    proxy.resume()

    assert private.run(ping)


def test_a_connection_that_was_closed_is_opened_anew(private: PrivateRedis, proxy: TCPProxy) -> None:
    """A server that has been restarted costs no job."""
    private.run(ping)
    proxy.cut()

    assert private.run(ping)


def test_a_resolver_that_hangs_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket timeout covers it."""
    back = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: back.wait())

    with pytest.raises(TimeoutError, match=r"^Redis did not answer in time$"):
        within(BUDGET, PrivateRedis(redis.Redis("redis.invalid")).run, ping)
    back.set()


def test_the_hosts_client_is_left_as_it_is(redis_server: tuple[str, int]) -> None:
    """Its timeouts are its own, and what it is told to decode or to select holds for ours."""
    host, port = redis_server
    client = redis.Redis(host, port, db=3, socket_timeout=77, client_name="mine")

    ours = PrivateRedis(client).client.connection_pool.connection_kwargs

    assert (77, 3, "mine") == (
        client.connection_pool.connection_kwargs["socket_timeout"],
        ours["db"],
        ours["client_name"],
    )
    assert ours["socket_timeout"] < 1


def test_a_pool_that_we_do_not_know_is_used_as_it_is() -> None:
    """Sentinel's pool finds its server by itself: it is called on a thread, and given up on in time."""
    hanging = threading.Event()
    client = redis.Redis(connection_pool=SentinelConnectionPool("main", redis.sentinel.Sentinel([])))
    private = PrivateRedis(client)

    assert client is private.client
    with pytest.raises(TimeoutError):
        within(BUDGET, private.run, lambda _: hanging.wait())
    hanging.set()
    private.close()


def test_a_child_process_connects_by_itself(private: PrivateRedis, redis_server: tuple[str, int]) -> None:
    """After a fork parent and child both go on, each on a connection of its own."""
    mine = private.run(lambda client: client.client_id())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: this process has threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(private.run(lambda client: client.client_id()) == mine)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert (0, mine) == (status, private.run(lambda client: client.client_id()))
