"""`dispatch` and `adispatch`: DESIGN.md's paragraph on dispatch, sentence by sentence, both ways."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sigra_forward import (
    AuditEvent,
    AuditForward,
    CancelReason,
    Dispatch,
    Dispatched,
    EnqueueError,
    Fault,
    JobArgs,
    Outcome,
    RetryPolicy,
    Route,
    SchemaMismatchError,
    SinkError,
    State,
)
from sigra_forward._dispatch import BREAKER_SECONDS, ENQUEUE_BUDGET
from sigra_forward._names import type_name
from sigra_forward.errors import QueueFullError
from sigra_forward.telemetry import Delivered, Discarded, Enqueued, Failed
from sigra_forward.testing import (
    FakeClock,
    InMemoryAuditRepository,
    RaisingForwarder,
    RecordingForwarder,
    RecordingQueue,
    RecordingTelemetry,
    RefusingQueue,
    make_event,
)

PATIENCE = 30.0
"""Real seconds after which something that should have happened has not."""

Send = Callable[[AuditForward, Any], Mapping[str, Dispatched]]
Bind = Callable[..., AuditForward]


def _dispatch(audit_forward: AuditForward, event: AuditEvent) -> Mapping[str, Dispatched]:
    return audit_forward.dispatch(event)


def _adispatch(audit_forward: AuditForward, event: AuditEvent) -> Mapping[str, Dispatched]:
    return asyncio.run(audit_forward.adispatch(event))


@pytest.fixture(name="send", params=[_dispatch, _adispatch], ids=["dispatch", "adispatch"])
def _send(request: pytest.FixtureRequest) -> Send:
    """Both ways to dispatch: what holds for one holds for the other."""
    return request.param


@pytest.fixture(name="telemetry")
def _telemetry() -> RecordingTelemetry:
    return RecordingTelemetry()


@pytest.fixture(name="bind")
def _bind(telemetry: RecordingTelemetry) -> Iterator[Bind]:
    """Bind forwarders to an `AuditForward` over an empty table, and close it after the test."""
    with ExitStack() as opened:

        def bind(forwarders: Mapping[str, Any], queue: Any = None, **ports: Any) -> AuditForward:
            bound = {"repository": InMemoryAuditRepository(), "telemetry": telemetry, **ports}
            return opened.enter_context(AuditForward(forwarders=forwarders, queue=queue, **bound))

        yield bind


def _logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Return what the library logged; asyncio tells of an order that ended an earlier test whenever it is collected."""
    return [(level, message) for name, level, message in caplog.record_tuples if name == "sigra_forward"]


def _fates(dispatched: Mapping[str, Dispatched]) -> dict[str, str]:
    return {name: each.fate for name, each in dispatched.items()}


class UnaskedRepository:
    """Keeps each id that it is asked for, and knows none."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get(self, audit_event_id: str, /) -> None:
        self.asked.append(audit_event_id)


class SlowQueue(RecordingQueue):
    """Takes *seconds* of *clock* to accept each job."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds

    def enqueue(self, args: JobArgs, /) -> None:
        self._clock.advance(self._seconds)
        super().enqueue(args)


# AUTO


def test_auto_puts_a_job_on_the_queue(send: Send, bind: Bind) -> None:
    """AUTO: a job when a queue is bound, and nothing inline."""
    sink, queue, event = RecordingForwarder(), RecordingQueue(), make_event()

    dispatched = send(bind({"siem": sink}, queue), event)

    assert {"siem": Dispatched("enqueued")} == dispatched
    assert [JobArgs("siem", event.id, event.occurred_at)] == queue.jobs
    assert [] == sink.events


def test_an_enqueued_job_is_told(send: Send, bind: Bind, telemetry: RecordingTelemetry) -> None:
    """An enqueue fires the enqueued event, and none that says delivered."""
    event = make_event()

    send(bind({"siem": RecordingForwarder()}, RecordingQueue()), event)

    assert [Enqueued("siem", event.id, event.action, 1, Dispatch.ASYNC)] == telemetry.events


def test_auto_goes_inline_when_the_queue_fails(send: Send, bind: Bind) -> None:
    """AUTO: when the enqueue fails, the event goes out inline."""
    sink, queue, event = RecordingForwarder(), RefusingQueue(), make_event()

    dispatched = send(bind({"siem": sink}, queue), event)

    assert {"siem": "performed"} == _fates(dispatched)
    assert [event] == sink.events


def test_a_failed_enqueue_is_told_before_the_delivery(send: Send, bind: Bind, telemetry: RecordingTelemetry) -> None:
    """AUTO: a failed enqueue fires the error event, and the inline delivery follows it."""
    event = make_event()

    send(bind({"siem": RecordingForwarder()}, RefusingQueue()), event)

    kind = "EnqueueError"
    failed = Failed(
        "siem", event.id, event.action, 1, Dispatch.ASYNC, Outcome.ERROR, kind, "the broker is down", kind, None
    )
    delivered = Delivered("siem", event.id, event.action, 1, Dispatch.SYNC)
    assert [failed, delivered] == telemetry.events


def test_of_a_foreign_enqueue_error_only_the_type_is_told(
    send: Send, bind: Bind, telemetry: RecordingTelemetry
) -> None:
    """A library's own message may quote a broker's URL with its password: only the type's name is kept."""
    queue = RefusingQueue(ConnectionError("amqp://user:hunter2@broker"))

    send(bind({"siem": RecordingForwarder()}, queue), make_event())

    (failed,) = telemetry.of(Failed)
    assert ("ConnectionError", None, "ConnectionError") == (failed.reason, failed.detail, failed.kind)


def test_auto_without_a_queue_goes_inline(send: Send, bind: Bind) -> None:
    """AUTO: inline where there is no queue."""
    sink, event = RecordingForwarder(), make_event()

    dispatched = send(bind({"siem": sink}), event)

    assert {"siem": "performed"} == _fates(dispatched)
    assert [event] == sink.events


# ASYNC


def test_async_puts_a_job_on_the_queue(send: Send, bind: Bind) -> None:
    """ASYNC: a job."""
    queue, event = RecordingQueue(), make_event()

    dispatched = send(bind({"siem": Route(RecordingForwarder(), Dispatch.ASYNC)}, queue), event)

    assert {"siem": Dispatched("enqueued")} == dispatched
    assert [event.id] == [job.audit_event_id for job in queue.jobs]


def test_async_never_goes_inline(send: Send, bind: Bind) -> None:
    """ASYNC: always a job; one that cannot be enqueued has failed."""
    sink = RecordingForwarder()

    dispatched = send(bind({"siem": Route(sink, Dispatch.ASYNC)}, RefusingQueue()), make_event())

    assert {"siem": Dispatched("failed")} == dispatched
    assert [] == sink.events


def test_a_failed_async_enqueue_is_told_once(send: Send, bind: Bind, telemetry: RecordingTelemetry) -> None:
    """ASYNC: one error event if the enqueue fails, and no other."""
    send(bind({"siem": Route(RecordingForwarder(), Dispatch.ASYNC)}, RefusingQueue()), make_event())

    assert [("siem", "EnqueueError")] == [(told.forwarder, told.reason) for told in telemetry.of(Failed)]
    assert 1 == len(telemetry.events)


# SYNC


def test_sync_goes_inline_past_the_queue(send: Send, bind: Bind) -> None:
    """SYNC: inline, though a queue is bound."""
    sink, queue, event = RecordingForwarder(), RecordingQueue(), make_event()

    dispatched = send(bind({"siem": Route(sink, Dispatch.SYNC)}, queue), event)

    assert {"siem": "performed"} == _fates(dispatched)
    assert [] == queue.jobs
    assert [event] == sink.events


def test_sync_forwards_the_event_in_hand(send: Send, bind: Bind) -> None:
    """SYNC: the event in hand is forwarded; only jobs reload."""
    sink, repository, event = RecordingForwarder(), UnaskedRepository(), make_event()

    send(bind({"siem": Route(sink, Dispatch.SYNC)}, repository=repository), event)

    assert [] == repository.asked
    assert sink.events[0] is event


def test_what_goes_inline_is_told_as_sync(send: Send, bind: Bind, telemetry: RecordingTelemetry) -> None:
    """What goes inline is told as the first attempt, dispatched sync."""
    event = make_event()

    send(bind({"siem": Route(RecordingForwarder(), Dispatch.SYNC)}), event)

    assert [Delivered("siem", event.id, event.action, 1, Dispatch.SYNC)] == telemetry.events


@pytest.mark.parametrize(
    "error", [SinkError("http_503"), ValueError("bad")], ids=["the_sinks_fault", "the_events_fault"]
)
def test_an_inline_error_is_discarded(send: Send, bind: Bind, error: Exception) -> None:
    """Inline without a ledger there is no retry, so an ERROR settles discarded, whatever the policy."""
    route = Route(RaisingForwarder(error), Dispatch.SYNC, policy=RetryPolicy(max_attempts=9))

    result = send(bind({"siem": route}), make_event())["siem"].result

    assert result is not None
    assert result.settlement is not None
    assert (Outcome.ERROR, State.DISCARDED, None) == (
        result.outcome,
        result.settlement.state,
        result.settlement.retry_in,
    )


def test_a_discard_follows_the_failure_that_it_ends(send: Send, bind: Bind, telemetry: RecordingTelemetry) -> None:
    """An inline ERROR fires the error event and then the discarded one."""
    event = make_event()

    send(bind({"siem": Route(RaisingForwarder(SinkError("http_503")), Dispatch.SYNC)}), event)

    assert [Failed, Discarded] == [type(told) for told in telemetry.events]
    assert Discarded("siem", event.id, event.action, 1, Dispatch.SYNC, "http_503") == telemetry.events[1]


def test_an_inline_cancel_is_cancelled(send: Send, bind: Bind) -> None:
    """Inline, a sink that can never accept the event settles cancelled, as in a job."""
    forwarders = {"siem": Route(RaisingForwarder(SchemaMismatchError("no")), Dispatch.SYNC)}

    result = send(bind(forwarders), make_event())["siem"].result

    assert result is not None
    assert result.settlement is not None
    assert (CancelReason.SCHEMA_MISMATCH, State.CANCELLED) == (result.reason, result.settlement.state)


def test_an_inline_yes_is_completed(send: Send, bind: Bind) -> None:
    """Inline, a sink's yes settles completed."""
    result = send(bind({"siem": RecordingForwarder()}), make_event())["siem"].result

    assert result is not None
    assert result.settlement is not None
    assert State.COMPLETED is result.settlement.state


def test_inline_only_the_sink_sees_the_transformed_event(send: Send, bind: Bind, telemetry: RecordingTelemetry) -> None:
    """Inline, too, only the sink sees what ``transform`` makes of the event."""
    sink = RecordingForwarder()
    route = Route(sink, Dispatch.SYNC, transform=lambda event: make_event(id=event.id, action="redacted"))

    send(bind({"siem": route}), make_event(action="session.create"))

    assert ["redacted"] == [event.action for event in sink.events]
    assert ["session.create"] == [told.action for told in telemetry.events]


# Which forwarders, and in which order


def test_only_those_who_want_the_event_are_told_of(send: Send, bind: Bind) -> None:
    """It returns a fate per forwarder that wants the event, and for no other."""
    forwarders = {
        "all": RecordingForwarder(),
        "logins": Route(RecordingForwarder(), actions=("session.*",)),
        "billing": Route(RecordingForwarder(), actions=("billing.*",)),
        "nobody": Route(RecordingForwarder(), where=lambda _: False),
    }

    assert {"all": "enqueued", "logins": "enqueued"} == _fates(send(bind(forwarders, RecordingQueue()), make_event()))


def test_nothing_is_enqueued_for_those_who_do_not_want_it(send: Send, bind: Bind) -> None:
    """An event that nobody wants makes no job and no telemetry."""
    queue = RecordingQueue()

    dispatched = send(bind({"siem": Route(RecordingForwarder(), actions=("billing.*",))}, queue), make_event())

    assert ({}, []) == (dispatched, queue.jobs)


def _raise(error: Exception) -> None:
    raise error


def test_a_raising_where_is_taken_as_wanted(send: Send, bind: Bind) -> None:
    """A ``where`` that raises is taken as wanted: better a job that says so than a lost event."""
    queue = RecordingQueue()
    route = Route(RecordingForwarder(), where=lambda _: _raise(KeyError("plan")))

    assert {"siem": Dispatched("enqueued")} == send(bind({"siem": route}, queue), make_event())
    assert 1 == len(queue.jobs)


def test_a_raising_where_is_logged_by_its_type(send: Send, bind: Bind, caplog: pytest.LogCaptureFixture) -> None:
    """Of what ``where`` raised the log keeps the forwarder and the type's name, not the message."""
    route = Route(RecordingForwarder(), where=lambda _: _raise(KeyError("alice@example.com")))

    send(bind({"siem": route}, RecordingQueue()), make_event())

    assert "'siem'" in caplog.text
    assert "KeyError" in caplog.text
    assert "alice" not in caplog.text


def test_a_raising_where_inline_is_an_error(send: Send, bind: Bind) -> None:
    """Inline, a ``where`` that raises ends in an ERROR with nothing sent."""
    sink = RecordingForwarder()
    route = Route(sink, where=lambda _: _raise(KeyError("plan")))

    result = send(bind({"siem": route}), make_event())["siem"].result

    assert result is not None
    assert (Outcome.ERROR, "KeyError") == (result.outcome, result.reason)
    assert [] == sink.events


def test_one_sinks_trouble_does_not_touch_another(send: Send, bind: Bind) -> None:
    """Inline, a forwarder that raises keeps no other from its event."""
    sink, event = RecordingForwarder(), make_event()

    dispatched = send(bind({"broken": RaisingForwarder(ValueError()), "siem": sink}), event)

    assert [Outcome.ERROR, Outcome.OK] == [each.result.outcome for each in dispatched.values() if each.result]
    assert [event] == sink.events


class FullLane(RecordingQueue):
    """Is full for the forwarder named ``full``."""

    def enqueue(self, args: JobArgs, /) -> None:
        if args.forwarder == "full":
            msg = "the lane is full"
            raise QueueFullError(msg)
        super().enqueue(args)


def test_one_full_lane_does_not_touch_another(send: Send, bind: Bind) -> None:
    """A queue that is full for one forwarder still takes the jobs of the others."""
    forwarders = {"full": Route(RecordingForwarder(), Dispatch.ASYNC), "siem": RecordingForwarder()}

    assert {"full": "failed", "siem": "enqueued"} == _fates(send(bind(forwarders, FullLane()), make_event()))


def test_all_enqueues_come_before_all_inline_work(send: Send, bind: Bind) -> None:
    """What goes inline waits until every job is on the queue: a slow sink makes no job late."""
    order: list[str] = []

    class Queue(RecordingQueue):
        def enqueue(self, args: JobArgs, /) -> None:
            order.append(f"enqueue {args.forwarder}")

    class Sink:
        def forward(self, event: AuditEvent) -> None:
            order.append("forward")

    forwarders = {"first": Route(Sink(), Dispatch.SYNC), "second": Sink(), "third": Route(Sink(), Dispatch.ASYNC)}

    send(bind(forwarders, Queue()), make_event())

    assert ["enqueue second", "enqueue third", "forward"] == order


def test_fates_come_in_the_order_of_registration(send: Send, bind: Bind) -> None:
    """The mapping has the order in which the forwarders were registered, by whichever way each went."""
    forwarders = {
        "z": RecordingForwarder(),
        "a": Route(RecordingForwarder(), Dispatch.SYNC),
        "full": RecordingForwarder(),
        "m": Route(RecordingForwarder(), Dispatch.ASYNC),
    }

    dispatched = send(bind(forwarders, FullLane()), make_event())

    assert [("z", "enqueued"), ("a", "performed"), ("full", "performed"), ("m", "enqueued")] == [
        *_fates(dispatched).items()
    ]


# The budget


@pytest.mark.parametrize(("seconds", "jobs"), [(1.0, 2), (ENQUEUE_BUDGET, 1), (0.75, 2), (0.5, 3), (0.3, 4)], ids=str)
def test_no_enqueue_is_started_once_the_budget_is_spent(send: Send, bind: Bind, seconds: float, jobs: int) -> None:
    """Dispatch starts no further enqueue once 1.5 s are spent; the one that spent them counts."""
    clock = FakeClock()
    queue = SlowQueue(clock, seconds)

    dispatched = send(bind(dict.fromkeys("abcd", RecordingForwarder()), queue, clock=clock), make_event())

    assert jobs == len(queue.jobs)
    assert ["enqueued"] * jobs + ["performed"] * (4 - jobs) == list(_fates(dispatched).values())


def test_async_beyond_the_budget_has_failed(send: Send, bind: Bind, telemetry: RecordingTelemetry) -> None:
    """An ASYNC route whose enqueue was not started fails, and the error event says why."""
    clock = FakeClock()
    forwarders = {"a": RecordingForwarder(), "b": Route(RecordingForwarder(), Dispatch.ASYNC)}

    dispatched = send(bind(forwarders, SlowQueue(clock, 2.0), clock=clock), make_event())

    assert {"a": "enqueued", "b": "failed"} == _fates(dispatched)
    assert ["not tried: this dispatch has spent its 1.5 s on the queue"] == [
        told.detail for told in telemetry.of(Failed)
    ]


def test_each_dispatch_has_a_budget_of_its_own(send: Send, bind: Bind) -> None:
    """A budget that is spent opens no breaker: the next dispatch enqueues again."""
    clock = FakeClock()
    audit_forward = bind(dict.fromkeys("ab", RecordingForwarder()), SlowQueue(clock, 2.0), clock=clock)
    send(audit_forward, make_event())

    assert {"a": "enqueued", "b": "performed"} == _fates(send(audit_forward, make_event()))


# The breaker


def test_a_failed_enqueue_keeps_the_rest_of_the_dispatch_off_the_queue(send: Send, bind: Bind) -> None:
    """After one failed enqueue the queue is not tried again for the other forwarders."""
    queue = RefusingQueue()

    dispatched = send(bind(dict.fromkeys("abc", RecordingForwarder()), queue), make_event())

    assert 1 == queue.tries
    assert ["performed"] * 3 == list(_fates(dispatched).values())


@pytest.mark.parametrize(
    ("later", "tries"), [(0.0, 1), (BREAKER_SECONDS - 0.01, 1), (BREAKER_SECONDS, 2)], ids=["at_once", "just", "after"]
)
def test_the_breaker_stays_open_for_5_seconds(send: Send, bind: Bind, later: float, tries: int) -> None:
    """A failure opens a breaker on the queue for five seconds."""
    clock, queue = FakeClock(100.0), RefusingQueue()
    audit_forward = bind({"siem": RecordingForwarder()}, queue, clock=clock)
    send(audit_forward, make_event())
    clock.advance(later)

    send(audit_forward, make_event())

    assert tries == queue.tries


def test_an_open_breaker_is_not_kept_open_by_those_it_turns_away(send: Send, bind: Bind) -> None:
    """The five seconds count from the failure, however many dispatches come by in between."""
    clock, queue = FakeClock(), RefusingQueue()
    audit_forward = bind({"siem": RecordingForwarder()}, queue, clock=clock)
    for seconds in (3.0, 2.0, 0.0):
        send(audit_forward, make_event())
        clock.advance(seconds)

    assert 2 == queue.tries


def test_the_breaker_closes_when_the_queue_is_back(send: Send, bind: Bind) -> None:
    """Five seconds after a failure a queue that works again takes the job."""
    clock, queue = FakeClock(), RefusingQueue()
    audit_forward = bind({"siem": RecordingForwarder()}, queue, clock=clock)
    send(audit_forward, make_event())
    queue.error = None
    clock.advance(BREAKER_SECONDS)

    assert {"siem": "enqueued"} == _fates(send(audit_forward, make_event()))


def test_an_open_breaker_fails_an_async_route(send: Send, bind: Bind, telemetry: RecordingTelemetry) -> None:
    """While the breaker is open an ASYNC route fails at once, and the error event says why."""
    audit_forward = bind({"siem": Route(RecordingForwarder(), Dispatch.ASYNC)}, RefusingQueue(), clock=FakeClock())
    send(audit_forward, make_event())

    assert {"siem": "failed"} == _fates(send(audit_forward, make_event()))
    assert ["the broker is down", "not tried: the queue failed less than 5 s ago"] == [
        told.detail for told in telemetry.of(Failed)
    ]


def test_a_full_queue_opens_no_breaker(send: Send, bind: Bind) -> None:
    """A queue that is full works: the next dispatch tries it again."""
    queue = RefusingQueue(QueueFullError("full"))
    audit_forward = bind({"siem": RecordingForwarder()}, queue, clock=FakeClock())

    for _ in range(2):
        send(audit_forward, make_event())

    assert 2 == queue.tries


def test_an_odd_time_of_the_event_neither_loses_the_job_nor_opens_the_breaker(send: Send, bind: Bind) -> None:
    """``occurred_at`` in a job is for tracing: one that UTC cannot tell is left out, and is no fault of the queue."""
    queue = RecordingQueue()
    odd = make_event(occurred_at=datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))))
    audit_forward = bind({"siem": RecordingForwarder()}, queue, clock=FakeClock())

    fates = [_fates(send(audit_forward, event)) for event in (odd, make_event())]

    assert [{"siem": "enqueued"}] * 2 == fates
    assert JobArgs("siem", odd.id) == queue.jobs[0]


# Async queues, and queues that hang


class AsyncQueue(RecordingQueue):
    """Its ``enqueue`` is async."""

    async def enqueue(self, args: JobArgs, /) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        self.jobs.append(args)


class TwinQueue(RecordingQueue):
    """Has both twins, and keeps the names of those that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []

    def enqueue(self, args: JobArgs, /) -> None:
        self.called.append("enqueue")

    async def aenqueue(self, args: JobArgs, /) -> None:
        self.called.append("aenqueue")


def test_an_async_enqueue_works_both_ways(send: Send, bind: Bind) -> None:
    """A queue whose ``enqueue`` is async works under sync dispatch too, on the library's loop thread."""
    queue, event = AsyncQueue(), make_event()

    assert {"siem": Dispatched("enqueued")} == send(bind({"siem": RecordingForwarder()}, queue), event)
    assert [event.id] == [job.audit_event_id for job in queue.jobs]


def test_dispatch_calls_enqueue(bind: Bind) -> None:
    """Sync dispatch calls ``enqueue``, though there is an ``aenqueue``."""
    queue = TwinQueue()

    bind({"siem": RecordingForwarder()}, queue).dispatch(make_event())

    assert ["enqueue"] == queue.called


def test_adispatch_prefers_aenqueue(bind: Bind) -> None:
    """Async dispatch awaits ``aenqueue`` where there is one."""
    queue = TwinQueue()

    _adispatch(bind({"siem": RecordingForwarder()}, queue), make_event())

    assert ["aenqueue"] == queue.called


class HangingQueue(RecordingQueue):
    """Takes the first job at once, leaving the dispatch *left* seconds of *clock*, and hangs in the second."""

    def __init__(self, clock: FakeClock, left: float) -> None:
        super().__init__()
        self._clock = clock
        self._left = left
        self.hangs = threading.Event()
        self.release = threading.Event()

    def enqueue(self, args: JobArgs, /) -> None:
        if not self.jobs:
            self._clock.advance(ENQUEUE_BUDGET - self._left)
            self.jobs.append(args)
            return
        self.hangs.set()
        if self.release.wait(PATIENCE):
            msg = "released"
            raise EnqueueError(msg)


class HangingAsyncQueue(HangingQueue):
    """The same, and async: it is let go by its cancellation alone."""

    async def enqueue(self, args: JobArgs, /) -> None:  # type: ignore[override]
        if not self.jobs:
            super().enqueue(args)
            return
        try:
            await asyncio.wait_for(asyncio.Event().wait(), PATIENCE)
        except asyncio.CancelledError:
            self.release.set()
            raise


def test_an_async_enqueue_that_hangs_is_cancelled_with_the_budget(
    send: Send, bind: Bind, telemetry: RecordingTelemetry
) -> None:
    """An async enqueue that hangs is given up and cancelled when the budget is spent; the error event says so."""
    clock = FakeClock()
    queue = HangingAsyncQueue(clock, left=0.05)

    dispatched = send(bind(dict.fromkeys("ab", RecordingForwarder()), queue, clock=clock), make_event())

    assert {"a": "enqueued", "b": "performed"} == _fates(dispatched)
    assert ["TimeoutError"] == [told.reason for told in telemetry.of(Failed)]
    assert queue.release.wait(PATIENCE)


def test_adispatch_gives_up_on_an_enqueue_that_hangs_and_never_blocks_the_loop(bind: Bind) -> None:
    """A sync enqueue that hangs keeps neither the event loop nor, beyond its budget, `adispatch`."""
    clock = FakeClock()
    queue = HangingQueue(clock, left=0.2)
    audit_forward = bind(dict.fromkeys("ab", RecordingForwarder()), queue, clock=clock)

    async def main() -> tuple[Mapping[str, Dispatched], int]:
        sending = asyncio.ensure_future(audit_forward.adispatch(make_event()))
        beats = 0
        while not sending.done():
            beats += queue.hangs.is_set()
            await asyncio.sleep(0)
        return sending.result(), beats

    try:
        dispatched, beats = asyncio.run(main())
    finally:
        queue.release.set()

    assert {"a": "enqueued", "b": "performed"} == _fates(dispatched)
    assert beats > 10


def test_a_cancelled_adispatch_is_cancelled(bind: Bind) -> None:
    """Cancelling the task that dispatches is an order, and passes through."""
    started = threading.Event()

    class Queue(RecordingQueue):
        async def aenqueue(self, args: JobArgs, /) -> None:
            started.set()
            await asyncio.Event().wait()

    audit_forward = bind({"siem": RecordingForwarder()}, Queue())

    async def main() -> None:
        sending = asyncio.ensure_future(audit_forward.adispatch(make_event()))
        while not started.is_set():
            await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

        assert sending.cancelled()

    asyncio.run(main())


def test_an_async_forwarder_inline_is_cut_at_its_deadline(bind: Bind) -> None:
    """What is inline adds its forwarder's deadline, and no more, also where the forwarder is async."""

    class Sink:
        deadline = 0.05

        async def forward(self, event: AuditEvent) -> None:
            await asyncio.Event().wait()

    result = bind({"siem": Sink()}).dispatch(make_event())["siem"].result

    assert result is not None
    assert ("TimeoutError", Fault.SINK) == (result.reason, result.fault)


# It never raises


class Liar:
    """Claims to be an `AuditEvent`."""

    @property
    def __class__(self) -> type[AuditEvent]:  # type: ignore[override]
        return AuditEvent


class Unspeakable:
    """Cannot be told in words, nor asked whether it is true or equal."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError


JUNK = {
    "none": None,
    "text": "session.create",
    "mapping": {"id": "1"},
    "number": 5,
    "job_args": JobArgs("siem", "1"),
    "the_class": AuditEvent,
    "liar": Liar(),
    "unspeakable": Unspeakable(),
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_junk_instead_of_an_event_is_logged_and_sends_nothing(
    send: Send, bind: Bind, caplog: pytest.LogCaptureFixture, junk: object
) -> None:
    """`dispatch` never raises: what is no `AuditEvent` is logged, and nothing is sent."""
    sink = RecordingForwarder()

    assert {} == send(bind({"siem": sink}), junk)
    assert [] == sink.events
    message = f"dispatch got a {type_name(junk)} and sent nothing: it takes an AuditEvent"
    assert [(logging.ERROR, message)] == _logged(caplog)


class Mute(Exception):
    """Cannot be told in words."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class Unclassed(Exception):
    """Raises when it is asked for its class."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError


class MuteEnqueueError(EnqueueError):
    """One of ours that cannot be told in words."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "kind",
    [Mute, MuteEnqueueError, Unclassed, MemoryError, StopIteration, StopAsyncIteration, TimeoutError],
    ids=lambda kind: kind.__name__,
)
def test_whatever_a_queue_raises_the_event_goes_out(send: Send, bind: Bind, kind: type[Exception]) -> None:
    """Whatever `Exception` a queue raises, dispatch goes on inline."""
    dispatched = send(bind({"siem": RecordingForwarder()}, RefusingQueue(kind())), make_event())

    assert {"siem": "performed"} == _fates(dispatched)


def test_telemetry_that_raises_changes_nothing(send: Send, bind: Bind, caplog: pytest.LogCaptureFixture) -> None:
    """A telemetry that raises is logged, and the fates are what they were."""

    class Telemetry:
        def emit(self, event: object, /) -> None:
            raise ValueError

    forwarders = {"a": RecordingForwarder(), "b": Route(RecordingForwarder(), Dispatch.SYNC)}

    dispatched = send(bind(forwarders, RecordingQueue(), telemetry=Telemetry()), make_event())

    assert {"a": "enqueued", "b": "performed"} == _fates(dispatched)
    assert ["telemetry raised ValueError"] * 2 == caplog.messages


class Interrupt(BaseException):
    """What a worker library raises to stop a thread."""


@pytest.mark.parametrize("order", [Interrupt, KeyboardInterrupt, SystemExit])
def test_an_order_out_of_the_queue_passes(send: Send, bind: Bind, order: type[BaseException]) -> None:
    """A `BaseException` that is no `Exception` is an order to the process: dispatch lets it through."""
    audit_forward = bind({"siem": RecordingForwarder()}, RefusingQueue(order()))  # type: ignore[arg-type]

    with pytest.raises(order):
        send(audit_forward, make_event())


def test_an_order_out_of_an_inline_forwarder_is_told_and_passes(
    send: Send, bind: Bind, telemetry: RecordingTelemetry
) -> None:
    """Inline, an order to the process fires the error event and is raised again."""
    audit_forward = bind({"siem": RaisingForwarder(Interrupt())})

    with pytest.raises(Interrupt):
        send(audit_forward, make_event())

    assert [("siem", "Interrupt", Dispatch.SYNC)] == [
        (told.forwarder, told.kind, told.dispatch) for told in telemetry.of(Failed)
    ]


# The source


def test_an_event_of_another_source_is_logged_and_sends_nothing(
    send: Send, bind: Bind, caplog: pytest.LogCaptureFixture
) -> None:
    """One AuditForward serves one source: an event of another is not its own, and is told so."""
    sink = RecordingForwarder()
    audit_forward = bind({"siem": sink}, repository=InMemoryAuditRepository(source="billing_audit"))

    assert {} == send(audit_forward, make_event(source="payroll_audit"))
    assert [] == sink.events
    message = "dispatch sent nothing: the event is of source 'payroll_audit', this AuditForward serves 'billing_audit'"
    assert [(logging.ERROR, message)] == _logged(caplog)


def test_an_event_that_names_no_source_gets_the_repositorys(send: Send, bind: Bind) -> None:
    """The announcer may leave the source to the repository: the default one is stamped anew."""
    sink = RecordingForwarder()

    send(bind({"siem": sink}, repository=InMemoryAuditRepository(source="billing_audit")), make_event())

    assert ["billing_audit"] == [event.source for event in sink.events]


def test_the_idempotency_key_is_the_same_on_both_paths(send: Send, bind: Bind) -> None:
    """Inline and through a job, the sink sees one event under one idempotency key."""
    sink, queue = RecordingForwarder(), RecordingQueue()
    repository = InMemoryAuditRepository([make_event(id=7)], source="billing_audit")
    audit_forward = bind({"inline": Route(sink, Dispatch.SYNC), "job": sink}, queue, repository=repository)

    send(audit_forward, make_event(id=7))
    queue.run()

    assert ["billing_audit:7"] * 2 == [event.idempotency_key for event in sink.events]


def test_a_repository_that_tells_no_source_takes_all_events(send: Send, bind: Bind) -> None:
    """Where the repository tells no source, an event keeps the one that it has."""
    sink = RecordingForwarder()

    send(bind({"siem": sink}, repository=UnaskedRepository()), make_event(source="payroll_audit"))

    assert ["payroll_audit"] == [event.source for event in sink.events]


class OwnEvent(AuditEvent):
    """A host's own kind of event, with a constructor of its own, which `attrs.evolve` cannot call."""

    def __init__(self, number: int) -> None:
        super().__init__(id=number, action="session.create", occurred_at=datetime.now(timezone.utc))  # type: ignore[arg-type]


def test_an_event_that_cannot_be_stamped_is_logged_and_does_not_raise(
    send: Send, bind: Bind, caplog: pytest.LogCaptureFixture
) -> None:
    """`dispatch` never raises, nor with an event of the host's own class that cannot be copied."""
    audit_forward = bind({"siem": RecordingForwarder()}, repository=InMemoryAuditRepository(source="billing_audit"))

    assert {} == send(audit_forward, OwnEvent(7))
    assert [(logging.ERROR, "dispatch sent nothing: reading the OwnEvent raised TypeError")] == _logged(caplog)


def test_a_hosts_own_kind_of_event_is_forwarded(send: Send, bind: Bind) -> None:
    """A subclass of `AuditEvent` is one."""
    sink, event = RecordingForwarder(), OwnEvent(7)

    send(bind({"siem": sink}), event)

    assert sink.events[0] is event


# Threads


def test_many_threads_dispatch_at_once(bind: Bind) -> None:
    """Threads that dispatch at once lose nothing and mix nothing up."""
    sink, queue = RecordingForwarder(), RecordingQueue()
    audit_forward = bind({"inline": Route(sink, Dispatch.SYNC), "job": sink}, queue)
    events = [make_event(id=number) for number in range(200)]

    with ThreadPoolExecutor(8) as pool:
        fates = [_fates(dispatched) for dispatched in pool.map(audit_forward.dispatch, events)]

    assert [{"inline": "performed", "job": "enqueued"}] * 200 == fates
    assert {event.id for event in events} == {job.audit_event_id for job in queue.jobs} == set(sink.ids)


def test_a_dispatch_that_goes_well_logs_nothing(send: Send, bind: Bind, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged where there is nothing to say."""
    caplog.set_level(logging.DEBUG, "sigra_forward")

    send(
        bind({"a": RecordingForwarder(), "b": Route(RecordingForwarder(), Dispatch.SYNC)}, RecordingQueue()),
        make_event(),
    )

    assert [] == caplog.messages


class Interrupt(BaseException):
    """An order to the process or the task, as some queue's workers raise it."""


def test_each_forwarder_that_an_interruption_keeps_from_the_event_is_told(send: Send, bind: Bind) -> None:
    """An interrupt out of the first tells of all three, each once, and goes on."""
    telemetry, later = RecordingTelemetry(), RecordingForwarder()
    forwarders = {"exits": RaisingForwarder(Interrupt()), "later": later, "last": later}
    host = bind(forwarders, telemetry=telemetry)

    with pytest.raises(Interrupt):
        send(host, make_event())

    told = [(event.forwarder, event.kind) for event in telemetry.of(Failed)]
    assert [("exits", "Interrupt"), ("later", "Interrupt"), ("last", "Interrupt")] == told
    assert [] == later.events


def test_a_queue_that_is_interrupted_tells_of_what_it_did_not_come_to(send: Send, bind: Bind) -> None:
    """An interrupt in the second enqueue leaves the first enqueued, and tells of the second and the inline one."""

    class Interrupted(RecordingQueue):
        def enqueue(self, args: JobArgs, /) -> None:
            super().enqueue(args)
            if len(self.jobs) == 2:
                raise Interrupt

    telemetry, sink = RecordingTelemetry(), RecordingForwarder()
    routes = {"one": sink, "two": sink, "inline": Route(sink, dispatch=Dispatch.SYNC)}
    host = bind(routes, queue=Interrupted(), telemetry=telemetry)

    with pytest.raises(Interrupt):
        send(host, make_event())

    assert ["one"] == [event.forwarder for event in telemetry.of(Enqueued)]
    assert ["two", "inline"] == [event.forwarder for event in telemetry.of(Failed)]
    assert [] == sink.events


def test_an_event_without_its_fields_raises_nothing(send: Send, bind: Bind, caplog: pytest.LogCaptureFixture) -> None:
    """`dispatch` never raises: what cannot even be read is logged."""
    host = bind({"siem": RecordingForwarder()}, repository=InMemoryAuditRepository(source="billing_audit"))

    assert {} == send(host, AuditEvent.__new__(AuditEvent))
    assert [(logging.ERROR, "dispatch sent nothing: reading the AuditEvent raised AttributeError")] == _logged(caplog)
