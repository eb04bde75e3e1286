"""Telemetry: the four events, and those who hear of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from sigra_forward import CancelReason, Dispatch, Outcome, signals
from sigra_forward.telemetry import (
    SIGNALS,
    Delivered,
    Discarded,
    Enqueued,
    Failed,
    LoggingTelemetry,
    SignalTelemetry,
    TelemetryEvent,
    emit,
)
from sigra_forward.testing import RecordingTelemetry
from tests.support_perform import ORDERS, SECRET, GivingTelemetry, RaisingTelemetry, raises

SAID = "forwarder='siem' audit_event_id='17' action='session.create' attempt=1 dispatch='async'"
NAMED = ("siem", "17", "session.create", 1, Dispatch.ASYNC)

ENQUEUED = Enqueued(*NAMED)
DELIVERED = Delivered(*NAMED)
FAILED = Failed(*NAMED, Outcome.ERROR, "http_503", "http_503: busy", "SinkError", 7)
DISCARDED = Discarded(*NAMED, "http_503")

EVENTS = {
    "Enqueued": (ENQUEUED, signals.forward_enqueued),
    "Delivered": (DELIVERED, signals.forward_ok),
    "Failed": (FAILED, signals.forward_error),
    "Discarded": (DISCARDED, signals.forward_discarded),
}

each_event = pytest.mark.parametrize(("event", "signal"), EVENTS.values(), ids=EVENTS)
each_order = pytest.mark.parametrize("order", ORDERS, ids=lambda kind: kind.__name__)


class Hearing:
    """A subscriber that keeps what it hears, in ``heard``."""

    def __init__(self, answer: Any = None) -> None:
        self.heard: list[tuple[object, TelemetryEvent]] = []
        self._answer = answer

    def __call__(self, sender: object, event: TelemetryEvent) -> Any:
        """Keep it."""
        self.heard.append((sender, event))
        return self._answer


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages of the log lines so far."""
    return [record.getMessage() for record in caplog.records]


class TestEvents:
    """The four events."""

    @pytest.mark.parametrize("event", [ENQUEUED, DELIVERED, FAILED, DISCARDED], ids=EVENTS)
    def test_frozen(self, event: Any) -> None:
        """An event does not change."""
        with pytest.raises(AttributeError):
            event.forwarder = "other"

    @pytest.mark.parametrize("event", [ENQUEUED, DELIVERED, FAILED, DISCARDED], ids=EVENTS)
    def test_all_name_the_delivery(self, event: Any) -> None:
        """Each names the forwarder, the event's id and action, the attempt and the dispatch."""
        named = (event.forwarder, event.audit_event_id, event.action, event.attempt, event.dispatch)

        assert NAMED == named

    def test_failed_by_name(self) -> None:
        """`Failed` adds the outcome, the reason, the detail, the exception's type, and the time to the next attempt."""
        added = {"outcome", "reason", "detail", "kind", "retry_in"}

        assert added == set(Failed._fields) - set(Delivered._fields)

    def test_failed_leaves_out_what_is_not_known(self) -> None:
        """Detail, kind and retry_in are `None` where there is none."""
        failed = Failed("", "", None, 1, None, Outcome.CANCEL, CancelReason.INVALID_JOB_ARGS)

        assert (None, None, None) == (failed.detail, failed.kind, failed.retry_in)

    def test_discarded_adds_the_reason(self) -> None:
        """`Discarded` adds the reason of the `Failed` that it ends."""
        assert "http_503" == DISCARDED.reason


class TestSignalTelemetry:
    """Each event on its blinker signal."""

    @each_event
    def test_published(self, event: Any, signal: Any) -> None:
        """A subscriber is called as ``f(sender, event=…)``, the sender being the forwarder's name."""
        hearing = Hearing()
        signal.connect(hearing)

        SignalTelemetry().emit(event)

        assert [("siem", event)] == hearing.heard

    @each_event
    def test_on_no_other_signal(self, event: Any, signal: Any) -> None:
        """An event is published on its own signal alone."""
        hearing = Hearing()
        for other in {name for _, name in EVENTS.values()} - {signal}:
            other.connect(hearing)
        signals.audit_log.connect(hearing)

        SIGNALS.emit(event)

        assert [] == hearing.heard

    @each_event
    def test_nobody_hears(self, event: Any, signal: Any) -> None:
        """Without a subscriber nothing happens."""
        assert None is SIGNALS.emit(event)

    def test_one_sink(self) -> None:
        """A subscriber to one sender hears one sink."""
        siem, lake, all_of_them = Hearing(), Hearing(), Hearing()
        signals.forward_error.connect(siem, sender="siem")
        signals.forward_error.connect(lake, sender="lake")
        signals.forward_error.connect(all_of_them)

        SIGNALS.emit(FAILED)

        assert ([("siem", FAILED)], [], [("siem", FAILED)]) == (siem.heard, lake.heard, all_of_them.heard)

    def test_sender_that_is_equal(self) -> None:
        """Senders are told by the name, not by the object."""
        hearing = Hearing()
        signals.forward_error.connect(hearing, sender="".join(["si", "em"]))

        SIGNALS.emit(FAILED)

        assert [("siem", FAILED)] == hearing.heard

    def test_unknown_sender(self) -> None:
        """Malformed job args name no forwarder: those who hear all hear of them."""
        hearing = Hearing()
        signals.forward_error.connect(hearing)
        failed = Failed("", "", None, 1, Dispatch.ASYNC, Outcome.CANCEL, CancelReason.INVALID_JOB_ARGS)

        SIGNALS.emit(failed)

        assert [("", failed)] == hearing.heard

    def test_muted(self) -> None:
        """While a signal is muted, nobody hears it."""
        hearing = Hearing()
        signals.forward_ok.connect(hearing)

        with signals.forward_ok.muted():
            SIGNALS.emit(DELIVERED)

        assert [] == hearing.heard

    def test_heard_again(self) -> None:
        """Once a signal is no longer muted, it is heard again."""
        hearing = Hearing()
        signals.forward_ok.connect(hearing)

        with signals.forward_ok.muted():
            pass
        SIGNALS.emit(DELIVERED)

        assert [("siem", DELIVERED)] == hearing.heard

    def test_dead_subscriber(self) -> None:
        """A subscriber that is gone is not called: blinker holds it weakly."""
        hearing = Hearing()
        heard = hearing.heard
        signals.forward_ok.connect(hearing)
        del hearing

        SIGNALS.emit(DELIVERED)

        assert [] == heard

    def test_answer_is_ignored(self, caplog: pytest.LogCaptureFixture) -> None:
        """What a plain subscriber returns does not matter."""
        signals.forward_ok.connect(hearing := Hearing(True))

        SIGNALS.emit(DELIVERED)

        assert ([("siem", DELIVERED)], []) == (hearing.heard, lines(caplog))

    def test_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        """A subscriber that raises is logged, by its exception's type alone."""
        signals.forward_ok.connect(lambda sender, event: raises(ValueError(SECRET))(), weak=False)

        SIGNALS.emit(DELIVERED)

        assert ["a subscriber of sigra.audit.forward.ok raised ValueError"] == lines(caplog)
        assert [None] == [record.exc_info for record in caplog.records]

    def test_wrong_signature(self, caplog: pytest.LogCaptureFixture) -> None:
        """A subscriber that cannot be called like this has raised."""
        signals.forward_ok.connect(lambda: None, weak=False)

        SIGNALS.emit(DELIVERED)

        assert ["a subscriber of sigra.audit.forward.ok raised TypeError"] == lines(caplog)

    def test_async(self, caplog: pytest.LogCaptureFixture) -> None:
        """An async subscriber does not run: it is closed without a warning, and logged."""

        async def subscriber(sender: object, event: object) -> None:
            raise AssertionError

        signals.forward_ok.connect(subscriber)

        SIGNALS.emit(DELIVERED)

        line = "a subscriber of sigra.audit.forward.ok is async and did not run: subscribe a plain function"
        assert [line] == lines(caplog)

    def test_async_in_a_loop(self, caplog: pytest.LogCaptureFixture) -> None:
        """It does not run on a loop that happens to run either."""
        ran = []

        async def subscriber(sender: object, event: object) -> None:
            ran.append(event)

        async def scenario() -> None:
            signals.forward_ok.connect(subscriber)
            SIGNALS.emit(DELIVERED)
            await asyncio.sleep(0)

        asyncio.run(scenario())

        assert [] == ran

    @pytest.mark.parametrize("order", [ValueError, *ORDERS], ids=lambda kind: kind.__name__)
    def test_the_others_still_run(self, order: type[BaseException]) -> None:
        """Whatever one subscriber raises, all others hear."""
        before, after = Hearing(), Hearing()
        signals.forward_ok.connect(before)
        for _ in range(3):
            signals.forward_ok.connect(lambda sender, event: raises(order())(), weak=False)
        signals.forward_ok.connect(after)

        with suppress(*ORDERS):
            SIGNALS.emit(DELIVERED)

        assert [("siem", DELIVERED)] * 2 == before.heard + after.heard

    @each_order
    def test_order(self, order: type[BaseException]) -> None:
        """An order to the process goes on, once the others have heard."""
        signals.forward_ok.connect(lambda sender, event: raises(order())(), weak=False)
        signals.forward_ok.connect(hearing := Hearing())

        with pytest.raises(order):
            SIGNALS.emit(DELIVERED)

        assert [("siem", DELIVERED)] == hearing.heard

    def test_unsubscribes_itself(self) -> None:
        """A subscriber may unsubscribe while it is called, and is called no more."""
        heard = []

        def once(sender: object, event: TelemetryEvent) -> None:
            heard.append(event)
            signals.forward_ok.disconnect(once)

        signals.forward_ok.connect(once)

        SIGNALS.emit(DELIVERED)
        SIGNALS.emit(DELIVERED)

        assert [DELIVERED] == heard


@pytest.fixture(name="logged")
def _logged(caplog: pytest.LogCaptureFixture) -> Callable[[TelemetryEvent], logging.LogRecord]:
    caplog.set_level(logging.DEBUG, "sigra_forward.telemetry")

    def logged(event: TelemetryEvent) -> logging.LogRecord:
        LoggingTelemetry().emit(event)
        return caplog.records[-1]

    return logged


Logged = Callable[[TelemetryEvent], logging.LogRecord]


class TestLoggingTelemetry:
    """Each event as one log line."""

    @pytest.mark.parametrize(
        ("event", "level"),
        [
            (ENQUEUED, logging.DEBUG),
            (DELIVERED, logging.INFO),
            (FAILED, logging.WARNING),
            (DISCARDED, logging.ERROR),
        ],
        ids=EVENTS,
    )
    def test_level(self, event: TelemetryEvent, level: int, logged: Logged) -> None:
        """What is worse is logged on a higher level."""
        assert level == logged(event).levelno

    @pytest.mark.parametrize(
        ("event", "line"),
        [
            (
                ENQUEUED,
                f"enqueued {SAID}",
            ),
            (
                DELIVERED,
                f"delivered {SAID}",
            ),
            (
                FAILED,
                f"failed {SAID} outcome='error' reason='http_503' detail='http_503: busy' kind='SinkError' retry_in=7",
            ),
            (
                DISCARDED,
                f"discarded {SAID} reason='http_503'",
            ),
        ],
        ids=EVENTS,
    )
    def test_line(self, event: TelemetryEvent, line: str, logged: Logged) -> None:
        """The line names the event and its fields."""
        assert line == logged(event).getMessage()

    def test_what_is_not_known_is_left_out(self, logged: Logged) -> None:
        """A field that is `None` is left out; an empty one is not."""
        failed = Failed("", "", None, 1, None, Outcome.CANCEL, CancelReason.INVALID_JOB_ARGS)

        line = "failed forwarder='' audit_event_id='' attempt=1 outcome='cancel' reason='invalid_job_args'"
        assert line == logged(failed).getMessage()

    @pytest.mark.parametrize("event", [ENQUEUED, DELIVERED, FAILED, DISCARDED], ids=EVENTS)
    def test_record_carries_the_event(self, event: TelemetryEvent, logged: Logged) -> None:
        """A structured handler finds the event itself on the record."""
        assert event is vars(logged(event))["sigra_forward"]

    @pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\0", "\x85", "\u2028", "\u2029", "\ud800"], ids=ascii)
    def test_injection(self, character: str, logged: Logged) -> None:
        """No text in an event can begin a line of its own, or steer a terminal."""
        injected = f"login{character}CRITICAL root logged in"
        event = FAILED._replace(action=injected, detail=injected, reason=injected, kind=injected)

        line = logged(event).getMessage()

        assert line.isprintable()
        assert 4 == line.count("CRITICAL")

    def test_percent(self, logged: Logged) -> None:
        """A per cent sign is a per cent sign."""
        assert "action='100%s'" in logged(DELIVERED._replace(action="100%s")).getMessage()

    def test_level_that_nobody_hears(self, caplog: pytest.LogCaptureFixture) -> None:
        """What the logger does not take is not logged."""
        caplog.set_level(logging.WARNING, "sigra_forward.telemetry")
        telemetry = LoggingTelemetry()

        for event in (ENQUEUED, DELIVERED, FAILED):
            telemetry.emit(event)

        assert [logging.WARNING] == [record.levelno for record in caplog.records]

    def test_own_logger(self, caplog: pytest.LogCaptureFixture) -> None:
        """A host may give a logger of its own."""
        caplog.set_level(logging.INFO)

        LoggingTelemetry(logging.getLogger("host.audit")).emit(DELIVERED)

        assert ["host.audit"] == [record.name for record in caplog.records]

    def test_usual_logger(self, logged: Logged) -> None:
        """The logger is ``sigra_forward.telemetry`` otherwise."""
        assert "sigra_forward.telemetry" == logged(DELIVERED).name


class Unclosable:
    """Can be awaited, and raises when it is let go of."""

    def __await__(self) -> Iterator[None]:
        return iter(())

    def close(self) -> None:
        """Raise."""
        raise ValueError(SECRET)


class TestEmit:
    """Handing an event over, whatever becomes of it."""

    def test_handed_over(self) -> None:
        """The event is handed over as it is."""
        telemetry = RecordingTelemetry()

        emit(telemetry, FAILED)

        assert [FAILED] == telemetry.events

    def test_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        """What telemetry raises is logged, by its type alone."""
        emit(RaisingTelemetry(ValueError(SECRET)), FAILED)

        assert [("telemetry raised ValueError", None)] == [
            (record.getMessage(), record.exc_info) for record in caplog.records
        ]

    @pytest.mark.parametrize("answer", [None, True, "sent"], ids=["None", "True", "text"])
    def test_answer_is_ignored(self, answer: object, caplog: pytest.LogCaptureFixture) -> None:
        """What it returns does not matter."""
        emit(GivingTelemetry(answer), FAILED)

        assert [] == lines(caplog)

    def test_unclosable(self, caplog: pytest.LogCaptureFixture) -> None:
        """An awaitable that cannot be closed is logged, by the exception's type alone."""
        emit(GivingTelemetry(Unclosable()), FAILED)

        assert [
            "an awaitable that nobody awaits raised ValueError when it was closed",
            "Telemetry.emit is async and did not run: make it a plain function",
        ] == lines(caplog)

    @pytest.mark.parametrize("event", [None, "delivered", object()], ids=["None", "text", "object"])
    @pytest.mark.parametrize("telemetry", [SIGNALS, LoggingTelemetry()], ids=["signals", "logging"])
    def test_what_is_no_event(self, telemetry: Any, event: Any, caplog: pytest.LogCaptureFixture) -> None:
        """What is none of the four events is refused by its type."""
        emit(telemetry, event)

        assert ["telemetry raised KeyError"] == lines(caplog)

    @each_order
    def test_order(self, order: type[BaseException]) -> None:
        """An order to the process goes on."""
        with pytest.raises(order):
            emit(RaisingTelemetry(order()), FAILED)
