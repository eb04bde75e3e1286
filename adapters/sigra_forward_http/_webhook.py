"""`WebhookForwarder`: events as Standard Webhooks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from time import monotonic, time
from typing import Literal
from urllib.parse import quote

from typing_extensions import Unpack

from sigra_forward import AuditEvent, ConfigurationError
from sigra_forward.errors import SinkDisabledError
from sigra_forward.sinks.adapter import json_texts
from sigra_forward_http._batches import Part, Told, sent, too_long
from sigra_forward_http._signature import Signer
from sigra_forward_http._sink import Connecting, HTTPSink, see_that_batches_make_sense

USER = "WebhookForwarder"

_TYPES = {
    ("json", False): "application/json",
    ("json", True): "application/json",
    ("cloudevents", False): "application/cloudevents+json",
    ("cloudevents", True): "application/cloudevents-batch+json",
}

_OURS = ("webhook-id", "webhook-timestamp", "webhook-signature")

_IN_A_HEADER = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")  # so that two keys never become one


class WebhookForwarder(HTTPSink):
    """
    POST each event to a URL, signed by Standard Webhooks.

    A 2xx is yes. 400, 413 and 422 refuse the event; all else is the sink's fault: redirects, which are never followed,
    a wrong address (404), missing rights (401, 403), and trouble. After a 410 the lane stands still until somebody
    enables it. The ``webhook-id`` is the event's idempotency key: it is the same whenever the event is sent again, and
    each time is signed anew.

    The connection goes to public addresses alone: not to one of a private network, this machine, or a cloud's metadata,
    whatever the name resolves to. ``allow`` opens what is meant. A URL that names this machine itself may go there.

    Args:
        url: Where to: https, or http on this machine itself.
        secrets: ``whsec_`` and the base64 of 24 to 64 random bytes; several of them while you change it.
        format: ``"json"``: `AuditEvent.to_dict`; ``"cloudevents"``: CloudEvents 1.0 in structured mode, with that as
            its data.
        batch: Whether the relay may send several at once, as a JSON array, or a batch of CloudEvents. Then the
            ``webhook-id`` is of all of them together.
        max_events: How many at once.
        max_bytes: Bytes of a body. A batch is split at it; an event that is longer is refused, and not sent.
        headers: Further headers, none of which is ever shown.
        connecting: `Connecting`: ``deadline``, 15 seconds, ``connect_timeout``, ``read_timeout``, ``ca``,
            ``certificate``, ``allow``.

    Raises:
        ConfigurationError: An option makes no sense. The message quotes neither the URL nor a secret.
    """

    def __init__(
        self,
        url: str,
        secrets: str | Sequence[str],
        *,
        format: Literal["json", "cloudevents"] = "json",  # noqa: A002 - as it is called everywhere
        batch: bool = False,
        max_events: int = 100,
        max_bytes: int = 2**18,
        headers: Mapping[str, str] | None = None,
        **connecting: Unpack[Connecting],
    ) -> None:
        if format not in ("json", "cloudevents"):
            msg = f"{USER}: format must be 'json' or 'cloudevents'"
            raise ConfigurationError(msg)
        see_that_batches_make_sense(USER, max_events, max_bytes)
        super().__init__(url, USER, headers=headers, reserved=_OURS, deadline=15.0, connecting=connecting)
        self.max_events = max_events if batch else 1
        self._max_bytes = max_bytes
        self._format = format
        self._signer = Signer(secrets, f"{USER}(secrets=...)")
        if batch:
            self.forward_batch = self._forward_batch

    def forward(self, event: AuditEvent) -> None:
        """
        POST *event*.

        Raises:
            SchemaMismatchError: The sink refuses it, or it is too long.
            SinkError: Anything else went wrong. Whether the sink has it is not known.
        """
        (part,) = self._parts([event])
        if len(part.text) > self._max_bytes:
            raise too_long(len(part.text), self._max_bytes)
        self._post(part.text, event.idempotency_key, [event], monotonic() + self.deadline, is_batch=False)

    def _forward_batch(self, events: Sequence[AuditEvent]) -> Sequence[Told]:
        """POST *events*, as an array, in as many bodies as it takes; see `forward`."""
        post = partial(self._post_all, monotonic() + self.deadline)
        return sent(self._parts(events), post, most=self.max_events, max_bytes=self._max_bytes - 2)

    def _post_all(self, until: float, parts: Sequence[Part]) -> Sequence[Told]:
        events = [part.event for part in parts]
        keys = "\n".join(event.idempotency_key for event in events)
        body = b"[" + b",".join(part.text for part in parts) + b"]"
        self._post(body, f"batch_{sha256(keys.encode()).hexdigest()}", events, until, is_batch=True)
        return [None] * len(parts)

    def _post(self, body: bytes, key: str, events: Sequence[AuditEvent], until: float, *, is_batch: bool) -> None:
        message_id, timestamp = quote(key, safe=_IN_A_HEADER), int(time())
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": self._signer.signed(message_id, timestamp, body),
        }
        answer = self.post(body, _TYPES[self._format, is_batch], headers=headers, until=until)
        if answer.status == 410:
            reason = "http_410"
            raise SinkDisabledError(reason, detail=f"{self._endpoint} wants no more webhooks")
        if not 200 <= answer.status < 300:
            raise self.fault(answer, events)

    def _parts(self, events: Sequence[AuditEvent]) -> list[Part]:
        texts = json_texts(events)
        if self._format == "cloudevents":
            texts = [_cloud_event(event, text) for event, text in zip(events, texts, strict=True)]
        return [Part(event, text.encode()) for event, text in zip(events, texts, strict=True)]


def _cloud_event(event: AuditEvent, data: str) -> str:
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": quote(event.source, safe=_IN_A_HEADER),
        "type": event.action,
        "time": event.occurred_at.isoformat(),
        "datacontenttype": "application/json",
    }
    told = json.dumps(attributes, separators=(",", ":"))
    return f'{told[:-1]},"data":{data}}}'
