"""`OTLPForwarder`: events as OpenTelemetry's log records, by OTLP over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from typing_extensions import Unpack

from sigra_forward import Ack, AuditEvent, ConfigurationError, SchemaMismatchError, SinkError, __version__
from sigra_forward_http._batches import Part
from sigra_forward_http._secret import Secret
from sigra_forward_http._sink import Connecting, HTTPBatchSink, document, see_that_batches_make_sense

USER = "OTLPForwarder"

PATH = "/v1/logs"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)

_SEVERITIES = {"failure": (13, "WARN"), "error": (17, "ERROR")}
_INFO = (9, "INFO")


class OTLPForwarder(HTTPBatchSink):
    """
    Send events as OpenTelemetry's log records, by OTLP over HTTP, in JSON.

    A 200 is yes, unless it says by ``partialSuccess`` that records were rejected. Which ones it never says: of several
    records each half is sent again until it is known, so that a collector hears of those that it has taken more than
    once, under the same ``audit.id``. 400, 413 and 422 refuse the event; all else is the sink's fault.

    Args:
        url: The collector's: https, or http on this machine itself; ``/v1/logs`` where it has no path.
        headers: Further headers, such as a token; none of them is ever shown.
        resource: Attributes of the resource that events come from.
        gzip: Whether bodies are compressed, which every collector takes.
        max_events: How many at once.
        max_bytes: Bytes of a body before it is compressed. A batch is split at it; an event that is longer is refused.
        connecting: `Connecting`: ``deadline``, 30 seconds, ``connect_timeout``, ``read_timeout``, ``ca``,
            ``certificate``, ``allow``.

    Raises:
        ConfigurationError: An option makes no sense. The message quotes neither the URL nor a header.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        resource: Mapping[str, str] | None = None,
        gzip: bool = True,
        max_events: int = 500,
        max_bytes: int = 2**22,
        **connecting: Unpack[Connecting],
    ) -> None:
        see_that_batches_make_sense(USER, max_events, max_bytes)
        told = dict(resource or {})
        if not all(isinstance(text, str) for pair in told.items() for text in pair):
            msg = f"{USER}(resource=...) must be texts by name, such as {{'service.name': 'shop'}}"
            raise ConfigurationError(msg)
        super().__init__(url, USER, headers=headers, target=PATH, gzip=gzip, deadline=30.0, connecting=connecting)
        self.max_events = max_events
        self.max_bytes = max_bytes
        named = json.dumps({"attributes": _attributes({"service.name": "sigra_forward", **told})})
        scope = json.dumps({"name": "sigra_forward", "version": __version__})
        self._begin = f'{{"resourceLogs":[{{"resource":{named},"scopeLogs":[{{"scope":{scope},"logRecords":['.encode()
        self.around = len(self._begin) + len(_END)

    def post_parts(self, until: float, parts: Sequence[Part]) -> Sequence[Ack]:
        body = self._begin + b",".join(part.text for part in parts) + _END
        answer = self.post(body, "application/json", until=until)
        events = [part.event for part in parts]
        if answer.status != 200:
            raise self.fault(answer, events)
        if not answer.is_whole:
            reason = "unexpected_answer"
            raise SinkError(reason, detail="the answer was cut: whether records were rejected is not known")
        partial_success = document(answer).get("partialSuccess")
        rejected = _number(partial_success.get("rejectedLogRecords")) if isinstance(partial_success, dict) else 0
        if rejected:
            words = self.words(partial_success.get("errorMessage", ""), events)  # type: ignore[union-attr]
            msg = f"partial_success: {rejected} of {len(parts)} records were rejected: {words}"
            raise SchemaMismatchError(msg)
        return [Ack(status="accepted")] * len(parts)

    def parts(self, events: Sequence[AuditEvent]) -> list[Part]:
        now = str(_nanoseconds(datetime.now(timezone.utc)))
        return [Part(event, json.dumps(_record(event, now), separators=(",", ":")).encode()) for event in events]


_END = b"]}]}]}"


def _record(event: AuditEvent, now: str) -> dict[str, Any]:
    number, text = _SEVERITIES.get(event.outcome or "", _INFO)
    told = event.to_dict()
    return {
        "timeUnixNano": str(_nanoseconds(event.occurred_at)),
        "observedTimeUnixNano": now,
        "severityNumber": number,
        "severityText": text,
        "eventName": told["action"],
        "body": {"stringValue": told["action"]},
        "attributes": _attributes({f"audit.{name}": value for name, value in told.items() if value not in (None, {})}),
    }


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in values.items()]


def _any_value(value: Any) -> dict[str, Any]:
    """Return *value*, which JSON knows, as OTLP's ``AnyValue``: integers of 64 bits are text there."""
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _attributes(value)}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if value < 2**63 else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {} if value is None else {"stringValue": value}


def _nanoseconds(moment: datetime) -> int:
    """Return *moment* as OTLP tells it; what was before 1970 it cannot tell."""
    return max(0, (moment - _EPOCH) // _MICROSECOND * 1000)


def _number(value: object) -> int:
    """Return an integer of 64 bits, which JSON has as a number or as text; 0 where it is none."""
    text = str(value) if isinstance(value, (str, int)) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
