"""`SplunkHECForwarder`: events to Splunk's HTTP Event Collector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from typing_extensions import Unpack

from sigra_forward import Ack, AuditEvent, ConfigurationError, SchemaMismatchError, SinkError
from sigra_forward.sinks.adapter import json_texts
from sigra_forward_http._batches import Part
from sigra_forward_http._secret import Secret, secret
from sigra_forward_http._sink import Connecting, HTTPBatchSink, document, see_that_batches_make_sense
from sigra_forward_http._transport import Answer

USER = "SplunkHECForwarder"

PATH = "/services/collector/event"
ACK_PATH = "/services/collector/ack"

SUCCESS = 0
REFUSED_CODES = frozenset({5, 6, 7, 12, 13})
"""No data, invalid data format, incorrect index, no event field, a blank one: what the event is at fault for."""

FIRST_POLL = 0.1
LONGEST_POLL = 2.0
"""Seconds between two questions whether events are indexed: twice as many each time."""


class SplunkHECForwarder(HTTPBatchSink):
    """
    Send events to Splunk's HTTP Event Collector.

    Without acknowledgement a yes means that Splunk has *received* the event, before it is indexed: what is in memory
    when an indexer dies is lost, and nobody is told. With ``acknowledge`` a yes means *indexed*, and an event whose
    acknowledgement does not come in time stays owed.

    Args:
        url: The collector's: https, or http on this machine itself; ``/services/collector/event`` where it has no path.
        token: The token.
        index: The index; ``None``: the token's own.
        sourcetype: The sourcetype.
        host: The host that events come from; ``None``: whom Splunk sees.
        acknowledge: Whether to wait until events are indexed. It must be enabled for the token.
        max_events: How many at once.
        max_bytes: Bytes of a body before it is compressed. A batch is split at it; an event that is longer is refused.
        connecting: `Connecting`: ``deadline``, 30 seconds, or 120 with *acknowledge*, ``connect_timeout``,
            ``read_timeout``, ``ca``, ``certificate``, ``allow``.

    Raises:
        ConfigurationError: An option makes no sense. The message quotes neither the URL nor the token.
    """

    def __init__(
        self,
        url: str,
        token: str | Secret,
        *,
        index: str | None = None,
        sourcetype: str = "sigra_forward:audit",
        host: str | None = None,
        acknowledge: bool = False,
        max_events: int = 500,
        max_bytes: int = 2**20,
        **connecting: Unpack[Connecting],
    ) -> None:
        see_that_batches_make_sense(USER, max_events, max_bytes)
        for name, value in {"index": index, "sourcetype": sourcetype, "host": host}.items():
            if not isinstance(value, (str, type(None))) or value == "":
                msg = f"{USER}({name}=...) must be a str that is not empty"
                raise ConfigurationError(msg)
        hidden = secret(token, f"{USER}(token=...)")
        self._channel = str(uuid4()) if acknowledge else ""
        channel = {"X-Splunk-Request-Channel": self._channel} if acknowledge else {}
        super().__init__(
            url,
            USER,
            headers={"Authorization": _Authorization(hidden.reveal()), **channel},
            target=PATH,
            gzip=True,
            deadline=120.0 if acknowledge else 30.0,
            connecting=connecting,
        )
        self.max_events, self.between = max_events, 0
        self.max_bytes = max_bytes
        shared = {"source": None, "sourcetype": sourcetype, "index": index, "host": host}
        self._shared = {name: value for name, value in shared.items() if value is not None}

    def post_parts(self, until: float, parts: Sequence[Part]) -> Sequence[Ack]:
        body = b"".join(part.text for part in parts)
        answer = self.post(body, "application/json", until=until)
        told = document(answer)
        if answer.status != 200 or told.get("code") != SUCCESS:
            raise self._no(answer, told, [part.event for part in parts])
        if not self._channel:
            return [Ack(status="received")] * len(parts)
        number = told.get("ackId")
        if type(number) is not int:
            reason = "no_ack_id"
            raise SinkError(reason, detail="Splunk acknowledges nothing: enable indexer acknowledgement for the token")
        self._wait_until_indexed(number, until)
        return [Ack(str(number), "indexed")] * len(parts)

    def _no(self, answer: Answer, told: dict[str, Any], events: Sequence[AuditEvent]) -> Exception:
        """Return what an answer that is no yes means, by Splunk's own code where it has one."""
        code, words = told.get("code"), self.words(told.get("text", ""), events)
        is_code = type(code) is int
        if answer.status == 413 or (answer.status == 400 and is_code and code in REFUSED_CODES):
            return SchemaMismatchError(f"http_{answer.status}" + (f": {words} (code {code})" if is_code else ""))
        if answer.status == 200:
            reason = f"code_{code}" if is_code else "unexpected_answer"
            return SinkError(reason, detail=words or "Splunk did not say that it has it")
        return self.fault(answer, events, refused=())

    def _wait_until_indexed(self, number: int, until: float) -> None:
        body, target, wait = json.dumps({"acks": [number]}).encode(), f"{ACK_PATH}?channel={self._channel}", FIRST_POLL
        while True:
            answer = self.post(body, "application/json", target=target, until=until)
            acks = document(answer).get("acks")
            if answer.status != 200 or not isinstance(acks, dict):
                raise self.fault(answer, [], refused=())
            if acks.get(str(number)) is True:
                return
            if monotonic() + wait >= until:
                reason = "not_indexed"
                raise SinkError(reason, detail="Splunk did not acknowledge in time that the events are indexed")
            sleep(wait)
            wait = min(2 * wait, LONGEST_POLL)

    def parts(self, events: Sequence[AuditEvent]) -> list[Part]:
        return [
            Part(event, f'{_envelope(event, self._shared)},"event":{text}}}'.encode())
            for event, text in zip(events, json_texts(events), strict=True)
        ]


def _envelope(event: AuditEvent, shared: dict[str, Any]) -> str:
    """Return what Splunk is told beside the event, as JSON that is not ended."""
    told = {"time": round(event.occurred_at.timestamp(), 6), "source": event.source, **shared}
    return json.dumps(told, separators=(",", ":"))[:-1]


class _Authorization(Secret):
    """The header's value, which has a blank in it."""

    __slots__ = ()

    def reveal(self) -> str:
        """Return ``Splunk`` and the token."""
        return f"Splunk {super().reveal()}"
