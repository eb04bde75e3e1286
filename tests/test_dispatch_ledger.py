"""Dispatch with a ledger: what is owed, what goes inline, and the lanes that an `AuditForward` opens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from sigra_forward import AuditForward, Dispatch, Dispatched, Outcome, Route, Settlement, SinkError, State
from sigra_forward.stores import SQLiteLedger
from sigra_forward.telemetry import Delivered, Failed
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
from sigra_forward.testing.contracts import within

MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)
EVENT = make_event(occurred_at=MOMENT)
NO_RELAY = "no relay has been seen in the last minute"

Send = Callable[[AuditForward], Mapping[str, Dispatched]]


@pytest.fixture(name="ledger")
def _ledger(tmp_path: Path) -> SQLiteLedger:
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    ledger.create()
    return ledger


@pytest.fixture(name="telemetry")
def _telemetry() -> RecordingTelemetry:
    return RecordingTelemetry()


@pytest.fixture(name="bind")
def _bind(ledger: SQLiteLedger, telemetry: RecordingTelemetry) -> Callable[..., AuditForward]:
    def bind(forwarders: Any, queue: Any = None, **others: Any) -> AuditForward:
        ports = {"repository": InMemoryAuditRepository([EVENT]), "ledger": ledger, "telemetry": telemetry, **others}
        return AuditForward(forwarders=forwarders, queue=queue, **ports)

    return bind


@pytest.fixture(name="send", params=["dispatch", "adispatch"])
def _send(request: pytest.FixtureRequest) -> Send:
    if request.param == "dispatch":
        return lambda audit_forward: audit_forward.dispatch(EVENT)
    return lambda audit_forward: asyncio.run(audit_forward.adispatch(EVENT))


class TestFates:
    """By which way an event goes out, and what is left to the relay."""

    def test_auto_without_a_queue_is_owed(self, send: Send, bind: Any, telemetry: RecordingTelemetry) -> None:
        """The relay pays it: nothing is sent here, and nothing is wrong."""
        sink = RecordingForwarder()

        assert {"siem": Dispatched("owed")} == send(bind({"siem": sink}))
        assert ([], []) == (sink.events, telemetry.events)

    def test_auto_that_the_queue_does_not_take_is_owed(
        self, send: Send, bind: Any, telemetry: RecordingTelemetry
    ) -> None:
        """The failed enqueue is told, and the relay pays."""
        sink = RecordingForwarder()

        assert {"siem": Dispatched("owed")} == send(bind({"siem": sink}, RefusingQueue()))
        assert ([], ["EnqueueError"]) == (sink.events, [told.reason for told in telemetry.of(Failed)])

    def test_async_that_the_queue_does_not_take_has_failed(self, send: Send, bind: Any) -> None:
        """It is always a job; the relay pays all the same."""
        route = Route(RecordingForwarder(), Dispatch.ASYNC)

        assert {"siem": Dispatched("failed")} == send(bind({"siem": route}, RefusingQueue()))

    def test_a_job_goes_on_the_queue(self, send: Send, bind: Any) -> None:
        """The queue goes first."""
        queue = RecordingQueue()

        assert {"siem": Dispatched("enqueued")} == send(bind({"siem": RecordingForwarder()}, queue))
        assert [EVENT.id] == [job.audit_event_id for job in queue.jobs]

    def test_sync_is_performed_once(self, send: Send, bind: Any, telemetry: RecordingTelemetry) -> None:
        """Its receipt is kept, and a second dispatch of the same event sends nothing."""
        sink = RecordingForwarder()
        audit_forward = bind({"siem": Route(sink, Dispatch.SYNC)})

        results = [send(audit_forward)["siem"].result for _ in range(2)]

        assert [(Outcome.OK, False), (Outcome.OK, True)] == [(result.outcome, result.duplicate) for result in results]
        assert ([EVENT.id], [Delivered]) == (sink.ids, [type(told) for told in telemetry.events])

    def test_a_sync_error_is_left_to_the_relay(self, send: Send, bind: Any, ledger: SQLiteLedger) -> None:
        """It is not discarded, for there is somebody who tries again; the sink that failed is left alone."""
        audit_forward = bind({"siem": Route(RaisingForwarder(SinkError("http_503")), Dispatch.SYNC)})

        results = [send(audit_forward)["siem"].result for _ in range(2)]

        assert ["http_503", "breaker_open"] == [result.reason for result in results]
        assert {Settlement(State.RETRYABLE)} == {result.settlement for result in results}


class TestLanes:
    """An `AuditForward` has the ledger store the lanes when it is made."""

    def test_a_lane_begins_now(self, bind: Any, ledger: SQLiteLedger) -> None:
        """A new forwarder does not owe all of history; one that is known keeps its floor."""
        before = datetime.now(timezone.utc)
        bind({"siem": RecordingForwarder()})
        after = datetime.now(timezone.utc)

        bind({"siem": RecordingForwarder()})

        (lane,) = ledger.lanes()
        assert before <= lane.floor <= after
        assert ("audit_events", "siem") == (lane.source, lane.forwarder)

    def test_a_lane_begins_with_since(self, bind: Any, ledger: SQLiteLedger) -> None:
        """A route says itself from when on it is owed."""
        bind({"siem": Route(RecordingForwarder(), since=MOMENT)}, repository=InMemoryAuditRepository(source="other"))

        assert [("other", MOMENT)] == [(lane.source, lane.floor) for lane in ledger.lanes()]

    def test_a_ledger_that_is_down_is_told(
        self, bind: Any, ledger: SQLiteLedger, telemetry: RecordingTelemetry, tmp_path: Path
    ) -> None:
        """The host starts all the same; the lane is stored later, with the floor of its first moment."""
        down = SQLiteLedger(tmp_path / "not_created.db")
        clock = FakeClock()
        before = datetime.now(timezone.utc)
        audit_forward = bind({"siem": RecordingForwarder()}, ledger=down, clock=clock)
        after = datetime.now(timezone.utc)
        first = [(told.forwarder, told.audit_event_id, told.reason, told.kind) for told in telemetry.of(Failed)]

        clock.advance(60)
        audit_forward.dispatch(EVENT)
        telemetry.wait_for(lambda events: len(events) == 2)
        down.create()
        clock.advance(60)
        audit_forward.dispatch(EVENT)
        while not down.lanes():
            pass

        assert [("siem", "", "lane_not_stored", "OperationalError")] == first
        assert before <= down.lanes()[0].floor <= after

    def test_a_ledger_that_hangs_holds_nobody_up(
        self, bind: Any, ledger: SQLiteLedger, telemetry: RecordingTelemetry
    ) -> None:
        """Constructing waits for 1.5 seconds at most."""

        class Hanging:
            back = Event()

            def __getattr__(self, name: str) -> Any:
                return lambda *_: self.back.wait()

        within(2.5, lambda: bind({"siem": RecordingForwarder()}, ledger=Hanging()))
        Hanging.back.set()

        assert [("lane_not_stored", "TimeoutError")] == [(told.reason, told.kind) for told in telemetry.of(Failed)]

    def test_closing_closes_the_ledger(self, bind: Any, ledger: SQLiteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is one of the ports."""
        closed: list[bool] = []
        monkeypatch.setattr(ledger, "close", lambda: closed.append(True))

        bind({"siem": RecordingForwarder()}).close()

        assert [True] == closed


class TestTheLookForARelay:
    """A host that leaves events to a relay which is not there is told so, once a minute."""

    @staticmethod
    def said(bind: Any, caplog: pytest.LogCaptureFixture, moves: list[float], ledger: Any) -> list[str]:
        """Dispatch after each of *moves* of the clock, and return what was logged."""
        clock = FakeClock()
        looks = Looks(ledger)
        audit_forward = bind({"siem": RecordingForwarder()}, ledger=looks, clock=clock)
        with caplog.at_level(logging.ERROR, "sigra_forward"):
            for seconds in moves:
                clock.advance(seconds)
                looks.looked.clear()
                audit_forward.dispatch(EVENT)
                if seconds >= 60:
                    assert looks.looked.wait(10)
            for thread in looks.threads:
                thread.join(10)
        return [record.message for record in caplog.records]

    def test_no_relay_is_said_once_a_minute(
        self, bind: Any, ledger: SQLiteLedger, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not in the first minute, for it may be about to start."""
        said = self.said(bind, caplog, [59, 0.5, 60, 1, 1, 60], ledger)

        assert [True, True] == [message.startswith(NO_RELAY) for message in said]

    def test_a_relay_is_seen(self, bind: Any, ledger: SQLiteLedger, caplog: pytest.LogCaptureFixture) -> None:
        """Its lease is what tells."""
        lane = ledger.lane("audit_events", "siem", MOMENT)
        ledger.acquire(lane.number, "relay", 60)

        assert [] == self.said(bind, caplog, [60], ledger)

    def test_a_relay_that_is_gone_for_long_is_missed(
        self, bind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A lease that ended a minute ago is of no relay that lives."""
        now = [MOMENT]
        ledger = SQLiteLedger(tmp_path / "other.db", now=lambda: now[0])
        ledger.create()
        ledger.acquire(ledger.lane("audit_events", "siem", MOMENT).number, "relay", 60)
        now[0] += timedelta(seconds=119)
        assert [] == self.said(bind, caplog, [60], ledger)
        now[0] += timedelta(seconds=1)

        assert 1 == len(self.said(bind, caplog, [60], ledger))

    def test_other_lanes_do_not_matter(self, bind: Any, ledger: SQLiteLedger, caplog: pytest.LogCaptureFixture) -> None:
        """A lane of another source, or of a forwarder that is gone, needs no relay of ours."""
        ledger.acquire(ledger.lane("audit_events", "siem", MOMENT).number, "relay", 60)
        ledger.lane("audit_events", "gone", MOMENT)
        ledger.lane("other", "siem", MOMENT)

        assert [] == self.said(bind, caplog, [60], ledger)

    def test_a_ledger_that_cannot_tell_is_said(
        self, bind: Any, ledger: SQLiteLedger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the name of what it raised."""

        def fail() -> Any:
            raise ValueError

        monkeypatch.setattr(ledger, "lanes", fail)

        assert ["whether a relay is at work could not be told: the ledger raised ValueError"] == self.said(
            bind, caplog, [60], ledger
        )


class Looks:
    """A ledger that tells when it is asked for its lanes, and by which threads."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.looked = Event()
        self.threads: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def lanes(self) -> Any:
        from threading import current_thread

        self.threads.append(current_thread())
        self.looked.set()
        return self._ledger.lanes()
