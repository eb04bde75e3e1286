"""`HTTPSink`: what all forwarders over HTTP have in common: an endpoint, a deadline, and connections to it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from gzip import compress
from time import monotonic
from typing import Any, TypedDict, cast

from sigra_forward import Ack, AuditEvent, ConfigurationError
from sigra_forward.sinks.adapter import is_count, seconds, words_of
from sigra_forward_http._answers import REFUSED, fault
from sigra_forward_http._batches import Part, Told, sent
from sigra_forward_http._endpoint import endpoint
from sigra_forward_http._secret import Secret, secret
from sigra_forward_http._transport import Answer, Headers, Path, Transport

COMPRESSION_LEVEL = 1
"""Of audit events it makes a tenth; higher levels take several times as long for a little less."""


class Connecting(TypedDict, total=False):
    """
    How a forwarder connects.

    Attributes:
        deadline: Seconds for one call in all.
        connect_timeout: Seconds for one attempt to connect; 5 by default.
        read_timeout: Seconds for which the sink may be silent; until the deadline by default.
        ca: A file of certificates to trust instead of the system's.
        certificate: A client certificate's file, or that and its key's file.
        allow: Networks, or addresses, that may be connected to though they are special: ``("10.1.0.0/16",)``.
    """

    deadline: float
    connect_timeout: float
    read_timeout: float | None
    ca: Path | None
    certificate: Path | tuple[Path, Path] | None
    allow: Sequence[str]


class HTTPSink:
    """
    One endpoint.

    Args:
        url: Where to: https, or http on this machine itself.
        user: The forwarder's name, for messages.
        headers: Sent with every request, and never shown.
        reserved: Names of headers, in lower case, that the forwarder sets itself.
        target: The path, where the URL names none.
        gzip: Whether bodies are compressed.
        deadline: Seconds for one call in all, where *connecting* does not say.
        connecting: See `Connecting`.

    Attributes:
        deadline: Seconds for one call in all.

    Raises:
        ConfigurationError: An option makes no sense. The message quotes neither the URL nor a header.
    """

    def __init__(
        self,
        url: str,
        user: str,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        reserved: Sequence[str] = (),
        target: str | None = None,
        gzip: bool = False,
        deadline: float,
        connecting: Connecting,
    ) -> None:
        _see_that_they_are_known(connecting, user)
        options: dict[str, Any] = {"deadline": deadline, "connect_timeout": 5.0, "read_timeout": None, **connecting}
        allow = options.pop("allow", ())
        times = [options[name] for name in ("deadline", "connect_timeout", "read_timeout") if options[name] is not None]
        if options["deadline"] is None or options["connect_timeout"] is None or not all(map(seconds, times)):
            msg = f"{user}: deadline, connect_timeout and read_timeout must be finite numbers of seconds above 0"
            raise ConfigurationError(msg)
        self.deadline = float(options["deadline"])
        self._user = user
        self._gzip = bool(gzip)
        self._headers = _headers(
            headers, {"content-type", "content-length", "content-encoding", "host", *reserved}, user
        )
        self._endpoint = endpoint(url, user, allow=allow, target=target)
        self._transport = Transport(self._endpoint, **options)

    def __repr__(self) -> str:
        return f"{self._user}({str(self._endpoint)!r})"

    def close(self) -> None:
        """Close the connections that are not in use. A later call opens one anew."""
        self._transport.close()

    def fault(self, answer: Answer, events: Sequence[AuditEvent], refused: Collection[int] = REFUSED) -> Exception:
        """Return what an answer that is no yes means, without what it echoes; see `_answers.fault`."""
        return fault(answer, events, refused, self._hidden())

    def words(self, text: object, events: Sequence[AuditEvent]) -> str:
        """Return what the sink has said, without what it echoes; see `words_of`."""
        return words_of(str(text), events, self._hidden())

    def _hidden(self) -> Iterator[str]:
        """Yield what was sent beside the events, for nobody else to see."""
        yield self._endpoint.target
        yield from (value.reveal() for value in self._headers.values() if isinstance(value, Secret))

    def post(
        self, body: bytes, content_type: str, *, headers: Headers | None = None, target: str | None = None, until: float
    ) -> Answer:
        """POST *body*, to be back at *until* of the monotonic clock; see `Transport.post`."""
        told: dict[str, str | Secret] = {**self._headers, **(headers or {}), "Content-Type": content_type}
        if self._gzip:
            body = compress(body, COMPRESSION_LEVEL, mtime=0)
            told["Content-Encoding"] = "gzip"
        return self._transport.post(body, told, target=target, until=until)


class HTTPBatchSink(HTTPSink):
    """
    A sink that takes several events in one body.

    Attributes:
        max_events: How many at once.
        max_bytes: Bytes of a body before it is compressed.
        max_event_bytes: Bytes of one event; ``None``: as many as a body may have.
        around: Bytes of a body beside its events.
        between: Bytes between two events.
    """

    max_events: int
    max_bytes: int
    max_event_bytes: int | None = None
    around = 0
    between = 1

    def forward(self, event: AuditEvent) -> Ack:
        """
        Send *event*, and return the sink's receipt.

        Raises:
            SchemaMismatchError: The sink refuses it, or it is too long.
            SinkError: Anything else went wrong. Whether the sink has it is not known.
        """
        (told,) = self.forward_batch([event])
        if isinstance(told, Exception):
            raise told
        return cast("Ack", told)

    def forward_batch(self, events: Sequence[AuditEvent]) -> Sequence[Told]:
        """Send *events*, in as many bodies as it takes; see `forward`."""
        return sent(
            self.parts(events),
            partial(self.post_parts, monotonic() + self.deadline),
            most=self.max_events,
            max_bytes=max(1, self.max_bytes - self.around),
            between=self.between,
            max_part=self.max_event_bytes,
        )

    def parts(self, events: Sequence[AuditEvent]) -> Sequence[Part]:
        """Return what stands for each of *events* in a body."""
        raise NotImplementedError

    def post_parts(self, until: float, parts: Sequence[Part]) -> Sequence[Told]:
        """POST *parts* in one body, to be back at *until*; see `_batches.Post`."""
        raise NotImplementedError


def see_that_batches_make_sense(user: str, max_events: object, max_bytes: object) -> None:
    """
    See that both are integers of at least 1.

    Raises:
        ConfigurationError: One of them is not.
    """
    if not is_count(max_events) or not is_count(max_bytes):
        msg = f"{user}: max_events and max_bytes must be integers of at least 1"
        raise ConfigurationError(msg)


def document(answer: Answer) -> dict[str, Any]:
    """Return the JSON object that *answer* has as its body; an empty one, where it is none."""
    try:
        told = json.loads(answer.body) if answer.is_whole else None
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _see_that_they_are_known(connecting: Connecting, user: str) -> None:
    unknown = sorted(set(connecting) - set(Connecting.__annotations__))
    if unknown:
        msg = f"{user} has no option {', '.join(unknown)}; there are {', '.join(Connecting.__annotations__)}"
        raise TypeError(msg)


def _headers(headers: Mapping[str, str | Secret] | None, reserved: set[str], user: str) -> dict[str, str | Secret]:
    told: dict[str, str | Secret] = {}
    for name, value in dict(headers or {}).items():
        is_name = isinstance(name, str) and name.isascii() and name.replace("-", "").isalnum()
        if not is_name or name.lower() in reserved:
            msg = f"{user}(headers=...) must have names of letters, digits and hyphens, and none of {sorted(reserved)}"
            raise ConfigurationError(msg)
        told[name] = secret(value, f"{user}(headers=...)[{name!r}]")
    return told
