"""`ScriptedServer` treats requests as it is told, and `SinkContract` notices what is broken, and nothing else."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.request import urlopen

import pytest

from sigra_forward.testing import ReceivedRequest, ScriptedServer, SinkContract, behaviours
from sigra_forward.testing._http_server import Exchange
from sigra_forward.testing.behaviours import (
    Behaviour,
    answer,
    closed_after,
    dripped_body,
    dripped_header,
    endless,
    half_closed,
    late,
    not_http,
    redirect,
    reset_after_request,
    reset_in_answer,
    reset_in_body,
    truncated,
)
from tests.testing import broken_sinks
from tests.testing.support_report import Report

TIMEOUT = 10.0
CASES = {name: case for name, case in vars(broken_sinks).items() if name.startswith("Test")}


@pytest.fixture(name="server")
def _server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture(name="client")
def _client(server: ScriptedServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as client:
        yield client


POST = b"POST /in?x=1 HTTP/1.1\r\nHost: here\r\nX-Mixed: Case\r\nContent-Length: 4\r\n\r\nbody"


def post(connection: HTTPConnection, body: bytes = b"body") -> HTTPResponse:
    """POST, and return the answer, which has been read."""
    connection.request("POST", "/", body)
    response = connection.getresponse()
    response.read()
    return response


def all_of(client: socket.socket) -> bytes:
    """Return what comes until the end."""
    parts = []
    while data := client.recv(2**16):
        parts.append(data)
    return b"".join(parts)


def test_a_request_is_recorded(server: ScriptedServer, client: socket.socket) -> None:
    """Its headers by their names in lower case, and the connection by its number."""
    client.sendall(POST)

    assert client.recv(1024).startswith(b"HTTP/1.1 200 OK\r\n")
    headers = {"host": "here", "x-mixed": "Case", "content-length": "4"}
    assert [
        ReceivedRequest(method="POST", target="/in?x=1", headers=headers, body=b"body", connection=1)
    ] == server.requests


def test_connections_are_kept_and_counted(server: ScriptedServer) -> None:
    """Requests on one connection have its number."""
    for _ in range(2):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        post(connection)
        post(connection)
        connection.close()

    assert [1, 1, 2, 2] == [request.connection for request in server.requests]
    assert (2, 0) == (server.connections, server.handshakes)


def test_a_client_that_wants_no_more_is_closed(server: ScriptedServer) -> None:
    """Connection: close, as urllib says it."""
    with urlopen(f"{server.url}/once", timeout=TIMEOUT) as response:
        response.read()

    assert server.wait_for_hang_up(TIMEOUT)


def test_the_script_comes_first(server: ScriptedServer) -> None:
    """In order, and then the default."""
    server.default = answer(418, b"teapot")
    server.script(answer(201), answer(503, b"later", {"Retry-After": "7"}))
    connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)

    answers = [post(connection) for _ in range(3)]
    connection.close()

    assert [(201, None), (503, "7"), (418, None)] == [(told.status, told.getheader("Retry-After")) for told in answers]


def test_a_chunked_request_is_read(server: ScriptedServer, client: socket.socket) -> None:
    """With extensions and trailers, which are left out."""
    client.sendall(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=1\r\nbody\r\n2\r\n!!\r\n0\r\nX: y\r\n\r\n"
    )

    assert client.recv(1024).startswith(b"HTTP/1.1 200 OK\r\n")
    assert [b"body!!"] == [request.body for request in server.requests]


def test_a_client_may_ask_first(client: socket.socket) -> None:
    """Expect: 100-continue is told to go on."""
    client.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")

    assert b"HTTP/1.1 100 Continue\r\n\r\n" == client.recv(25)
    client.sendall(b"body")
    assert client.recv(1024).startswith(b"HTTP/1.1 200 OK\r\n")


def test_half_a_request_is_not_recorded(server: ScriptedServer, client: socket.socket) -> None:
    """The client has hung up in its midst."""
    client.sendall(POST)
    client.recv(1024)
    client.sendall(POST[:-1])
    client.close()

    assert server.wait_for_hang_up(TIMEOUT)
    assert 1 == len(server.requests)


@pytest.mark.parametrize(
    ("behaviour", "is_recorded"), [(reset_in_body, False), (reset_after_request, True), (reset_in_answer, True)]
)
def test_a_connection_is_reset(
    server: ScriptedServer, client: socket.socket, behaviour: Behaviour, is_recorded: bool
) -> None:
    """And the request is recorded where it was read."""
    server.script(behaviour)
    client.sendall(POST)

    with pytest.raises(ConnectionResetError):
        all_of(client)
    assert is_recorded == bool(server.requests)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (truncated(200), b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ntrunca"),
        (closed_after(answer(204)), b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        (closed_after(answer(299)), b"HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"),
        (
            closed_after(redirect("http://other.example/")),
            b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nLocation: http://other.example/\r\n\r\n",
        ),
        (half_closed, b""),
    ],
    ids=["truncated", "closed", "unknown status", "redirect", "half-closed"],
)
def test_an_answer_ends_with_the_connection(
    server: ScriptedServer, client: socket.socket, behaviour: Behaviour, expected: bytes
) -> None:
    """What is sent is that, and no more."""
    server.script(behaviour)
    client.sendall(POST)

    assert expected == all_of(client)


@pytest.mark.parametrize(
    "behaviour",
    [late(1000, answer(200)), half_closed, not_http, endless(200), dripped_header(0.001), dripped_body(0.001)],
    ids=["late", "half-closed", "not HTTP", "endless", "header drips", "body drips"],
)
def test_nothing_is_left_behind(behaviour: Behaviour) -> None:
    """Stopped in the midst of anything, it has no thread and no connection any more."""
    before = set(threading.enumerate())
    has_begun = threading.Event()

    def begin(exchange: Exchange) -> None:
        exchange.request()
        has_begun.set()
        behaviour(exchange)

    with ScriptedServer() as server, socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as client:
        server.script(begin)
        client.sendall(POST)
        assert has_begun.wait(TIMEOUT)

        server.stop()

        assert server.wait_for_hang_up(0)
        assert before == set(threading.enumerate())


def test_an_answer_without_end_pauses_at_last(
    server: ScriptedServer, client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a client that keeps all of it does not fill the memory; the connection stays open."""
    monkeypatch.setattr(behaviours, "MAX_STREAM", 2**17)
    server.script(endless(200))
    client.sendall(POST)
    with client.makefile("rb") as reader:
        text = reader.read(2**17 + 50)

    assert 2**17 < len(text)
    assert not server.wait_for_hang_up(0)
    client.shutdown(socket.SHUT_WR)
    assert server.wait_for_hang_up(TIMEOUT)


def test_it_comes_back_on_the_same_port(server: ScriptedServer, client: socket.socket) -> None:
    """Stopped, it closes what is open and refuses what is new; stopped twice, it is stopped."""
    client.sendall(POST)
    client.recv(1024)
    server.stop()
    server.stop()

    assert b"" == client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), TIMEOUT)
    server.start()
    connection = HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    assert 200 == post(connection).status
    connection.close()
    assert 2 == len(server.requests)


def test_it_speaks_tls(tmp_path: Path) -> None:
    """Only what was completed counts as a handshake."""
    ca = pytest.importorskip("trustme").CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    with ScriptedServer(tls=context) as server:
        with urlopen(f"{server.url}/", timeout=TIMEOUT, context=trusting) as response:
            assert 200 == response.status
        with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as client:
            client.sendall(b"no TLS\r\n\r\n")
            with suppress(ConnectionResetError):
                all_of(client)

        assert (2, 1) == (server.connections, server.handshakes)
        assert f"https://localhost:{server.port}" == server.url


# The contract


@pytest.fixture(name="report", scope="module")
def _report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Run the broken sinks in two parts, side by side, and what waits for a deadline only where that matters."""
    names = sorted(CASES)
    waiting = "(TestHonestSink or TestSinkHasNoDeadlineInAll or not (deadline or dripped))"

    parts = [f"({' or '.join(part)}) and {waiting}" for part in (names[::2], names[1::2])]
    return Report.side_by_side(Path(broken_sinks.__file__), tmp_path_factory, parts)


@pytest.mark.parametrize("name", CASES)
def test_exactly_the_rule_that_is_broken_fails(report: Report, name: str) -> None:
    """Each forwarder fails the tests of the rule that it breaks, for all parameters or for the ones it names."""
    report.assert_fails(name, CASES[name].fails)


@pytest.mark.parametrize(
    "call", [lambda suite: suite.forwarder_for("http://127.0.0.1:1"), lambda suite: suite.ids_in(None)]
)
def test_the_suite_asks_for_what_it_needs(call: Callable[[SinkContract], object]) -> None:
    """A subclass that forgot a method passes none of the tests that need it."""
    with pytest.raises(NotImplementedError):
        call(SinkContract())
