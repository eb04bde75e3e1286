"""Forwarders to sinks that speak HTTP."""

from __future__ import annotations

from sigra_forward.sinks.adapter import require

require("urllib3", "2.8", extra="http")

from sigra_forward_http._datadog import DatadogForwarder  # noqa: E402
from sigra_forward_http._otlp import OTLPForwarder  # noqa: E402
from sigra_forward_http._splunk import SplunkHECForwarder  # noqa: E402
from sigra_forward_http._webhook import WebhookForwarder  # noqa: E402

__all__ = ["DatadogForwarder", "OTLPForwarder", "SplunkHECForwarder", "WebhookForwarder"]
