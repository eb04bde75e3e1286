"""Sockets on which no operation goes on beyond the moment at which the call must be over."""

from __future__ import annotations

import socket
import ssl
from threading import local
from time import monotonic
from typing import Any


class _Call(local):
    """What the thread's call is bound by: the moment, of the monotonic clock, and the longest silence in seconds."""

    until: float = 0.0
    silence: float = 0.0


CALL = _Call()


def left() -> float:
    """
    Return the seconds that one operation of this thread's call may take.

    A peer that sends one byte at a time is never silent: so the whole call is bound, and not each operation alone.

    Raises:
        TimeoutError: There are none.
    """
    seconds = CALL.until - monotonic()
    if seconds <= 0:
        msg = "the deadline is over"
        raise TimeoutError(msg)
    return min(seconds, CALL.silence)


class BoundedSocket(socket.socket):
    """A socket for plain HTTP."""

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Receive, within what is left of the call."""
        self.settimeout(left())
        return super().recv_into(*arguments, **options)

    def sendall(self, *arguments: Any) -> None:
        """Send all, within what is left of the call: Python bounds all of it by the one timeout."""
        self.settimeout(left())
        super().sendall(*arguments)


class BoundedTLSSocket(ssl.SSLSocket):
    """A socket for HTTPS; see ``SSLContext.sslsocket_class``."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, within what is left of the call."""
        self.settimeout(left())
        super().do_handshake(block)

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Receive, within what is left of the call."""
        self.settimeout(left())
        return super().recv_into(*arguments, **options)

    def send(self, *arguments: Any, **options: Any) -> int:
        """Send some, within what is left of the call: ``sendall`` is made of it."""
        self.settimeout(left())
        return super().send(*arguments, **options)
