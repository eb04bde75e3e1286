"""What the forwarders of adapters are made of: for those who write one. A forwarder's users need nothing of it."""

from __future__ import annotations

from sigra_forward._backoff import is_count
from sigra_forward._bounded import BoundedCaller
from sigra_forward._dependencies import require
from sigra_forward._fork import forget_after_fork
from sigra_forward._json_texts import json_texts
from sigra_forward._names import type_name
from sigra_forward._settle import seconds
from sigra_forward.sinks._words import words_of

__all__ = [
    "BoundedCaller",
    "forget_after_fork",
    "is_count",
    "json_texts",
    "require",
    "seconds",
    "type_name",
    "words_of",
]
