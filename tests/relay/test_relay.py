"""`Relay`: threads of its own, a lane for each forwarder."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from threading import Event, Thread, active_count
from time import monotonic, sleep
from typing import Any

import pytest

from sigra_forward import AuditForward, ConfigurationError, Dispatch, Route, State
from sigra_forward.relay import Relay
from sigra_forward.relay._relay import DEFAULT_GRACE
from sigra_forward.stores import SQLiteLedger
from sigra_forward.testing import (
    FakeClock,
    InMemoryAuditRepository,
    RecordingForwarder,
    RecordingQueue,
    RecordingTelemetry,
    make_event,
)
from sigra_forward.testing.contracts import within
from tests.support_perform import raises

PATIENCE = 10.0

LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)
"""Before any event of these tests."""


@pytest.fixture
def ledger(tmp_path: Path) -> SQLiteLedger:
    """Give a ledger with nothing in it."""
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    ledger.create()
    return ledger


@pytest.fixture
def table() -> InMemoryAuditRepository:
    """Give an audit table with nothing in it."""
    return InMemoryAuditRepository()


@pytest.fixture
def bind(ledger: SQLiteLedger, table: InMemoryAuditRepository) -> Iterator[Callable[..., AuditForward]]:
    """Bind forwarders to these."""
    bound: list[AuditForward] = []

    def bind(forwarders: Any, **others: Any) -> AuditForward:
        ports = {"repository": table, "ledger": ledger, "telemetry": RecordingTelemetry(), **others}
        routes = {
            name: entry if isinstance(entry, Route) else Route(entry, since=LONG_AGO)
            for name, entry in forwarders.items()
        }
        bound.append(AuditForward(forwarders=routes, **ports))
        return bound[-1]

    yield bind
    for audit_forward in bound:
        audit_forward.close()


def states(ledger: SQLiteLedger, lane: int = 1) -> list[State]:
    """Return the states of a lane's receipts."""
    return [receipt.state for receipt in ledger.page(lane, "", 1000)]


class TestWork:
    """It is started, works and is stopped."""

    def test_what_is_committed_is_delivered(self, bind: Any, table: Any, ledger: SQLiteLedger) -> None:
        """While it runs, and it ends with the batch in hand settled."""
        sink = RecordingForwarder()
        with Relay(bind({"siem": sink}), poll=0.01):
            for number in range(10):
                table.add(make_event(id=str(number)))
                sink.wait_for(number + 1)

        assert [State.COMPLETED] * 10 == states(ledger)
        assert ledger.acquire(1, "another", 1) is not None

    def test_it_runs_until_it_is_told_to_stop(self, bind: Any, table: Any) -> None:
        """As a process does."""
        sink = RecordingForwarder()
        relay = Relay(bind({"siem": sink}), poll=0.01)
        running = Thread(target=relay.run, daemon=True)
        running.start()
        table.add(make_event())
        sink.wait_for(1)

        assert relay.stop()
        running.join(PATIENCE)
        assert not running.is_alive()

    def test_once(self, bind: Any, table: Any, ledger: SQLiteLedger) -> None:
        """Everything that is owed now, and nothing is left running."""
        sink, other = RecordingForwarder(), RecordingForwarder()
        relay = Relay(bind({"siem": sink, "archive": other}))
        threads = active_count()
        for number in range(5000):
            table.add(make_event(id=str(number)))

        relay.run_once()
        relay.run_once()

        assert [5000, 5000, threads] == [len(sink.ids), len(other.ids), active_count()]
        assert [State.COMPLETED] * 1000 == states(ledger)

    def test_a_sink_that_hangs_delays_no_other(self, bind: Any, table: Any) -> None:
        """Each has a lane and a thread of its own; stopping waits no longer than it is told to."""
        hangs, back = Event(), Event()

        class Hanging(RecordingForwarder):
            def forward_batch(self, events: Any) -> None:
                hangs.set()
                back.wait()

        sink = RecordingForwarder()
        relay = Relay(bind({"dead": Hanging(), "siem": sink}), poll=0.01).start()
        table.add(make_event())
        sink.wait_for(1)
        assert hangs.wait(PATIENCE)

        has_ended = within(PATIENCE, lambda: relay.stop(0.1))
        back.set()

        assert (False, True) == (has_ended, relay.stop())

    def test_some_of_the_forwarders(self, bind: Any, table: Any) -> None:
        """Others may be another relay's."""
        sink, other = RecordingForwarder(), RecordingForwarder()
        table.add(make_event())

        Relay(bind({"siem": sink, "archive": other}), forwarders=["siem", "siem"]).run_once()

        assert [1, 0] == [len(sink.ids), len(other.ids)]

    def test_it_is_started_once(self, bind: Any) -> None:
        """And may be started again when it was stopped."""
        relay = Relay(bind({"siem": RecordingForwarder()})).start()

        with pytest.raises(
            ConfigurationError, match=r"^this Relay is at work already: start it once, or stop\(\) it first$"
        ):
            relay.start()
        assert relay.stop()
        assert relay.start().stop()

    def test_after_a_fork_it_is_started_in_the_child(self, bind: Any, table: Any, ledger: SQLiteLedger) -> None:
        """The child has none of its parent's threads."""
        relay = Relay(bind({"siem": RecordingForwarder()}), poll=0.01, lease=1000.0)
        relay.start()
        relay.stop()
        table.add(make_event())
        child = os.fork()
        if not child:
            code = 1
            try:
                relay.start()
                until = monotonic() + PATIENCE
                while not states(ledger) and monotonic() < until:
                    sleep(0.01)
                code = 0 if relay.stop(PATIENCE) else 2
            finally:
                os._exit(code)

        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert [State.COMPLETED] == states(ledger)


class TestTroubles:
    """The ledger, or the audit table, cannot be asked."""

    def test_it_tries_again_and_says_so_once_a_minute(
        self,
        bind: Any,
        table: Any,
        ledger: SQLiteLedger,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Longer after each time, half a minute at most; and goes on when it is back."""
        clock, sink, head = FakeClock(), RecordingForwarder(), table.head
        monkeypatch.setattr(table, "head", raises(KeyError()))
        table.add(make_event())
        relay = Relay(bind({"siem": sink}, clock=clock))

        with caplog.at_level(logging.ERROR, "sigra_forward"):
            relay.start()
            moments = [clock.advance_to_next() for _ in range(7)]
            monkeypatch.setattr(table, "head", head)
            while not sink.events:
                clock.advance_to_next()
            relay.stop()

        said = "the relay cannot work 'siem' now, and tries again: the ledger or the audit table raised KeyError"
        assert [1, 3, 7, 15, 31, 61, 91] == moments
        assert [said] * 2 == [record.message for record in caplog.records if record.name == "sigra_forward"]

    def test_a_lane_that_cannot_be_let_go_of_is_said(
        self,
        bind: Any,
        table: Any,
        ledger: SQLiteLedger,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The lease ends by itself."""
        sink = RecordingForwarder()
        monkeypatch.setattr(ledger, "release", raises(KeyError()))
        relay = Relay(bind({"siem": sink}), poll=0.01).start()
        table.add(make_event())
        sink.wait_for(1)

        with caplog.at_level(logging.ERROR, "sigra_forward"):
            assert relay.stop()

        assert ["the relay could not let go of 'siem': the ledger raised KeyError"] == [
            record.message for record in caplog.records if record.name == "sigra_forward"
        ]

    def test_who_loses_the_lease_stands_by(self, bind: Any, table: Any, ledger: SQLiteLedger) -> None:
        """It works again when the other one is gone."""
        sink = RecordingForwarder()
        relay = Relay(bind({"siem": sink}), poll=0.01, lease=0.03).start()
        table.add(make_event(id="1"))
        sink.wait_for(1)
        ledger._change(lambda connection: connection.change("UPDATE sigra_forward_lanes SET epoch = epoch + 1"))
        table.add(make_event(id="2"))

        sink.wait_for(2)
        assert relay.stop()


class TestGrace:
    """For how long an event is left to those who go first."""

    @pytest.mark.parametrize(
        ("dispatch", "queue", "expected"),
        [
            (Dispatch.AUTO, None, 0.0),
            (Dispatch.SYNC, None, DEFAULT_GRACE),
            (Dispatch.AUTO, RecordingQueue(), DEFAULT_GRACE),
            (Dispatch.ASYNC, RecordingQueue(), DEFAULT_GRACE),
        ],
        ids=["alone", "sync", "queue", "async"],
    )
    def test_it_depends_on_the_route(self, bind: Any, dispatch: Dispatch, queue: Any, expected: float) -> None:
        """Without anybody who goes first there is none."""
        relay = Relay(bind({"siem": Route(RecordingForwarder(), dispatch)}, queue=queue))

        assert expected == relay._options["siem"].pace.grace

    def test_it_can_be_said(self, bind: Any) -> None:
        """By whoever knows better."""
        relay = Relay(bind({"siem": RecordingForwarder()}), grace=5)

        assert 5 == relay._options["siem"].pace.grace


MISTAKES = {
    "page": ({"page": 0}, r"^Relay\(page=\.\.\.\) must be an integer of at least 1$"),
    "max_bytes": ({"max_bytes": 1.5}, r"^Relay\(max_bytes=\.\.\.\) must be an integer of at least 1$"),
    "poll": ({"poll": 0}, r"^Relay\(poll=\.\.\.\) must be a finite number of more than 0$"),
    "rate": ({"rate": -1}, r"^Relay\(rate=\.\.\.\) must be a finite number of more than 0$"),
    "recovery_rate": ({"recovery_rate": float("inf")}, r"^Relay\(recovery_rate=\.\.\.\) must be a finite number"),
    "grace": (
        {"grace": -1},
        r"^Relay\(grace=\.\.\., rereads=\.\.\.\) must be finite numbers of seconds of at least 0$",
    ),
    "rereads": ({"rereads": ("5",)}, r"^Relay\(grace=\.\.\., rereads=\.\.\.\) must be finite numbers"),
    "an unknown forwarder": (
        {"forwarders": ["nobody"]},
        r"^Relay\(forwarders=\.\.\.\) must be names of the AuditForward's forwarders, which are siem$",
    ),
    "a text": ({"forwarders": "siem"}, r"^Relay\(forwarders=\.\.\.\) must be names"),
}


@pytest.mark.parametrize(("options", "words"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_said(bind: Any, options: dict[str, Any], words: str) -> None:
    """It says what is wrong, and what is allowed."""
    with pytest.raises(ConfigurationError, match=words):
        Relay(bind({"siem": RecordingForwarder()}), **options)


def test_without_a_ledger_there_is_nothing_to_relay(table: Any) -> None:
    """It says what it needs."""
    with pytest.raises(
        ConfigurationError, match=r"^a Relay needs an AuditForward whose ledger has lane, lanes, acquire"
    ):
        Relay(AuditForward(table, {"siem": RecordingForwarder()}))


def test_a_repository_that_cannot_be_read_from_end_to_end(bind: Any) -> None:
    """It must be an audit source."""

    class OneByOne:
        def get(self, audit_event_id: str) -> None: ...

    with pytest.raises(
        ConfigurationError, match=r"whose repository has get_many, head, scan: see sigra_forward.ports$"
    ):
        Relay(bind({"siem": RecordingForwarder()}, repository=OneByOne()))
