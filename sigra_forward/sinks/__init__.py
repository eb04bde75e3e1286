"""Forwarders that need no library, and what forwarders are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sigra_forward._json_texts import json_texts
from sigra_forward.sinks._noop import NoopForwarder

if TYPE_CHECKING:
    from sigra_forward.sinks._jsonl import JSONLForwarder

__all__ = ["JSONLForwarder", "NoopForwarder", "json_texts"]


def __getattr__(name: str) -> object:
    """Load `JSONLForwarder` on first use: it needs a POSIX platform, and the others do not."""
    if name == "JSONLForwarder":
        from sigra_forward.sinks._jsonl import JSONLForwarder

        return JSONLForwarder
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
