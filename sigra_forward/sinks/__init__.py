"""Forwarders that need no library."""

from __future__ import annotations

from sigra_forward.sinks._jsonl import JSONLForwarder
from sigra_forward.sinks._noop import NoopForwarder

__all__ = ["JSONLForwarder", "NoopForwarder"]
