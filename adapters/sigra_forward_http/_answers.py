"""What a sink's answer means: whose fault it is, and when to come again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from sigra_forward import AuditEvent, SchemaMismatchError, SinkError
from sigra_forward.sinks.adapter import words_of
from sigra_forward_http._transport import Answer

REFUSED = frozenset({400, 413, 422})
"""Statuses by which most sinks say that they will never take this event."""

_MAX_RETRY_AFTER_DIGITS = 9


def fault(
    answer: Answer, events: Sequence[AuditEvent], refused: Collection[int] = REFUSED, secrets: Iterable[str] = ()
) -> Exception:
    """
    Return what an answer that is no yes means: the events' fault, or else the sink's.

    Args:
        answer: The answer.
        events: What was sent, which what the sink says may quote.
        refused: The statuses that blame the events. All others blame the sink: a redirect or a wrong address, missing
            rights and trouble alike, for none of them is mended by another event.
        secrets: What was sent with it, and must not be seen.
    """
    words = words_of(answer.body.decode(errors="replace"), events, secrets)
    if answer.status in refused:
        return SchemaMismatchError(f"http_{answer.status}: {words}" if words else f"http_{answer.status}")
    return SinkError(f"http_{answer.status}", retry_after(answer), detail=words)


def retry_after(answer: Answer, now: datetime | None = None) -> float | None:
    """Return the seconds for which the sink asks to be left alone: it says so in seconds, or by a date."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) <= _MAX_RETRY_AFTER_DIGITS:
        return float(text) or None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    seconds = (moment - (now or datetime.now(timezone.utc))).total_seconds()
    return seconds if seconds > 0 else None
