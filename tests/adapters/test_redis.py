"""`PrivateRedis`: a client for the host's server that connects and answers in time."""

from __future__ import annotations

import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

import pytest

redis = pytest.importorskip("redis")

from redis.sentinel import SentinelConnectionPool

from sigra_forward.testing import TCPProxy
from sigra_forward.testing.contracts import within
from sigra_forward.testing.contracts._hostile import run_in_threads
from sigra_forward_redis import PrivateRedis
from tests.adapters.support_slow import SlowProxy

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


@pytest.fixture
def slow(redis_server: tuple[str, int]) -> Iterator[SlowProxy]:
    """Stand before Redis, and have its answers be late."""
    with SlowProxy(*redis_server) as slow:
        yield slow


@pytest.fixture
def held_up(slow: SlowProxy) -> Iterator[PrivateRedis]:
    """Give a private client, for a server behind the slow proxy."""
    private = PrivateRedis(redis.Redis(port=slow.port, db=3))
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


def test_a_connect_that_was_given_up_on_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, redis_server: tuple[str, int]
) -> None:
    """A name that resolves after all, too late, leads to no connection that nobody uses."""
    resolve, back, opened = socket.getaddrinfo, threading.Event(), []

    def hang(*args: Any) -> Any:
        back.wait()
        return resolve(*args)

    class Socket(socket.socket):
        def connect(self, address: Any) -> None:
            super().connect(address)
            opened.append(self)

    private = PrivateRedis(redis.Redis(*redis_server))
    with pytest.raises(TimeoutError), monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", hang)
        private.run(ping)
    monkeypatch.setattr(socket, "socket", Socket)
    back.set()

    until = monotonic() + 10
    while not opened or opened[0].fileno() != -1:
        assert monotonic() < until
        sleep(0.01)


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
    assert ours["socket_timeout"] < BUDGET


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


def test_a_network_that_has_split_costs_one_call(private: PrivateRedis, proxy: TCPProxy) -> None:
    """Of several connections that have fallen silent for ever one is waited for, and none of the others."""
    together = threading.Barrier(4, timeout=5)

    def call() -> None:
        private.run(lambda client: (client.ping(), together.wait(), client.ping()))

    run_in_threads([call] * 4)
    proxy.silence()

    with pytest.raises(TimeoutError):
        private.run(ping)
    run_in_threads([call] * 4)


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


@pytest.mark.parametrize("lag", [0.3, 0.38])
def test_a_connect_to_a_slow_server_is_bounded_as_a_whole(held_up: PrivateRedis, slow: SlowProxy, lag: float) -> None:
    """Each answer of the handshake comes in time, and all of them would not: the first call, and the one after a cut."""
    slow.lag = lag
    with suppress(TimeoutError):
        within(BUDGET, held_up.run, ping)
    slow.lag = 0.0
    held_up.run(ping)
    slow.lag = lag

    assert within(BUDGET, held_up.run, ping)  # one answer is no more than it may take
    slow.cut()
    with suppress(TimeoutError):
        within(BUDGET, held_up.run, ping)
    slow.lag = 0.0
    assert held_up.run(ping)


def test_a_connect_asks_for_few_answers(held_up: PrivateRedis, slow: SlowProxy) -> None:
    """A server whose answers are as late as this is connected with in time: it is told what it must know, no more."""
    slow.lag = 0.3

    assert within(BUDGET, held_up.run, ping)


def _many(client: Any) -> None:
    for _ in range(5):
        client.ping()


@pytest.mark.parametrize(
    ("commands", "lag", "piece"), [(_many, 0.38, 65536), (lambda client: client.info(), 0.3, 1)], ids=["many", "drops"]
)
def test_all_answers_of_a_call_share_its_time(
    held_up: PrivateRedis, slow: SlowProxy, commands: Callable[[Any], Any], lag: float, piece: int
) -> None:
    """Neither a call of many commands nor an answer that comes drop by drop takes longer than one that never comes."""
    held_up.run(ping)
    slow.lag, slow.piece = lag, piece

    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"^Redis did not answer in time$"):
            within(BUDGET, held_up.run, commands)


def test_a_connection_that_was_given_up_on_answers_nobody_else(private: PrivateRedis, proxy: TCPProxy) -> None:
    """What a command was answered too late is not taken for the answer to the next one."""
    private.run(ping)
    proxy.freeze()
    with pytest.raises(TimeoutError):
        private.run(lambda client: client.echo("late"))
    proxy.resume()

    assert b"next" == private.run(lambda client: client.echo("next"))


def test_connections_are_few(redis_server: tuple[str, int]) -> None:
    """However many threads call at once, sixteen connections serve them; the others wait their turn."""
    host, port = redis_server
    client = redis.Redis(host, port, client_name="sigra-forward-few")
    private = PrivateRedis(client)
    together = threading.Barrier(60)

    def call() -> None:
        together.wait()
        for _ in range(5):
            assert private.run(ping)

    run_in_threads([call] * 60)
    kept = [entry for entry in client.client_list() if entry["name"] == "sigra-forward-few"]
    private.close()
    client.close()

    assert 1 < len(kept) <= 16 + 1  # and the one that asks


def test_waiting_for_a_connection_is_part_of_the_time(private: PrivateRedis, proxy: TCPProxy) -> None:
    """Where a server that is frozen holds all connections, those that wait for one are given up on in time as well."""
    proxy.freeze()

    def call() -> None:
        with pytest.raises(TimeoutError):
            within(BUDGET, private.run, ping)

    run_in_threads([call] * 24)
    proxy.resume()
    assert private.run(ping)


def test_a_child_process_has_all_connections_to_itself(private: PrivateRedis) -> None:
    """Those that its parent's threads use as it forks are not missing in the child for ever."""
    begun, back = threading.Barrier(17), threading.Event()

    def hold(_: Any) -> None:
        begun.wait()
        back.wait()

    threads = [threading.Thread(target=private.run, args=(hold,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    begun.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: this process has threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(not private.run(ping))
        finally:
            os._exit(status)
    back.set()
    for thread in threads:
        thread.join()

    assert 0 == os.waitpid(child, 0)[1]
