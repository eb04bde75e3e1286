"""`Sender` and `Tally`: who is to blame for a failure, and what is sent once that is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sigra_forward import Ack, AuditEvent, CancelReason, Fault, Outcome, Route, SchemaMismatchError, SinkError
from sigra_forward._bridge import Bridge
from sigra_forward.relay._sending import Sender, estimated_size
from sigra_forward.relay._verdicts import Tally
from sigra_forward.testing import RecordingForwarder, make_event
from tests.support_ids import spelled
from tests.support_perform import raises

EVENTS = [make_event(id=f"e{number:02}") for number in range(16)]
IDS = [event.id for event in EVENTS]


class Batches:
    """Takes batches of up to *max_events*, and answers each by *answer*."""

    def __init__(self, answer: Callable[[list[str]], Any] = lambda _: None, max_events: int = 100) -> None:
        self._answer = answer
        self.max_events = max_events
        self.calls: list[list[str]] = []

    def forward(self, event: AuditEvent) -> Any:
        """Take one."""
        return self.forward_batch([event])

    def forward_batch(self, events: Sequence[AuditEvent]) -> Any:
        """Take several."""
        ids = [event.id for event in events]
        self.calls.append(ids)
        return self._answer(ids)


def failing(error: Exception, *poison: str) -> Callable[[list[str]], Any]:
    """Return an answer that raises *error* for a batch with one of *poison* in it."""

    def answer(ids: list[str]) -> None:
        if set(poison) & set(ids):
            raise error

    return answer


def sent(forwarder: Any, *, is_trusted: bool = False, is_known: bool = False, **options: Any) -> tuple[Tally, Sender]:
    """Send all events, and return what came of it."""
    sender = Sender(Route(forwarder, **options), Bridge().call)
    sender.is_trusted = is_trusted
    tally = Tally()
    for batch in sender.batches(EVENTS, tally, singly=is_known):
        if tally.stop is None:
            sender.send(batch, tally, is_known=is_known)
    return tally, sender


def names(said: Any) -> list[str]:
    """Return the ids."""
    return [each.event.id for each in said]


class TestBatches:
    """What goes out in one call."""

    def test_no_more_than_the_sink_takes(self) -> None:
        """By the number of events."""
        forwarder = Batches(max_events=7)

        tally, _ = sent(forwarder)

        assert [7, 7, 2] == [len(call) for call in forwarder.calls]
        assert IDS == names(tally.accepted)

    def test_no_more_than_so_many_bytes(self) -> None:
        """By what the rows are estimated to take; one that is larger goes by itself."""
        sizes = [100, 5000, 100, 100, 700, 100]
        events = [make_event(id=str(number), metadata={"text": "x" * size}) for number, size in enumerate(sizes)]
        sender = Sender(Route(Batches()), Bridge().call, max_bytes=1500)

        batches = [[event.id for event, _ in batch] for batch in sender.batches(events, Tally())]

        assert [["0"], ["1"], ["2", "3"], ["4", "5"]] == batches

    def test_the_size_is_told_by_what_is_long(self) -> None:
        """Texts, and what nests; all else is small."""
        small = estimated_size(make_event(metadata={"a": 1, "b": None, "c": True, "d": 0.5}))

        assert small < 400
        assert 10_000 < estimated_size(make_event(metadata={"text": "x" * 10_000})) < 10_400
        assert 3_000 < estimated_size(make_event(extra={"list": ["x" * 10] * 300})) < 6_000

    def test_a_forwarder_without_batches(self) -> None:
        """Each event is handed over by itself."""

        class Single:
            ids: list[str] = []

            def forward(self, event: AuditEvent) -> Ack:
                self.ids.append(event.id)
                return Ack(event.id)

        tally, _ = sent(Single())

        assert IDS == Single.ids
        assert IDS == [said.result.ack.ref for said in tally.accepted]

    def test_an_async_forwarder(self) -> None:
        """It is awaited on the library's own loop."""

        class Async:
            ids: list[str] = []
            max_events = 8

            async def forward(self, event: AuditEvent) -> None:
                raise AssertionError

            async def forward_batch(self, events: Sequence[AuditEvent]) -> None:
                self.ids.extend(event.id for event in events)

        assert IDS == names(sent(Async())[0].accepted)
        assert IDS == Async.ids

    def test_the_sink_sees_what_transform_makes(self) -> None:
        """All else uses the committed event; one that cannot be changed is charged, and not sent."""
        from attrs import evolve

        sink = RecordingForwarder()

        def redact(event: AuditEvent) -> AuditEvent:
            if event.id == "e03":
                raise ValueError
            return evolve(event, metadata={})

        tally, _ = sent(sink, transform=redact)

        assert ([*IDS[:3], *IDS[4:]], [{}] * 15) == (sink.ids, [event.metadata for event in sink.events])
        assert [("e03", "ValueError", Fault.EVENT)] == [
            (said.event.id, said.result.reason, said.result.fault) for said in tally.charged
        ]
        assert EVENTS[0].metadata == tally.accepted[0].event.metadata

    def test_whoever_must_is_asked_before_each_call(self) -> None:
        """What it raises goes through, and the call is not made."""
        forwarder = Batches(max_events=8)
        sender = Sender(Route(forwarder), Bridge().call, raises(KeyError()))
        (first, _) = sender.batches(EVENTS, Tally())

        with pytest.raises(KeyError):
            sender.send(first, Tally())
        assert [] == forwarder.calls


class TestBlame:
    """Whose fault it is."""

    @pytest.mark.parametrize(
        "error", [SinkError("http_503"), OSError(), TimeoutError()], ids=lambda error: type(error).__name__
    )
    def test_the_sinks(self, error: Exception) -> None:
        """One call is enough: nothing more is tried, and nobody is charged."""
        forwarder = Batches(failing(error, "e09"), max_events=8)

        tally, _ = sent(forwarder)

        assert ([8, 8], IDS[:8]) == ([len(call) for call in forwarder.calls], names(tally.accepted))
        assert (Fault.SINK, [], {}) == (tally.stop.result.fault, tally.charged, tally.suspects)

    @pytest.mark.parametrize("error", [SinkError("http_503"), OSError()], ids=["SinkError", "OSError"])
    def test_the_sinks_though_it_was_up_just_now(self, error: Exception) -> None:
        """Where a probe has shown that the sink is up, the batch is bisected down to the event that fails."""
        forwarder = Batches(failing(error, "e09"))

        tally, sender = sent(forwarder, is_trusted=True)

        assert (set(IDS) - {"e09"}, ["e09"], None) == (set(names(tally.accepted)), names(tally.charged), tally.stop)
        assert len(forwarder.calls) <= 2 * 5
        assert not sender.is_trusted

    def test_what_it_asks_for_is_heeded_though_it_was_up(self) -> None:
        """``retry_after`` stops everything."""
        forwarder = Batches(failing(SinkError("http_429", retry_after=9), "e09"))

        tally, _ = sent(forwarder, is_trusted=True)

        assert (1, 9, [], []) == (len(forwarder.calls), tally.stop.result.retry_after, tally.accepted, tally.charged)

    @pytest.mark.parametrize("error", [SchemaMismatchError("no"), ValueError()], ids=["refused", "unknown"])
    def test_a_refused_batch_is_bisected(self, error: Exception) -> None:
        """Down to the event, which is charged with the sink's words."""
        forwarder = Batches(failing(error, "e09"))

        tally, _ = sent(forwarder)

        assert (set(IDS) - {"e09"}, ["e09"]) == (set(names(tally.accepted)), names(tally.charged))
        outcome = Outcome.CANCEL if isinstance(error, SchemaMismatchError) else Outcome.ERROR
        assert outcome is tally.charged[0].result.outcome

    @pytest.mark.parametrize("error", [SchemaMismatchError("no"), ValueError()], ids=["refused", "unknown"])
    def test_a_sink_that_refuses_everything_is_at_fault(self, error: Exception) -> None:
        """Several different events in a row without a yes: nobody is charged, and it is left alone soon."""
        forwarder = Batches(failing(error, *IDS))

        tally, _ = sent(forwarder)

        assert len(forwarder.calls) <= 8
        assert ([], [], {}, []) == (tally.accepted, tally.charged, tally.suspects, tally.fresh)
        assert type(error) is type(tally.stop.result.exception)

    def test_an_answer_for_each_event(self) -> None:
        """Those that it does not take are charged, since it has taken others in the same call."""
        answers = [Ack("1"), ValueError(), None, SchemaMismatchError("no"), *[None] * 12]
        tally, _ = sent(Batches(lambda _: answers))

        assert ([*IDS[:1], *IDS[2:3], *IDS[4:]], ["e01", "e03"]) == (names(tally.accepted), names(tally.charged))
        assert (Ack("1"), CancelReason.SCHEMA_MISMATCH) == (
            tally.accepted[0].result.ack,
            tally.charged[1].result.reason,
        )

    def test_an_answer_for_each_event_that_is_the_sinks_fault(self) -> None:
        """What it has taken counts, the rest is left to it, and nobody is charged."""
        tally, _ = sent(Batches(lambda _: [None, SinkError("http_429"), *[None] * 14]))

        assert ([*IDS[:1], *IDS[2:]], [], "e01") == (names(tally.accepted), tally.charged, tally.stop.event.id)

    @pytest.mark.parametrize(
        "answer", [[None], "0123456789abcdef", 17, [17] * 16, True, [None] * 15 + [17]], ids=spelled
    )
    def test_an_answer_that_makes_no_sense(self, answer: Any) -> None:
        """It is an unexpected return for every event: so many that it is the sink's fault."""
        tally, _ = sent(Batches(lambda _: answer))

        assert ([], []) == (tally.accepted, tally.charged)
        assert ("unexpected_return", "forward_batch() gave a ") == (
            tally.stop.result.reason,
            tally.stop.result.detail[:23],
        )

    def test_what_has_failed_before_is_its_own_fault(self) -> None:
        """One that fails the sink by itself opens no breaker, where others go out."""
        forwarder = Batches(failing(ConnectionResetError(), "e09"))

        tally, _ = sent(forwarder, is_known=True)

        assert [[name] for name in IDS] == forwarder.calls
        assert (set(IDS) - {"e09"}, ["e09"], None) == (set(names(tally.accepted)), names(tally.charged), tally.stop)


class TestSuspects:
    """Failures without a yes after them."""

    def test_who_fails_last_is_a_suspect(self) -> None:
        """It is charged with the next yes to another event, and not with one to itself."""
        forwarder = Batches(failing(ValueError(), "e15"), max_events=1)
        tally, sender = sent(forwarder)
        suspects = names(tally.suspects.values()), names(tally.fresh), names(tally.charged)
        tally.fresh = []
        (batch,) = sender.batches([EVENTS[0]], tally)

        sender.send(batch, tally)

        assert (["e15"], ["e15"], []) == suspects
        assert (["e15"], {}) == (names(tally.charged), tally.suspects)

    def test_one_that_is_taken_after_all(self) -> None:
        """It is no suspect any more."""
        answers = [ValueError(), None]
        sender = Sender(Route(Batches(lambda _: [answers.pop(0)])), Bridge().call)
        tally = Tally()
        for _ in range(2):
            (batch,) = sender.batches(EVENTS[:1], tally)
            sender.send(batch, tally)

        assert (["e00"], [], {}) == (names(tally.accepted), names(tally.charged), tally.suspects)


class TestProbe:
    """One event, to see whether the sink is up."""

    def test_it_tells_what_the_sink_said(self) -> None:
        """Yes, or what it raised."""
        error = SinkError("http_503")

        results = [
            Sender(Route(Batches(answer)), Bridge().call).probe(EVENTS[0]) for answer in (lambda _: None, raises(error))
        ]

        assert [(Outcome.OK, None), (Outcome.ERROR, "http_503")] == [
            (result.outcome, result.reason) for result in results
        ]

    def test_an_event_that_cannot_be_changed(self) -> None:
        """It says nothing of the sink, which is not called."""
        forwarder = Batches()

        result = Sender(Route(forwarder, transform=raises(ValueError())), Bridge().call).probe(EVENTS[0])

        assert ("ValueError", []) == (result.reason, forwarder.calls)
