"""What may stand in a name or a reference: rules for text that travels in jobs, keys and logs."""

from __future__ import annotations

import re
from typing import TypeGuard

MAX_LENGTH = 255

# Categories Cc, Zl, Zp and Cs. A regular expression is 20 times faster than asking unicodedata per character.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_name_of_type = type.__dict__["__name__"].__get__  # a metaclass may answer for itself, and raise
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,255}")

REFERENCE_RULE = "1 to 255 characters, none of them a control, surrogate, line or paragraph separator"
NAME_RULE = "1 to 255 of A-Z a-z 0-9 _ . : -"


def is_reference(value: object) -> TypeGuard[str]:
    """Tell whether *value* can stand in job args: an exact `str` that keeps `REFERENCE_RULE`."""
    if type(value) is not str or not 0 < len(value) <= MAX_LENGTH:
        return False
    return (value.isascii() and value.isprintable()) or is_harmless(value)  # nearly all are told without a call


def is_harmless(text: str) -> bool:
    """Tell whether none of *text* is a control, surrogate, line or paragraph separator."""
    return (text.isascii() and text.isprintable()) or _FORBIDDEN.search(text) is None  # the first is twice as fast


def is_name(value: object) -> bool:
    """Tell whether *value* can name a forwarder, a source or a queue: an exact `str` that keeps `NAME_RULE`."""
    return type(value) is str and _NAME.fullmatch(value) is not None


def bounded(text: str, limit: int) -> str:
    """Return *text* with what could break a log line made visible, cut to *limit* characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def type_name(value: object) -> str:
    """Return the name of *value*'s type: all that is kept of a foreign exception."""
    return bounded(_name_of_type(type(value)), MAX_LENGTH)
