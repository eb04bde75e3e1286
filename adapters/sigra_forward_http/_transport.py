"""`Transport`: POSTs a body to an endpoint, on kept connections, and is back within the deadline."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection as PlainHTTPConnection
from http.client import HTTPException, HTTPResponse
from os import PathLike
from typing import Any, TypeAlias

from attrs import field, frozen
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from sigra_forward import ConfigurationError, SinkError
from sigra_forward.sinks.adapter import BoundedCaller, forget_after_fork, type_name
from sigra_forward_http._endpoint import Endpoint
from sigra_forward_http._secret import Secret
from sigra_forward_http._sockets import CALL, BoundedSocket, BoundedTLSSocket, left

Headers: TypeAlias = "Mapping[str, str | Secret]"
Path: TypeAlias = "str | PathLike[str]"

MAX_ANSWER = 2**16
"""Bytes of an answer's body that are read. Of a longer one the connection is closed."""

MAX_IDLE = 8
"""Connections that are kept while nobody uses them."""


@frozen
class Answer:
    """
    What the sink has answered.

    Args:
        status: The HTTP status.
        headers: By their names in lower case.
        body: What of it was read.
        is_whole: Whether that is all of it.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    is_whole: bool


class Transport:
    """
    The way to one endpoint.

    Redirects are answers like any other, and are never followed. No proxy is used, whatever the environment says.

    Args:
        endpoint: Where to.
        deadline: Seconds for which the sink may be silent, where *read_timeout* does not say.
        connect_timeout: Seconds for one attempt to connect.
        read_timeout: Seconds for which the sink may be silent.
        ca: A file of certificates to trust instead of the system's.
        certificate: A client certificate's file, or that and its key's file.

    Raises:
        ConfigurationError: A certificate's file cannot be used.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        deadline: float,
        connect_timeout: float = 5.0,
        read_timeout: float | None = None,
        ca: Path | None = None,
        certificate: Path | tuple[Path, Path] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._connect_timeout = connect_timeout
        self._silence = deadline if read_timeout is None else read_timeout
        self._context = _context(ca, certificate) if endpoint.scheme == "https" else None
        self._caller = BoundedCaller()
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Start anew, with no connection."""
        self._idle: list[_Connection] = []

    def close(self) -> None:
        """Close the connections that are not in use. A later call opens one anew."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._caller.close()

    def post(self, body: bytes, headers: Headers, *, until: float, target: str | None = None) -> Answer:
        """
        POST *body*, and return what the sink answers, whatever that is.

        A kept connection that the sink has closed meanwhile, unnoticed, is replaced by a new one, once.

        Args:
            body: The body.
            headers: The headers; secrets among them are revealed to the connection alone.
            until: The moment of the monotonic clock at which to be back.
            target: The path, where it is not the endpoint's.

        Raises:
            SinkError: There is no answer. Nothing is known of what became of the body.
        """
        CALL.until = until
        CALL.silence = self._silence
        told = self._told(body, headers, target)
        if isinstance(told, SinkError):
            raise told  # of which the frames below know nothing: theirs hold secrets
        return told

    def _told(self, body: bytes, headers: Headers, target: str | None) -> Answer | SinkError:
        send = partial(self._exchange, body, headers, target or self._endpoint.target)
        told = send(self._kept())
        return send(self._new()) if isinstance(told, _WasClosedError) else told

    def _kept(self) -> _Connection:
        """Return a connection that is open, or a new one."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._new()
            if connection.is_connected:
                connection.is_kept = True
                return connection
            connection.close()

    def _new(self) -> _Connection:
        endpoint = self._endpoint
        kind = _PlainConnection if self._context is None else partial(_TLSConnection, ssl_context=self._context)
        connection: _Connection = kind(endpoint.host, endpoint.port)
        connection.connected = self._connected
        return connection

    def _exchange(self, body: bytes, headers: Headers, target: str, connection: _Connection) -> Answer | SinkError:
        """Return the answer, or why there is none: an exception's frames would hold what the headers hold."""
        idle = self._idle
        try:
            told = {name: value.reveal() if isinstance(value, Secret) else value for name, value in headers.items()}
            connection.request("POST", target, body, told, preload_content=False, decode_content=False)
            # urllib3 would log the target where it cannot read a header.
            answer, is_kept = _heard(PlainHTTPConnection.getresponse(connection))
        except Exception as exc:  # noqa: BLE001 - whatever the socket, TLS or HTTP raises
            with suppress(Exception):
                connection.close()
            return _fault(exc, self._endpoint, is_kept=connection.is_kept)
        except BaseException:
            connection.close()
            raise
        if is_kept and idle is self._idle and len(idle) < MAX_IDLE:
            idle.append(connection)
        else:
            connection.close()
        return answer

    def _connected(self) -> socket.socket:
        """Return a socket that is connected to an address that has been checked."""
        endpoint = self._endpoint
        addresses = endpoint.checked(self._addresses())
        failure: OSError | None = None
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            connecting = BoundedSocket(family, socket.SOCK_STREAM)
            try:
                connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connecting.settimeout(min(left(), self._connect_timeout))
                connecting.connect((address, endpoint.port))
            except OSError as exc:
                connecting.close()
                failure = exc
            except BaseException:
                connecting.close()
                raise
            else:
                return connecting
        assert failure is not None  # noqa: S101 - there is one address at least
        raise failure

    def _addresses(self) -> Sequence[str]:
        endpoint = self._endpoint
        # Nothing else bounds how long a name takes to resolve.
        return self._caller.call(partial(_resolved, endpoint.host, endpoint.port), left())


class _WasClosedError(SinkError):
    """The sink has closed a kept connection, just before it was used again."""


class _Mixin:
    """What our connections have beside urllib3's."""

    connected: Callable[[], socket.socket]
    is_kept = False

    def _new_conn(self) -> socket.socket:
        return self.connected()


class _PlainConnection(_Mixin, HTTPConnection):
    pass


class _TLSConnection(_Mixin, HTTPSConnection):
    pass


_Connection: TypeAlias = Any


def _resolved(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _heard(response: HTTPResponse) -> tuple[Answer, bool]:
    """Return the answer, and whether its connection can be used again."""
    parts, size, is_whole = [], 0, True
    headers = {name.lower(): value for name, value in response.headers.items()}
    try:
        while size <= MAX_ANSWER and (part := response.read(min(2**13, MAX_ANSWER + 1 - size))):
            parts.append(part)
            size += len(part)
    except (HTTPException, OSError, ValueError):  # the status is there all the same
        is_whole = False
    is_whole = is_whole and size <= MAX_ANSWER and not response.length
    is_kept = is_whole and response.isclosed() and not response.will_close
    return Answer(response.status, headers, b"".join(parts)[:MAX_ANSWER], is_whole), is_kept


_CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What comes of a kept connection that the sink has closed: TLS tells it in its own way, at a write."""


def _fault(exc: Exception, endpoint: Endpoint, *, is_kept: bool) -> SinkError:
    """Return *exc* as the sink's fault, without what it holds: its message may quote what was sent."""
    cause: BaseException = exc
    while isinstance(cause, HTTPError) and (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    where = str(endpoint)
    if isinstance(cause, SinkError):
        return cause.with_traceback(None)
    if is_kept and isinstance(cause, _CLOSED):
        return _WasClosedError("connection", detail=f"{where} closed the connection")
    if isinstance(cause, TimeoutError):
        return SinkError("timeout", detail=f"{where} did not answer in time")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return SinkError("tls", detail=f"the certificate of {where} was refused: {cause.verify_message}")
    if isinstance(cause, ssl.SSLError):
        reason = getattr(cause, "reason", None) or type_name(cause)
        return SinkError("tls", detail=f"TLS with {where} failed: {reason}")
    if isinstance(cause, (socket.gaierror, UnicodeError)):  # the latter of what no name can be
        return SinkError("dns", detail=f"the name of {where} does not resolve")
    if isinstance(cause, OSError):
        return SinkError("connection", detail=f"{where}: {cause.strerror or type_name(cause)}")
    return SinkError("protocol", detail=f"{where} does not speak HTTP: {type_name(cause)}")


def _context(ca: Path | None, certificate: Path | tuple[Path, Path] | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            file, key = certificate if isinstance(certificate, tuple) else (certificate, None)
            context.load_cert_chain(file, key)
    except (OSError, ValueError, TypeError) as exc:
        msg = f"ca=... or certificate=... cannot be used: {type_name(exc)}; they name files in PEM, without a password"
        raise ConfigurationError(msg) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = BoundedTLSSocket
    return context
