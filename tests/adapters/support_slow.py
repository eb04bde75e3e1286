"""`SlowProxy`: stands before a server whose answers are to be late."""

from __future__ import annotations

import socket
from contextlib import suppress
from select import select
from threading import Event
from typing import Any

from sigra_forward.testing import TCPProxy


class SlowProxy(TCPProxy):
    """
    A TCP proxy that passes requests on at once, and each piece of an answer *lag* seconds later than it could.

    Attributes:
        lag: Those seconds; 0 at first.
        piece: How many bytes of an answer it passes on at once.
    """

    def __init__(self, *server: Any) -> None:
        self.lag = 0.0
        self.piece = 65536
        self._is_closed = Event()
        super().__init__(*server)

    def close(self) -> None:
        """Stop."""
        self._is_closed.set()
        super().close()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._server) as server:
            self._pairs.append((client, server))
            while True:
                for source in select([client, server], [], [])[0]:
                    data = source.recv(self.piece if source is server else 65536)
                    if not data:
                        return
                    if source is server:
                        self._is_closed.wait(self.lag)
                    (client if source is server else server).sendall(data)
