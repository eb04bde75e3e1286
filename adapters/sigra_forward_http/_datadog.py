"""`DatadogForwarder`: events to Datadog's logs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

from typing_extensions import Unpack

from sigra_forward import Ack, AuditEvent, ConfigurationError
from sigra_forward.sinks.adapter import is_count, json_texts
from sigra_forward_http._batches import Part
from sigra_forward_http._secret import Secret, secret
from sigra_forward_http._sink import Connecting, HTTPBatchSink

USER = "DatadogForwarder"

PATH = "/api/v2/logs"

MAX_EVENTS = 1000
MAX_BYTES = 5_000_000
MAX_EVENT_BYTES = 1_000_000
"""What Datadog takes, before compression: https://docs.datadoghq.com/api/latest/logs/. Of a longer log it would keep a
part, and say yes."""

MAX_AGE = timedelta(hours=18)
"""Older timestamps Datadog does not take; it then takes the time of arrival."""

_SITE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_TAG = re.compile(r"[^,\s][^,]*")


class DatadogForwarder(HTTPBatchSink):
    """
    Send events to Datadog's logs.

    A 202 is yes; 400 and 413 refuse the event. What Datadog would silently cut, a log of more than a million bytes, is
    refused here. An event that is older than the 18 hours which Datadog takes goes out without a timestamp, so that it
    is found under the time of its arrival, and with the attribute ``late``; its own time is in ``audit.occurred_at``.

    Args:
        api_key: The API key.
        site: Datadog's site, such as ``"datadoghq.eu"``.
        url: Where to instead: https, or http on this machine itself.
        service: The service.
        source: Datadog's ``ddsource``.
        hostname: The host that events come from.
        tags: Tags, by name.
        max_events: How many at once, 1000 at most.
        connecting: `Connecting`: ``deadline``, 30 seconds, ``connect_timeout``, ``read_timeout``, ``ca``,
            ``certificate``, ``allow``.

    Raises:
        ConfigurationError: An option makes no sense. The message quotes neither the URL nor the key.
    """

    def __init__(
        self,
        api_key: str | Secret,
        *,
        site: str = "datadoghq.com",
        url: str | None = None,
        service: str | None = None,
        source: str = "sigra_forward",
        hostname: str | None = None,
        tags: Mapping[str, str] | None = None,
        max_events: int = MAX_EVENTS,
        **connecting: Unpack[Connecting],
    ) -> None:
        if not is_count(max_events) or max_events > MAX_EVENTS:
            msg = f"{USER}(max_events=...) must be an integer from 1 to {MAX_EVENTS}, which is all that Datadog takes"
            raise ConfigurationError(msg)
        if not isinstance(site, str) or not _SITE.fullmatch(site):
            msg = f"{USER}(site=...) must be one of Datadog's sites, such as 'datadoghq.com' or 'datadoghq.eu'"
            raise ConfigurationError(msg)
        for name, value in {"service": service, "source": source, "hostname": hostname}.items():
            if not isinstance(value, (str, type(None))) or value == "":
                msg = f"{USER}({name}=...) must be a str that is not empty"
                raise ConfigurationError(msg)
        super().__init__(
            f"https://http-intake.logs.{site}" if url is None else url,
            USER,
            headers={"DD-API-KEY": secret(api_key, f"{USER}(api_key=...)")},
            target=PATH,
            gzip=True,
            deadline=30.0,
            connecting=connecting,
        )
        self.max_events, self.max_bytes, self.around = max_events, MAX_BYTES, 2
        self.max_event_bytes = MAX_EVENT_BYTES
        told = {"ddsource": source, "service": service, "hostname": hostname, "ddtags": _tags(tags)}
        self._shared = {name: value for name, value in told.items() if value}

    def post_parts(self, until: float, parts: Sequence[Part]) -> Sequence[Ack]:
        body = b"[" + b",".join(part.text for part in parts) + b"]"
        answer = self.post(body, "application/json", until=until)
        if answer.status != 202:
            raise self.fault(answer, [part.event for part in parts], refused=(400, 413))
        return [Ack(status="accepted")] * len(parts)

    def parts(self, events: Sequence[AuditEvent]) -> list[Part]:
        oldest = datetime.now(timezone.utc) - MAX_AGE
        return [
            Part(event, f'{self._log(event, oldest)},"audit":{text}}}'.encode())
            for event, text in zip(events, json_texts(events), strict=True)
        ]

    def _log(self, event: AuditEvent, oldest: datetime) -> str:
        """Return what Datadog is told beside the event, as JSON that is not ended."""
        is_late = event.occurred_at < oldest
        time = {"late": True} if is_late else {"timestamp": int(event.occurred_at.timestamp() * 1000)}
        told = {**self._shared, "message": event.action, "status": _STATUSES.get(event.outcome or "", "info"), **time}
        return json.dumps(told, separators=(",", ":"))[:-1]


_STATUSES = {"failure": "warn", "error": "error"}


def _tags(tags: Mapping[str, str] | None) -> str:
    told = [f"{name}:{value}" for name, value in dict(tags or {}).items()]
    if not all(map(_TAG.fullmatch, told)):
        msg = f"{USER}(tags=...) must be texts without a comma by names without one"
        raise ConfigurationError(msg)
    return ",".join(told)
