"""What a `ScriptedServer` can do with a request: answer it, or fail in one of the ways in which servers do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

from attrs import field, frozen

if TYPE_CHECKING:
    from sigra_forward.testing._http_server import Exchange

Behaviour: TypeAlias = "Callable[[Exchange], object]"
"""Treats one request. It may raise OSError to have the connection closed."""

MAX_STREAM = 2**26
"""Bytes of an endless answer after which nothing more is sent, for the memory of the test's own process."""


@frozen
class answer:  # noqa: N801 - it is used as a function is
    """
    Reads the request, and answers it.

    Args:
        status: The HTTP status.
        body: The body.
        headers: Further headers.
        size: What ``Content-Length`` says; by default the truth.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(factory=dict)
    size: int | None = field(default=None, kw_only=True)

    def __call__(self, exchange: Exchange) -> None:
        """Read, and answer."""
        exchange.request()
        exchange.send(self.head + self.body)

    @property
    def head(self) -> bytes:
        """The status and the headers, and the empty line that ends them."""
        phrases = {status.value: status.phrase for status in HTTPStatus}
        size = len(self.body) if self.size is None else self.size
        headers = {"Content-Length": str(size), **self.headers}
        lines = [f"HTTP/1.1 {self.status} {phrases.get(self.status, '')}", *map(": ".join, headers.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1")


def redirect(url: str, status: int = 307) -> Behaviour:
    """Answer that the request is to be sent to *url*."""
    return answer(status, headers={"Location": url})


def truncated(status: int) -> Behaviour:
    """Answer with less of a body than was announced, and close the connection."""
    return closed_after(answer(status, b"trunca", size=1000))


def closed_after(behaviour: Behaviour) -> Behaviour:
    """Do as *behaviour* does, and close the connection without a word of it."""

    def act(exchange: Exchange) -> None:
        behaviour(exchange)
        exchange.close()

    return act


def late(seconds: float, behaviour: Behaviour) -> Behaviour:
    """Read the request, and do as *behaviour* does *seconds* later, whether the client is still there or not."""

    def act(exchange: Exchange) -> None:
        exchange.request()
        exchange.delay(seconds)
        behaviour(exchange)

    return act


def dripped_header(every: float) -> Behaviour:
    """Answer with 200 and a header without end, one byte of it *every* so many seconds, until the client hangs up."""
    return _dripped(b"HTTP/1.1 200 OK\r\nX-Endless: ", every)


def dripped_body(every: float, status: int = 200) -> Behaviour:
    """Answer with a long body, one byte of it *every* so many seconds, until the client hangs up."""
    return _dripped(answer(status, size=10**6).head, every)


def dripped_interim(every: float) -> Behaviour:
    """Answer with 100, which is to be waited on, *every* so many seconds, until the client hangs up."""
    return _dripped(b"", every, b"HTTP/1.1 100 Continue\r\n\r\n")


def endless(status: int) -> Behaviour:
    """Answer with a body without end, as fast as the client takes it, until that hangs up."""
    chunk = b"10000\r\n" + b"x" * 2**16 + b"\r\n"

    def act(exchange: Exchange) -> None:
        exchange.request()
        exchange.send(b"HTTP/1.1 %d Endless\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
        for _ in range(MAX_STREAM // 2**16):
            exchange.send(chunk)
        exchange.hangs_up()
        exchange.close()

    return act


def reset_in_body(exchange: Exchange) -> None:
    """Reset the connection in the midst of the request, of which the header alone was read."""
    exchange.reset()


def reset_after_request(exchange: Exchange) -> None:
    """Read the request, and reset the connection: a yes may have been lost on the way."""
    exchange.request()
    exchange.reset()


def reset_in_answer(exchange: Exchange) -> None:
    """Reset the connection in the midst of the status."""
    exchange.request()
    exchange.send(b"HTTP/1.1 20")
    exchange.reset()


def cut_in_header(exchange: Exchange) -> None:
    """Read the request, answer with 200, and close the connection in the midst of the header."""
    exchange.request()
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    exchange.close()


def half_closed(exchange: Exchange) -> None:
    """Read the request, say that there will be no answer, and leave it to the client to close the connection."""
    exchange.request()
    exchange.half_close()
    exchange.hangs_up()
    exchange.close()


def not_http(exchange: Exchange) -> None:
    """Greet as a mail server does, and leave it to the client to close the connection."""
    exchange.request()
    exchange.send(b"220 mail.example ESMTP\r\n")
    exchange.hangs_up()
    exchange.close()


def _dripped(begin: bytes, every: float, drop: bytes = b"x") -> Behaviour:
    def act(exchange: Exchange) -> None:
        exchange.request()
        exchange.send(begin)
        while not exchange.hangs_up(every):
            exchange.send(drop)
        exchange.close()

    return act
