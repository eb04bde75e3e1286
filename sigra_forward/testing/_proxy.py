"""`TCPProxy`: stands before a server, and lets a test refuse, freeze and bring back what is behind it."""

from __future__ import annotations

import socket
from contextlib import suppress
from select import select
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class TCPProxy:
    """
    A TCP proxy on a loopback port of its own, which stays the same for its life.

    Args:
        host: Where the server is.
        port: Its port.

    Attributes:
        port: The port of the proxy, on 127.0.0.1.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._open = Event()
        self._open.set()
        self._pairs: list[tuple[socket.socket, socket.socket | None]] = []
        self._silent: list[tuple[socket.socket, socket.socket | None]] = []
        self._listen(0)

    def refuse(self) -> None:
        """Close every connection, and refuse new ones."""
        self._stop_listening()
        self._cut()

    def freeze(self) -> None:
        """Accept connections and bytes, and pass nothing on, either way."""
        self._open.clear()

    def resume(self) -> None:
        """Serve again. What a frozen connection held is passed on."""
        self._open.set()
        if self._listener is None:
            self._listen(self.port)

    def cut(self) -> None:
        """Close every connection, as a server does that restarts, and go on serving."""
        self._cut()

    def silence(self) -> None:
        """Swallow whatever comes on the connections that stand, as a network does that has split; serve new ones."""
        self._silent += self._pairs

    def close(self) -> None:
        """Stop."""
        self._open.set()
        self.refuse()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self, port: int) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        self.port: int = listener.getsockname()[1]
        self._listener: socket.socket | None = listener
        self._accepting = Thread(target=self._accept, args=(listener,), daemon=True)
        self._accepting.start()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # or the thread that accepts would take one connection more
            self._accepting.join()
            listener.close()

    def _cut(self) -> None:
        pairs, self._pairs = self._pairs, []
        for end in (end for pair in pairs for end in pair if end is not None):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._pairs.append((client, None))
        self._open.wait()
        with client, suppress(OSError), socket.create_connection(self._server) as server:
            pair = (client, server)
            self._pairs.append(pair)
            while True:
                readable, _, _ = select([client, server], [], [])
                for source in readable:
                    data = source.recv(65536)
                    self._open.wait()
                    if not data:
                        return
                    if pair not in self._silent:
                        (server if source is client else client).sendall(data)
