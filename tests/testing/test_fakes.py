"""The fakes of the test kit do what they say."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from sigra_forward import (
    Ack,
    AuditForward,
    ConfigurationError,
    Dispatch,
    EnqueueError,
    JobArgs,
    Outcome,
    SinkError,
)
from sigra_forward.telemetry import Delivered, Enqueued, Failed
from sigra_forward.testing import (
    FlakyForwarder,
    ForwarderContract,
    InMemoryAuditRepository,
    RaisingForwarder,
    RecordingForwarder,
    RecordingQueue,
    RecordingTelemetry,
    RefusingQueue,
    make_event,
)
from sigra_forward.testing.contracts._hostile import run_in_threads
from tests.support_ids import spelled
from tests.support_parts import InThread

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
DELIVERED = Delivered("sink", "1", "login", 1, Dispatch.ASYNC)


class TestRecordingForwarder(ForwarderContract):
    """A `RecordingForwarder` is a forwarder, and a `RaisingForwarder` is one whose sink is down."""

    @pytest.fixture(name="forwarder")
    def _forwarder(self) -> RecordingForwarder:
        return RecordingForwarder()

    @pytest.fixture(name="broken_forwarder")
    def _broken_forwarder(self) -> RaisingForwarder:
        return RaisingForwarder(SinkError("down"))

    def received(self, forwarder: RecordingForwarder) -> list[str]:
        return forwarder.ids


# Events


def test_an_event_is_a_usual_one_with_an_id_of_its_own() -> None:
    """A sign-in; no two have the same id."""
    first, second = make_event(), make_event()

    assert ("session.create", 36) == (first.action, len(first.id))
    assert first.id != second.id


def test_the_fields_of_an_event_can_be_given() -> None:
    """Each that is given replaces the usual one, and the others stay."""
    event = make_event(id="7", action="login", occurred_at=NOON, actor_id=None)

    assert ("7", "login", NOON, None, "success") == (
        event.id,
        event.action,
        event.occurred_at,
        event.actor_id,
        event.outcome,
    )


# Forwarders


def test_a_recording_forwarder_keeps_events_in_their_order() -> None:
    """One by one and in batches."""
    forwarder = RecordingForwarder()
    events = [make_event() for _ in range(3)]

    answers = [forwarder.forward(events[0]), forwarder.forward_batch(events[1:])]

    assert ([None, None], events, [event.id for event in events]) == (answers, forwarder.events, forwarder.ids)


def test_a_recording_forwarder_gives_the_answer_that_it_was_given() -> None:
    """Always the same."""
    assert Ack("7") == RecordingForwarder(Ack("7")).forward(make_event())


def test_a_recording_forwarder_can_be_waited_for() -> None:
    """Until so many events have come."""
    forwarder = RecordingForwarder()
    events = [make_event() for _ in range(2)]
    waiting = InThread(forwarder.wait_for, 2)

    for event in events:
        forwarder.forward(event)

    assert [event.id for event in events] == waiting.result()


def test_a_recording_forwarder_says_what_did_not_come() -> None:
    """A test that would hang fails, with how many came."""
    forwarder = RecordingForwarder()
    forwarder.forward(make_event())

    with pytest.raises(AssertionError, match="1 of 2 events came"):
        forwarder.wait_for(2, timeout=0.01)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=spelled)
def test_a_raising_forwarder_raises_always(error: BaseException) -> None:
    """The error that it was given, and it keeps the events that it was given too."""
    forwarder = RaisingForwarder(error)
    events = [make_event(), make_event()]

    for event in events:
        with pytest.raises(type(error)) as raised:
            forwarder.forward(event)
        assert error is raised.value

    assert events == forwarder.events


def test_a_flaky_forwarder_fails_so_often_for_each_event() -> None:
    """And then accepts it; other events do not count."""
    forwarder = FlakyForwarder(2)
    events = [make_event(), make_event()]
    refused = []
    for event in events * 3:
        try:
            forwarder.forward(event)
        except SinkError as exc:
            refused.append((event, exc.reason))

    assert [(event, "flaky") for event in events * 2] == refused
    assert (events, [3, 3]) == (forwarder.events, [forwarder.tries[event.id] for event in events])


def test_a_flaky_forwarder_raises_what_it_was_given() -> None:
    """An error of the test's choice."""
    with pytest.raises(KeyError):
        FlakyForwarder(1, KeyError()).forward(make_event())


# Queues


def test_a_recording_queue_keeps_jobs_until_it_is_told_to_run_them() -> None:
    """It runs each once, as attempt 1, and gives back the results."""
    event = make_event()
    queue, sink, telemetry = RecordingQueue(), RecordingForwarder(), RecordingTelemetry()
    with AuditForward(InMemoryAuditRepository([event]), {"sink": sink}, queue=queue, telemetry=telemetry) as host:
        host.dispatch(event)
        before = list(sink.ids)
        jobs = list(queue.jobs)

        results = [queue.run(), queue.run()]

    assert ([], [JobArgs("sink", event.id, event.occurred_at)], []) == (before, jobs, queue.jobs)
    assert [[Outcome.OK], []] == [[result.outcome for result in run] for run in results]
    assert [(Enqueued, 1), (Delivered, 1)] == [(type(told), told.attempt) for told in telemetry.events]


def test_a_recording_queue_is_bound_once() -> None:
    """As every queue is."""
    queue = RecordingQueue()
    AuditForward(InMemoryAuditRepository(), {}, queue=queue)

    with pytest.raises(ConfigurationError, match="bound already"):
        AuditForward(InMemoryAuditRepository(), {}, queue=queue)


def test_a_refusing_queue_counts_what_it_refuses() -> None:
    """An EnqueueError each time; without its error it is a recording queue."""
    queue = RefusingQueue()
    AuditForward(InMemoryAuditRepository(), {}, queue=queue)
    args = JobArgs("sink", "1")
    for _ in range(2):
        with pytest.raises(EnqueueError, match="the broker is down"):
            queue.enqueue(args)
    refused = list(queue.jobs)

    queue.error = None
    queue.enqueue(args)

    assert ([], [args], 3) == (refused, queue.jobs, queue.tries)


def test_a_refusing_queue_raises_what_it_was_given() -> None:
    """A library's own exception, for example."""
    with pytest.raises(ConnectionError):
        RefusingQueue(ConnectionError()).enqueue(JobArgs("sink", "1"))


# Telemetry


def test_recording_telemetry_keeps_what_it_hears() -> None:
    """All of it in order, and those of one kind on demand."""
    telemetry = RecordingTelemetry()
    failed = Failed("sink", "1", "login", 1, Dispatch.ASYNC, Outcome.ERROR, "down")
    for event in (failed, DELIVERED):
        telemetry.emit(event)

    assert ([failed, DELIVERED], [DELIVERED]) == (telemetry.events, telemetry.of(Delivered))


def test_recording_telemetry_can_be_waited_for() -> None:
    """Until what it heard fits."""
    telemetry = RecordingTelemetry()
    waiting = InThread(telemetry.wait_for, lambda events: len(events) == 2)

    telemetry.emit(DELIVERED)
    is_early = waiting.is_done
    telemetry.emit(DELIVERED)

    assert (False, None) == (is_early, waiting.result())


def test_recording_telemetry_says_what_it_heard_instead() -> None:
    """A test that would hang fails, with the events so far."""
    telemetry = RecordingTelemetry()
    telemetry.emit(DELIVERED)

    with pytest.raises(AssertionError, match=r"not among these events: \[Delivered\(forwarder='sink'"):
        telemetry.wait_for(lambda events: len(events) == 2, timeout=0.01)


def test_recording_telemetry_is_safe_for_threads() -> None:
    """No event is lost."""
    telemetry = RecordingTelemetry()

    run_in_threads([lambda: [telemetry.emit(DELIVERED) for _ in range(500)]] * 4)

    assert 2000 == len(telemetry.events)
