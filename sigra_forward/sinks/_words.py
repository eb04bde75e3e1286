"""`words_of`: what a sink says, without what it echoes of the events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import chain
from typing import Any

from sigra_forward._event import AuditEvent
from sigra_forward._names import bounded

MAX_WORDS = 300
"""Characters that are kept of what a sink says."""

_SHINGLE = 6
"""Characters in a row that count as an echo, wherever they stand in a value; a shorter value is looked for whole."""

_SHORTEST = 3
"""Characters of the shortest value that is looked for: what is shorter is in every sentence."""

_LOOKED_AT = 1024
"""Characters of what it says that are looked at: each six of them are looked for in all that was sent."""


def words_of(text: str, events: Iterable[AuditEvent], secrets: Iterable[str] = ()) -> str:
    """
    Return what a sink has said as one line of at most 300 characters, without what it quotes of *events*.

    Sinks quote what they refuse, and what they say is kept, logged and told. So whatever stands in a value of an event,
    six characters in a row or a shorter value as a whole, is replaced by "…". The events' ids and actions stay, and
    what they are kinds of.

    Args:
        text: What it says.
        events: What was sent.
        secrets: What else must not be seen, such as the token that was sent with it.
    """
    line = " ".join(text[:_LOOKED_AT].split())
    values = chain(chain.from_iterable(map(_values, events)), chain.from_iterable(map(_texts, secrets)))
    return bounded(_without(line, {value.casefold() for value in values}), MAX_WORDS)


def _without(line: str, values: set[str]) -> str:
    folded = line.casefold()
    if len(folded) != len(line):  # positions would not fit
        line = folded
    echoed = bytearray(len(line))
    long = "\0".join(value for value in values if len(value) >= _SHINGLE)
    for start in range(len(folded) - _SHINGLE + 1):
        if folded[start : start + _SHINGLE] in long:
            echoed[start : start + _SHINGLE] = b"\1" * _SHINGLE
    for value in values:
        if _SHORTEST <= len(value) < _SHINGLE:
            for found in re.finditer(f"(?={re.escape(value)})", folded):
                echoed[found.start() : found.start() + len(value)] = b"\1" * len(value)
    kept = [
        "" if is_echo and place and echoed[place - 1] else "…" if is_echo else letter
        for place, (letter, is_echo) in enumerate(zip(line, echoed, strict=True))
    ]
    return "".join(kept)


def _values(event: AuditEvent) -> Iterator[str]:
    for name, value in event.to_dict().items():
        if name not in _TOLD:
            yield from _texts(value)


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in *value*, keys included, and its numbers, in the ways in which a sink may quote them."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        for spelled in {value, json.dumps(value)[1:-1], escape(value)}:
            yield " ".join(spelled.split())
    elif value is not None and not isinstance(value, bool):
        yield str(value)


_TOLD = frozenset({"id", "source", "action", "outcome", "actor_type", "target_type"})
"""What all who are told of a delivery may know, and kinds of things, which are words like any other."""
