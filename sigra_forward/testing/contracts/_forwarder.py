"""`ForwarderContract`: what every forwarder promises."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from sigra_forward._bridge import Bridge
from sigra_forward._outcome import Ack
from sigra_forward._route import Route
from sigra_forward.errors import SchemaMismatchError, SinkError
from sigra_forward.ports import DEFAULT_DEADLINE
from sigra_forward.testing._events import make_event
from sigra_forward.testing.contracts._hostile import HOSTILE_TEXTS, run_in_threads, within

if TYPE_CHECKING:
    from sigra_forward._event import AuditEvent


class ForwarderContract:
    """
    Hold a forwarder, sync or async, to the port's promises.

    Give two fixtures, and the method ``received``:

    * ``forwarder``: the forwarder, with a sink that accepts and holds nothing yet.
    * ``broken_forwarder``: one whose sink is down: nothing listens, the disk is full, the directory is gone.
    """

    def received(self, forwarder: Any) -> list[str]:
        """Return the ids of the events that the sink of *forwarder* holds now, repeats included."""
        raise NotImplementedError

    def test_accepts_an_event(self, forwarder: Any) -> None:
        """Returning is yes: None or an Ack, and the sink holds the event."""
        event = make_event()

        answer = _forward(forwarder, event)

        assert answer is None or isinstance(answer, Ack)
        assert [event.id] == self.received(forwarder)

    def test_accepts_a_repeat(self, forwarder: Any) -> None:
        """An event may come twice: that is no error, the sink holds it once or twice, and its neighbours once."""
        before, event, after = make_event(), make_event(), make_event()

        for sent in (before, event, event, after):
            _forward(forwarder, sent)

        held = Counter(self.received(forwarder))
        assert held.pop(event.id) in {1, 2}
        assert {before.id: 1, after.id: 1} == held

    def test_accepts_an_event_with_required_fields_only(self, forwarder: Any) -> None:
        """Every optional field may be absent."""
        event = make_event(outcome=None, actor_id=None, actor_type=None, ip_address=None, metadata=None)

        _forward(forwarder, event)

        assert [event.id] == self.received(forwarder)

    def test_leaves_the_event_alone(self, forwarder: Any) -> None:
        """A forwarder does not change the metadata, or the extra columns, of the event that it is given."""
        nested = {"nested": {"list": [1, {"deep": True}]}}
        events = [make_event(metadata=deepcopy(nested), extra=deepcopy(nested)) for _ in range(2)]
        before = [event.to_dict() for event in events]

        _forward(forwarder, events[0])
        if hasattr(forwarder, "forward_batch"):
            _forward_batch(forwarder, events[1:])

        assert before == [event.to_dict() for event in events]

    @pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
    def test_hostile_text_forges_nothing(self, forwarder: Any, text: str) -> None:
        """Text of an event is data: it is accepted or refused as such, and the events around it arrive whole."""
        hostile = make_event(user_agent=text, metadata={text: text, "nested": [text]})
        before, after = make_event(), make_event()

        _forward(forwarder, before)
        try:
            _forward(forwarder, hostile)
            sent = [before.id, hostile.id, after.id]
        except SchemaMismatchError:
            sent = [before.id, after.id]
        _forward(forwarder, after)

        assert sorted(sent) == sorted(self.received(forwarder))

    def test_is_safe_for_threads(self, forwarder: Any) -> None:
        """Several threads forward at once, and every event arrives."""
        batches = [[make_event() for _ in range(10)] for _ in range(4)]

        run_in_threads([partial(_forward_all, forwarder, batch) for batch in batches])

        assert Counter(event.id for batch in batches for event in batch) == Counter(self.received(forwarder))

    def test_tells_its_deadline(self, forwarder: Any) -> None:
        """The deadline, 30 seconds where there is none, is a finite number of seconds above 0."""
        assert Route(forwarder).deadline > 0

    def test_blames_a_sink_that_is_down(self, broken_forwarder: Any) -> None:
        """A sink that is down is the sink's fault, told within the deadline and not by a crash of another kind."""
        deadline = Route(broken_forwarder).deadline

        with pytest.raises(_SINKS_FAULT):
            within(deadline + GRACE, _forward, broken_forwarder, make_event())

    def test_blames_a_sink_that_is_down_for_a_batch(self, broken_forwarder: Any) -> None:
        """For a batch it raises the same, or answers so for each of its events."""
        if not hasattr(broken_forwarder, "forward_batch"):
            return
        events = _batch(broken_forwarder, 2)
        deadline = Route(broken_forwarder).deadline

        try:
            answers: Any = within(deadline + GRACE, _forward_batch, broken_forwarder, events)
        except _SINKS_FAULT:
            return

        assert len(events) == len(answers)
        assert all(isinstance(answer, _SINKS_FAULT) for answer in answers)

    def test_accepts_a_batch(self, forwarder: Any) -> None:
        """A batch is answered with None, or with one answer per event in order, and the sink holds all."""
        if not hasattr(forwarder, "forward_batch"):
            return
        events = _batch(forwarder, 100)

        answers = _forward_batch(forwarder, events)

        assert answers is None or len(events) == len(answers)
        assert all(answer is None or isinstance(answer, Ack) for answer in answers or ())
        assert Counter(event.id for event in events) == Counter(self.received(forwarder))

    def test_hostile_text_in_a_batch_forges_nothing(self, forwarder: Any) -> None:
        """Text of an event is data in a batch too: what is not refused arrives, once."""
        if not hasattr(forwarder, "forward_batch"):
            return
        texts = list(HOSTILE_TEXTS.values())
        events = [make_event(user_agent=text, metadata={text: [text]}) for text in texts]
        size = len(_batch(forwarder, len(events)))
        sent = []

        for batch in [events[start : start + size] for start in range(0, len(events), size)]:
            try:
                answers = _forward_batch(forwarder, batch) or [None] * len(batch)
            except SchemaMismatchError:
                continue
            sent += [
                event.id
                for event, answer in zip(batch, answers, strict=True)
                if not isinstance(answer, SchemaMismatchError)
            ]

        assert Counter(sent) == Counter(self.received(forwarder))


GRACE = 0.25
"""Seconds beyond a deadline that are the test machine's own."""

_SINKS_FAULT = (SinkError, OSError, TimeoutError)

_bridge = Bridge()


def _forward(forwarder: Any, event: AuditEvent) -> Any:
    """Forward *event*; an async forwarder runs on the library's own loop, as it does for an `AuditForward`."""
    return _bridge.call(forwarder.forward, event, getattr(forwarder, "deadline", DEFAULT_DEADLINE))


def _forward_batch(forwarder: Any, events: list[AuditEvent]) -> Any:
    return _bridge.call(forwarder.forward_batch, events, None)


def _batch(forwarder: Any, size: int) -> list[AuditEvent]:
    return [make_event() for _ in range(min(size, getattr(forwarder, "max_events", size)))]


def _forward_all(forwarder: Any, events: list[AuditEvent]) -> None:
    for event in events:
        _forward(forwarder, event)
