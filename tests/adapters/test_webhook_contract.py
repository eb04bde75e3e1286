"""`WebhookForwarder` keeps what `SinkContract` asks of every forwarder whose sink speaks HTTP."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

from sigra_forward.testing import ReceivedRequest, SinkContract
from sigra_forward_http import WebhookForwarder

KEY = b"the-signing-key-of-32-bytes-0123"
SECRET = f"whsec_{b64encode(KEY).decode()}"
QUERY_TOKEN = "query-token-5d41402abc4b"
HEADER_TOKEN = "header-token-7d793037a076"


class TestWebhookForwarder(SinkContract):
    """One event at a time, as JSON."""

    secrets = (b64encode(KEY).decode(), KEY.decode(), repr(KEY), QUERY_TOKEN, HEADER_TOKEN)
    options: dict[str, Any] = {}

    def forwarder_for(self, url: str, **options: Any) -> WebhookForwarder:
        return WebhookForwarder(
            f"{url}/hooks?token={QUERY_TOKEN}",
            SECRET,
            headers={"X-Token": HEADER_TOKEN},
            **self.options,
            **options,
        )

    def tls_forwarder_for(self, url: str, ca_file: Path, **options: Any) -> WebhookForwarder:
        return self.forwarder_for(url, ca=ca_file, **options)

    def ids_in(self, request: ReceivedRequest) -> list[str]:
        told = json.loads(request.body)
        return [event["id"] for event in (told if isinstance(told, list) else [told])]


class TestWebhookForwarderOfBatches(TestWebhookForwarder):
    """Several events at once, as a JSON array."""

    options = {"batch": True}
