"""`Sender`: hands events to one forwarder, in batches where it takes them, and finds which of them it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

from sigra_forward._attempt import UNEXPECTED_RETURN, answered, own_words, refused
from sigra_forward._awaitables import close_if_awaitable
from sigra_forward._names import type_name
from sigra_forward._outcome import Fault, Outcome, Result
from sigra_forward.relay._verdicts import Said, Tally

if TYPE_CHECKING:
    from sigra_forward._event import AuditEvent
    from sigra_forward._route import Route
    from sigra_forward._steps import Call

Batch: TypeAlias = "list[tuple[AuditEvent, AuditEvent]]"
"""Committed events, each with what the sink shall see of it."""

_YES = answered(None)

_ROW = 256
"""Bytes that an event takes at least, as JSON."""


class Sender:
    """
    The way to one forwarder.

    Args:
        route: Where it goes, and how events are changed on the way.
        call: Calls a port, and awaits what it gives where it is async.
        before_call: Called before each call to the sink; what it raises goes through.
        max_bytes: Estimated bytes of the rows that go out in one call.
        random: Draws witnesses.
    """

    def __init__(
        self,
        route: Route,
        call: Call,
        before_call: Callable[[], object] = lambda: None,
        *,
        max_bytes: int = 2**22,
        random: Random | None = None,
    ) -> None:
        self._route = route
        self._call = call
        self._before_call = before_call
        self._max_bytes = max_bytes
        self._random = random or Random()  # noqa: S311 - it draws an event
        self._in_hand: Sequence[AuditEvent] = ()
        self._answered: list[Batch] = []
        self._others: Callable[[], Sequence[AuditEvent]] = tuple
        self._witnesses: set[str] = set()
        forwarder: Any = route.forwarder
        batch = getattr(forwarder, "forward_batch", None)
        self._batch: Any = batch if callable(batch) else None
        self.max_events = getattr(forwarder, "max_events", 500) if self._batch else 1
        self.is_trusted = False
        """The sink has just shown that it is up: a batch that fails now fails because of an event in it."""

    def take(self, events: Sequence[AuditEvent], others: Callable[[], Sequence[AuditEvent]] = tuple) -> None:
        """
        Take *events* in hand, which are sent next: one of them is drawn as the witness where a failure is in doubt.

        Args:
            events: The events.
            others: Gives events that make better witnesses, where there are any.
        """
        self._in_hand, self._answered = events, []
        self._others = others
        self._witnesses = set()

    def batches(self, events: Sequence[AuditEvent], tally: Tally, *, singly: bool = False) -> Iterator[Batch]:
        """Yield *events* in batches that the sink takes, or *singly*; of what cannot be changed the *tally* hears."""
        most = 1 if singly else self.max_events
        batch: Batch = []
        size = 0
        for pair in self._outgoing(events, tally):
            added = estimated_size(pair[1])
            if batch and (len(batch) >= most or size + added > self._max_bytes):
                yield batch
                batch, size = [], 0
            batch.append(pair)
            size += added
        if batch:
            yield batch

    def send(self, batch: Batch, tally: Tally, *, is_known: bool = False) -> None:
        """
        Hand *batch* over; the *tally* hears what the sink says.

        Args:
            batch: The events, each with what the sink shall see of it.
            tally: Hears of it, and says when to stop.
            is_known: They have failed before: what happens now is taken as their fault, and not as the sink's.
        """
        if self._witnesses:
            batch = [pair for pair in batch if pair[0].id not in self._witnesses]
            if not batch:
                return
        results, fault = self._tried(batch)
        if fault is None or len(batch) == 1:  # each of them has its answer
            self._answered.append(batch)
        if fault is None:
            self._hear(batch, results, tally)
        elif fault.fault is Fault.SINK and (fault.retry_after or not (self.is_trusted or is_known)):
            tally.fail(Said(batch[0][0], fault))
        elif len(batch) == 1:
            tally.hear([Said(batch[0][0], fault)])
        else:
            self._bisect(batch, tally, is_known=is_known)
        if tally.is_doubtful:
            self._call_witness(tally)

    def probe(self, event: AuditEvent) -> Result:
        """Hand over one event, to see whether the sink is up, and return what it said."""
        tally = Tally()
        for pair in self._outgoing([event], tally):
            results, fault = self._tried([pair])
            return fault or results[0]
        return tally.charged[0].result

    def _call_witness(self, tally: Tally) -> None:
        """See by another event whose fault it is that several have failed in a row."""
        *_, said = tally.suspects.values()
        seen = tally.suspects.keys() | self._witnesses
        candidates = [event for event in self._others() if event.id not in seen]
        if not candidates:
            seen |= {event.id for batch in self._answered for event, _ in batch}
            candidates = [event for event in self._in_hand if event.id not in seen]
        if candidates:
            witness = drawn(candidates, self._random)
            said = Said(witness, self.probe(witness))
        if said.result.outcome is Outcome.OK:
            self._witnesses.add(said.event.id)
            tally.hear([said])
        else:
            tally.fail(said)

    def _outgoing(self, events: Sequence[AuditEvent], tally: Tally) -> Iterator[tuple[AuditEvent, AuditEvent]]:
        """Yield each of *events* with what the sink shall see of it; of what cannot be changed the tally hears."""
        if self._route.transform is None:
            yield from zip(events, events, strict=True)
            return
        for event in events:
            try:
                outgoing = self._route.outgoing(event)
            except Exception as exc:  # noqa: BLE001 - the host's own function
                tally.charged.append(
                    Said(event, Result(Outcome.ERROR, type_name(exc), own_words(exc), Fault.EVENT, exception=exc))
                )
                continue
            yield event, outgoing

    def _hear(self, batch: Batch, results: Sequence[Result], tally: Tally) -> None:
        self.is_trusted = self.is_trusted and len(batch) == 1
        said = [Said(event, result) for (event, _), result in zip(batch, results, strict=True)]
        faults = [each for each in said if each.result.fault is Fault.SINK]
        tally.hear([each for each in said if each.result.fault is not Fault.SINK] if faults else said)
        if faults and tally.stop is None:
            tally.fail(faults[0])

    def _bisect(self, batch: Batch, tally: Tally, *, is_known: bool) -> None:
        middle, is_trusted = len(batch) // 2, self.is_trusted
        for half in (batch[:middle], batch[middle:]):
            if tally.stop is None:
                self.is_trusted = is_trusted
                self.send(half, tally, is_known=is_known)

    def _tried(self, batch: Batch) -> tuple[list[Result], Result | None]:
        """Call the sink once; return what it said of each event, or what is wrong with the call as a whole."""
        self._before_call()
        outgoing = [changed for _, changed in batch]
        try:
            if self._batch is None:
                answer = self._call(self._route.forwarder.forward, outgoing[0], self._route.deadline)
                return [answered(answer)], None
            answer = self._call(self._batch, outgoing, self._route.deadline)
        except Exception as exc:  # noqa: BLE001 - a sink may raise anything
            return [], refused(exc)
        return _told(answer, len(batch)), None


def _told(answer: object, count: int) -> list[Result]:
    """Return what a forwarder's answer to a batch says of each event."""
    if answer is None:
        return [_YES] * count
    if isinstance(answer, Sequence) and not isinstance(answer, (str, bytes)) and len(answer) == count:
        results = [_said(item) for item in answer]
        if all(result.reason != UNEXPECTED_RETURN for result in results):
            return results
    close_if_awaitable(answer)
    detail = (
        f"forward_batch() gave a {type_name(answer)}: it must give None, or for each event None, an Ack or an Exception"
    )
    return [Result(Outcome.ERROR, UNEXPECTED_RETURN, detail, Fault.EVENT)] * count


def _said(item: object) -> Result:
    return refused(item) if isinstance(item, Exception) else answered(item)


def drawn(events: Sequence[AuditEvent], random: Random) -> AuditEvent:
    """Draw one of *events*: every other time the newest, which passes where what made others fail is mended."""
    return random.choice(events) if random.random() < 0.5 else max(events, key=attrgetter("occurred_at"))


def estimated_size(event: AuditEvent) -> int:
    """Return roughly how many bytes *event* takes as JSON: its long texts, and a little for the rest."""
    size = _ROW
    for values in (event.metadata, event.extra):
        for value in values.values():
            size += len(value) if type(value) is str else 16 if type(value) in _SHORT else len(repr(value))
    return size


_SHORT = {int, float, bool, type(None)}
