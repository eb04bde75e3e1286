"""`ScriptedServer`: a real HTTP/1.1 server, plain or TLS, that answers, or fails to, as a test tells it."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from http.client import parse_headers
from select import select
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, NoReturn

from attrs import evolve, frozen

from sigra_forward.testing.behaviours import Behaviour, answer

if TYPE_CHECKING:
    from io import BufferedReader
    from ssl import SSLContext
    from types import TracebackType

    from typing_extensions import Self


@frozen(kw_only=True)
class ReceivedRequest:
    """
    A request that a `ScriptedServer` has read to its end.

    Args:
        method: Such as ``"POST"``.
        target: The path and the query.
        headers: By their names in lower case.
        body: The body, without what a transfer coding adds.
        connection: The number of the connection that it came on, from 1.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


class ScriptedServer:
    """
    A server on a loopback port of its own, which stays the same for its life.

    Each request is treated as the next behaviour of the script says, and as ``default`` says where there is none.

    Args:
        tls: With it the server speaks TLS, and its URL names ``localhost``.

    Attributes:
        default: What it does with a request for which there is no script; it says 200 unless told otherwise.
        requests: All that were read to their end, whatever was answered.
        connections: How many were accepted.
        handshakes: How many TLS handshakes were completed.
        port: The port, on 127.0.0.1.
        stopping: Set when it stops, for behaviours that wait.
    """

    def __init__(self, *, tls: SSLContext | None = None) -> None:
        self.default: Behaviour = answer(200)
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self.handshakes = 0
        self.port = 0
        self._tls = tls
        self._script: deque[Behaviour] = deque()
        self._open: dict[socket.socket, Thread] = {}
        self._changed = Condition()
        self._listener: socket.socket | None = None
        self.start()

    @property
    def url(self) -> str:
        """The URL, without a path."""
        return f"http://127.0.0.1:{self.port}" if self._tls is None else f"https://localhost:{self.port}"

    def script(self, *behaviours: Behaviour) -> None:
        """Treat the next requests by *behaviours*, in this order, after those that are still to come."""
        self._script.extend(behaviours)

    def start(self) -> None:
        """Listen, again on the same port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self.stopping = Event()
        self._accepting = Thread(target=self._accept, args=(listener,), daemon=True)
        self._accepting.start()

    def stop(self) -> None:
        """Close every connection, and refuse new ones."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.shutdown(socket.SHUT_RDWR)  # or the thread that accepts would take one connection more
        self._accepting.join()
        listener.close()
        self.stopping.set()
        with self._changed:
            threads = dict(self._open)
        for connection, thread in threads.items():
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            thread.join()

    def wait_for_hang_up(self, seconds: float) -> bool:
        """Wait until no connection that was accepted is open any more, and tell whether that came within *seconds*."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError):  # the client is no longer there
                self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.connections += 1
        thread = Thread(target=self._serve, args=(connection, self.connections), daemon=True)
        with self._changed:
            self._open[connection] = thread
        thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            with suppress(OSError), connection:
                if self._tls is not None:
                    connection.do_handshake()  # type: ignore[attr-defined]
                    with self._changed:
                        self.handshakes += 1
                self._converse(connection, number)
        finally:
            with self._changed:
                del self._open[connection]
                self._changed.notify_all()

    def _converse(self, connection: socket.socket, number: int) -> None:
        """Treat one request after another, for as long as the connection is open."""
        with connection.makefile("rb") as reader:
            while line := reader.readline():
                method, target, _ = line.decode("latin-1").split()
                headers = {name.lower(): value for name, value in parse_headers(reader).items()}
                head = ReceivedRequest(method=method, target=target, headers=headers, body=b"", connection=number)
                exchange = Exchange(head, connection, reader, self)
                behaviour = self._script.popleft() if self._script else self.default
                behaviour(exchange)
                exchange.request()
                if headers.get("connection", "").lower() == "close":
                    return


class Exchange:
    """
    One request, and what a behaviour can do with it.

    Args:
        head: The request, whose body has not been read yet.
        connection: The connection.
        reader: What reads from it.
        server: Whose it is.
    """

    def __init__(
        self, head: ReceivedRequest, connection: socket.socket, reader: BufferedReader, server: ScriptedServer
    ) -> None:
        self.head = head
        self._connection = connection
        self._reader = reader
        self._server = server
        self._request: ReceivedRequest | None = None

    def request(self) -> ReceivedRequest:
        """
        Read the request to its end, once, and return it.

        Raises:
            ConnectionError: The client has hung up in its midst.
        """
        if self._request is None:
            if self.head.headers.get("expect", "").lower() == "100-continue":
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._request = evolve(self.head, body=self._body())
            self._server.requests.append(self._request)
        return self._request

    def send(self, data: bytes) -> None:
        """Send *data*, of whatever it is a part."""
        self._connection.sendall(data)

    def hangs_up(self, seconds: float | None = None) -> bool:
        """Wait for *seconds*, or for ever, and tell whether the client has hung up, or the server is stopped."""
        readable, _, _ = select([self._connection], [], [], seconds)
        return bool(readable)

    def delay(self, seconds: float) -> None:
        """Wait for *seconds*, whatever the client does, or until the server is stopped."""
        self._server.stopping.wait(seconds)

    def half_close(self) -> None:
        """Send no more, and say so."""
        socket.socket.shutdown(self._connection, socket.SHUT_WR)  # of TLS too: it does not say so there

    def close(self) -> NoReturn:
        """Close the connection."""
        raise ConnectionAbortedError

    def reset(self) -> NoReturn:
        """Reset the connection: the client loses even what was sent and not yet read."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def _body(self) -> bytes:
        if self.head.headers.get("transfer-encoding", "").lower() != "chunked":
            return self._exactly(int(self.head.headers.get("content-length", "0")))
        parts = []
        while size := int(self._reader.readline().partition(b";")[0] or b"0", 16):
            parts.append(self._exactly(size))
            self._reader.readline()
        parse_headers(self._reader)  # trailers
        return b"".join(parts)

    def _exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            self.close()
        return data
