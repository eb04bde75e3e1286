"""How a batch becomes bodies that are short enough, and what is answered for each of its events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from attrs import frozen

from sigra_forward import Ack, AuditEvent, SchemaMismatchError, SinkError

Told: TypeAlias = "Ack | Exception | None"


@frozen
class Part:
    """One event, and the bytes that stand for it in a body."""

    event: AuditEvent
    text: bytes


Post: TypeAlias = "Callable[[Sequence[Part]], Sequence[Told]]"
"""POSTs some events in one body, and returns what the sink says of each; raises what it says of all."""


def bodies(parts: Sequence[Part], most: int, max_bytes: int, between: int) -> Iterator[Sequence[Part]]:
    """
    Yield *parts* in order, as many at a time as a body takes.

    Args:
        parts: None of them is longer than a body may be.
        most: Events in one body.
        max_bytes: Bytes in one body.
        between: Bytes that stand between two events.
    """
    body: list[Part] = []
    size = 0
    for part in parts:
        added = len(part.text) + between
        if body and (len(body) >= most or size + added > max_bytes):
            yield body
            body, size = [], 0
        body.append(part)
        size += added
    if body:
        yield body


def sent(
    parts: Sequence[Part], post: Post, *, most: int, max_bytes: int, between: int = 1, max_part: int | None = None
) -> list[Told]:
    """
    POST *parts* in as many bodies as it takes, and return what the sink says of each event.

    What the sink has taken counts, whatever becomes of the rest: where it fails half-way, the rest is answered with
    that. An event that is too long alone is refused, and sent to nobody.

    Args:
        parts: The events.
        post: POSTs some of them.
        most: Events in one body.
        max_bytes: Bytes in one body.
        between: Bytes that stand between two events.
        max_part: Bytes of one event; ``None``: as many as a body may have.

    Raises:
        SchemaMismatchError: All of it was one body, and the sink refuses it: which event is at fault is not known.
        SinkError: The sink failed before it took anything.
    """
    longest = max_bytes - between if max_part is None else min(max_part, max_bytes - between)
    fitting = [part for part in parts if len(part.text) <= longest]
    several = list(bodies(fitting, most, max_bytes, between))
    if len(several) == 1 and len(fitting) == len(parts):
        return list(post(fitting))
    answers: list[Told] = []
    for body in several:
        try:
            answers += _each(body, post)
        except SinkError as exc:
            if not answers:
                raise
            answers.append(exc)
        if isinstance(answers[-1], SinkError):
            answers += answers[-1:] * (len(fitting) - len(answers))
            break
    rest = iter(answers)
    return [next(rest) if len(part.text) <= longest else too_long(len(part.text), longest) for part in parts]


def too_long(size: int, max_bytes: int) -> SchemaMismatchError:
    """Return why an event is refused that no body can hold."""
    return SchemaMismatchError(f"too_long: the event takes {size} bytes, and {max_bytes} are allowed")


def _each(body: Sequence[Part], post: Post) -> Sequence[Told]:
    """POST *body*, in halves where it is refused, until it is known which events are at fault."""
    try:
        return post(body)
    except SchemaMismatchError as exc:
        if len(body) == 1:
            return [exc]
    middle = len(body) // 2
    answers = list(_each(body[:middle], post))
    if not isinstance(answers[-1], SinkError):
        try:
            return [*answers, *_each(body[middle:], post)]
        except SinkError as exc:
            answers.append(exc)
    return answers + answers[-1:] * (len(body) - len(answers))
