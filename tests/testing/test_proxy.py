"""`TCPProxy`: it passes bytes on, and refuses, freezes, cuts, silences and comes back as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sigra_forward.testing import TCPProxy

TIMEOUT = 10.0


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """Serve what it is told, back."""
    listener = socket.create_server(("127.0.0.1", 0))
    clients = []

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            while data := client.recv(1024):
                client.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                clients.append(client)
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for client in clients:
        client.close()


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[TCPProxy]:
    """Stand before the echo server."""
    with TCPProxy(*echo) as proxy:
        yield proxy


def client_of(proxy: TCPProxy, timeout: float = TIMEOUT) -> socket.socket:
    """Connect to *proxy*."""
    return socket.create_connection(("127.0.0.1", proxy.port), timeout)


def answer(client: socket.socket, text: bytes) -> bytes:
    """Send *text*, and return what comes back."""
    client.sendall(text)
    return client.recv(1024)


def test_passes_on_both_ways(proxy: TCPProxy) -> None:
    """What the client sends reaches the server, and the answer comes back, on several connections at once."""
    with client_of(proxy) as one, client_of(proxy) as two:
        assert (b"one", b"two", b"again") == (answer(one, b"one"), answer(two, b"two"), answer(one, b"again"))


def test_refuses(proxy: TCPProxy) -> None:
    """Connections are closed, and new ones refused, until it resumes on the same port."""
    with client_of(proxy) as client:
        answer(client, b"there")
        port = proxy.port
        proxy.refuse()

        assert b"" == client.recv(1024)
        with pytest.raises(ConnectionRefusedError):
            client_of(proxy)
    proxy.resume()
    with client_of(proxy) as client:
        assert (port, b"back") == (proxy.port, answer(client, b"back"))


def test_freezes(proxy: TCPProxy) -> None:
    """A connection that stands, and one that is new, are accepted and not answered; resumed, the answer comes."""
    with client_of(proxy) as old:
        answer(old, b"there")
        proxy.freeze()
        with client_of(proxy) as new:
            for client in (old, new):
                client.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    answer(client, b"anyone?")
                client.settimeout(TIMEOUT)
            proxy.resume()

            assert (b"anyone?", b"anyone?") == (old.recv(1024), new.recv(1024))


def test_cuts(proxy: TCPProxy) -> None:
    """Every connection is closed, and a new one works at once."""
    with client_of(proxy) as client:
        answer(client, b"there")
        proxy.cut()

        assert b"" == client.recv(1024)
    with client_of(proxy) as client:
        assert b"back" == answer(client, b"back")


def test_silences(proxy: TCPProxy) -> None:
    """A connection that stands is not answered any more, nor closed, and a new one works at once."""
    with client_of(proxy) as old:
        answer(old, b"there")
        proxy.silence()
        with client_of(proxy) as new:
            assert b"new" == answer(new, b"new")
        old.settimeout(0.05)
        with pytest.raises(TimeoutError):
            answer(old, b"anyone?")
        old.settimeout(TIMEOUT)
        proxy.close()

        assert b"" == old.recv(1024)


def test_closes_while_it_is_frozen(proxy: TCPProxy) -> None:
    """A test that ends in the midst of it leaves nobody waiting."""
    with client_of(proxy) as client:
        answer(client, b"there")
        proxy.freeze()

        proxy.close()

        assert b"" == client.recv(1024)


def test_a_server_that_is_not_there_closes_the_connection(proxy: TCPProxy) -> None:
    """With nothing behind it, a client is dropped and not kept waiting."""
    with TCPProxy("127.0.0.1", 1) as nowhere, client_of(nowhere) as client:
        assert b"" == client.recv(1024)
