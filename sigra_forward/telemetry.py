"""What is told of every delivery, and to whom: the four events, and the `Telemetry` implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sigra_forward import signals
from sigra_forward._awaitables import close_if_awaitable
from sigra_forward._log import log_error
from sigra_forward._names import type_name
from sigra_forward._outcome import CancelReason, Outcome

if TYPE_CHECKING:
    import logging

    from sigra_forward._route import Dispatch
    from sigra_forward.ports import Telemetry

__all__ = [
    "Delivered",
    "Discarded",
    "Enqueued",
    "Failed",
    "LoggingTelemetry",
    "SignalTelemetry",
    "TelemetryEvent",
]


class Enqueued(NamedTuple):
    """A job is on the queue; it will run as *attempt*."""

    forwarder: str
    audit_event_id: str
    action: str | None
    attempt: int
    dispatch: Dispatch | None


class Delivered(NamedTuple):
    """The sink said yes."""

    forwarder: str
    audit_event_id: str
    action: str | None
    attempt: int
    dispatch: Dispatch | None


class Failed(NamedTuple):
    """
    A perform or an enqueue ended in anything but ``OK``.

    *forwarder* and *audit_event_id* are ``""`` when the job args are malformed; *action* is ``None`` until the row
    is loaded. *kind* is the name of the exception's type, *retry_in* the seconds until the next attempt, if there is
    one and the queue owns it.
    """

    forwarder: str
    audit_event_id: str
    action: str | None
    attempt: int
    dispatch: Dispatch | None
    outcome: Outcome
    reason: CancelReason | str | None
    detail: str | None = None
    kind: str | None = None
    retry_in: int | None = None


class Discarded(NamedTuple):
    """The delivery was given up. Follows the `Failed` that ended it."""

    forwarder: str
    audit_event_id: str
    action: str | None
    attempt: int
    dispatch: Dispatch | None
    reason: CancelReason | str | None


TelemetryEvent: TypeAlias = "Enqueued | Delivered | Failed | Discarded"


class SignalTelemetry:
    """
    Publish each event on its blinker signal. The default.

    Each subscriber is on its own: one that raises is logged, by its exception's type alone, and the others still
    run. An async subscriber cannot be awaited here; it is logged, and does not run. A `BaseException` that is no
    `Exception` goes on to the caller once the others have run: it is an order to the process.
    """

    _SIGNALS = {
        Enqueued: signals.forward_enqueued,
        Delivered: signals.forward_ok,
        Failed: signals.forward_error,
        Discarded: signals.forward_discarded,
    }

    def emit(self, event: TelemetryEvent, /) -> None:
        """Call every subscriber of *event*'s signal as ``f(forwarder, event=event)``."""
        signal = self._SIGNALS[type(event)]
        if not signal.receivers or signal.is_muted:
            return
        order: BaseException | None = None
        for subscriber in signal.receivers_for(event.forwarder):
            try:
                answer = subscriber(event.forwarder, event=event)
            except Exception as exc:  # noqa: BLE001 - a subscriber never changes the outcome of a job
                log_error("a subscriber of %s raised %s", signal.name, type_name(exc))
                continue
            except BaseException as exc:  # noqa: BLE001 - raised again below
                order = exc
                continue
            if answer is not None and close_if_awaitable(answer):
                log_error("a subscriber of %s is async and did not run: subscribe a plain function", signal.name)
        if order is not None:
            raise order


class LoggingTelemetry:
    """
    Write each event as one log line.

    `Enqueued` at DEBUG, `Delivered` at INFO, `Failed` at WARNING and `Discarded` at ERROR. The record carries the
    telemetry event itself as ``record.sigra_forward``, for structured handlers.

    Args:
        logger: Where to; ``sigra_forward.telemetry`` by default.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        import logging

        self._logger = logger or logging.getLogger("sigra_forward.telemetry")
        self._levels: dict[type[TelemetryEvent], int] = {
            Enqueued: logging.DEBUG,
            Delivered: logging.INFO,
            Failed: logging.WARNING,
            Discarded: logging.ERROR,
        }

    def emit(self, event: TelemetryEvent, /) -> None:
        """Write one line: the event's name, and its fields that are set."""
        level = self._levels[type(event)]
        if self._logger.isEnabledFor(level):
            words = " ".join(f"{name}={_word(value)}" for name, value in event._asdict().items() if value is not None)
            self._logger.log(level, "%s %s", type(event).__name__.lower(), words, extra={"sigra_forward": event})


def _word(value: object) -> str:
    return repr(getattr(value, "value", value))


SIGNALS = SignalTelemetry()


def emit(telemetry: Telemetry, event: TelemetryEvent) -> None:
    """Hand *event* to *telemetry*; what goes wrong there is logged, and nothing else changes."""
    try:
        answer = telemetry.emit(event)
    except Exception as exc:  # noqa: BLE001 - telemetry never changes the outcome of a job
        log_error("telemetry raised %s", type_name(exc))
        return
    if answer is not None and close_if_awaitable(answer):
        log_error("Telemetry.emit is async and did not run: make it a plain function")
