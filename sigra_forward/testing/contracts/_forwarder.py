"""`ForwarderContract`: what every forwarder promises."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from sigra_forward._bridge import Bridge
from sigra_forward._outcome import Ack
from sigra_forward._route import Route
from sigra_forward.errors import SchemaMismatchError, SinkError
from sigra_forward.testing._events import make_event
from sigra_forward.testing.contracts._hostile import HOSTILE_TEXTS, run_in_threads

if TYPE_CHECKING:
    from sigra_forward._event import AuditEvent


class ForwarderContract:
    """
    Hold a forwarder, sync or async, to the port's promises.

    Give the fixture ``forwarder``, the fixture ``broken_forwarder``, and the method ``received``.
    """

    @pytest.fixture
    def forwarder(self) -> Any:
        """Return the forwarder, with a sink that accepts and holds nothing yet."""
        raise NotImplementedError

    @pytest.fixture
    def broken_forwarder(self) -> Any:
        """Return a forwarder whose sink is down: nothing listens, the disk is full, the directory is gone."""
        raise NotImplementedError

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
        """An event may come twice: that is no error, and the sink holds it once or twice."""
        event = make_event()

        _forward(forwarder, event)
        _forward(forwarder, event)

        assert {event.id} == set(self.received(forwarder))

    def test_accepts_an_event_with_required_fields_only(self, forwarder: Any) -> None:
        """Every optional field may be absent."""
        event = make_event(outcome=None, actor_id=None, actor_type=None, ip_address=None, metadata=None)

        _forward(forwarder, event)

        assert [event.id] == self.received(forwarder)

    def test_leaves_the_event_alone(self, forwarder: Any) -> None:
        """A forwarder does not change the metadata of the event that it is given."""
        event = make_event(metadata={"nested": {"list": [1, {"deep": True}]}})
        before = deepcopy(event.to_dict())

        _forward(forwarder, event)

        assert before == event.to_dict()

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
        began = monotonic()

        with pytest.raises((SinkError, OSError, TimeoutError)):
            _forward(broken_forwarder, make_event())

        assert monotonic() - began <= Route(broken_forwarder).deadline

    def test_accepts_a_batch(self, forwarder: Any) -> None:
        """A batch is answered with None, or with one answer per event in order, and the sink holds all."""
        if not hasattr(forwarder, "forward_batch"):
            return
        events = [make_event() for _ in range(min(5, getattr(forwarder, "max_events", 5)))]

        answers = _bridge.call(forwarder.forward_batch, events, None)

        assert answers is None or len(answers) == len(events)
        assert all(answer is None or isinstance(answer, Ack) for answer in answers or ())
        assert Counter(event.id for event in events) == Counter(self.received(forwarder))


_bridge = Bridge()


def _forward(forwarder: Any, event: AuditEvent) -> Any:
    """Forward *event*; an async forwarder runs on the library's own loop, as it does for an `AuditForward`."""
    return _bridge.call(forwarder.forward, event, Route(forwarder).deadline)


def _forward_all(forwarder: Any, events: list[AuditEvent]) -> None:
    for event in events:
        _forward(forwarder, event)
