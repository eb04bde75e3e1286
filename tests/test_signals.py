"""The signals: their names, their senders, and who may find them."""

from __future__ import annotations

from typing import Any

import blinker
import pytest

import sigra_forward
from sigra_forward import AuditForward, signals
from sigra_forward.testing import InMemoryAuditRepository, RaisingForwarder, RecordingForwarder, make_event

NAMES = {
    "audit_log": "sigra.audit.log",
    "forward_enqueued": "sigra.audit.forward.enqueued",
    "forward_ok": "sigra.audit.forward.ok",
    "forward_error": "sigra.audit.forward.error",
    "forward_discarded": "sigra.audit.forward.discarded",
}

each_signal = pytest.mark.parametrize(("constant", "name"), NAMES.items(), ids=NAMES)


def test_all() -> None:
    """There are five, and no more."""
    assert sorted(NAMES) == signals.__all__


@each_signal
def test_name(constant: str, name: str) -> None:
    """Each has its permanent name."""
    assert name == getattr(signals, constant).name


@each_signal
def test_namespace(constant: str, name: str) -> None:
    """Each is found by its name in blinker's default namespace."""
    assert getattr(signals, constant) is blinker.signal(name)


@each_signal
def test_documented(constant: str, name: str) -> None:
    """Each says what it is for, and stands in the table."""
    assert getattr(signals, constant).__doc__.endswith(".")
    assert f"``{name}``" in signals.__doc__


def test_part_of_the_package() -> None:
    """They are at hand as ``sigra_forward.signals``."""
    assert signals is sigra_forward.signals


@pytest.mark.parametrize(
    ("forwarder", "heard_by"),
    [(RecordingForwarder(), "forward_ok"), (RaisingForwarder(ValueError()), "forward_error")],
    ids=["delivered", "failed"],
)
def test_announce_and_hear(forwarder: Any, heard_by: str) -> None:
    """A host announces an event by one signal, and hears by another what became of it at one sink."""
    event, heard = make_event(), []
    getattr(signals, heard_by).connect(
        lambda sender, event: heard.append(event.audit_event_id), sender="siem", weak=False
    )
    app = object()
    forwarders = {"siem": forwarder, "lake": forwarder}

    with AuditForward(InMemoryAuditRepository([event]), forwarders) as audit_forward:
        audit_forward.attach()
        signals.audit_log.send(app, event=event)

    assert [event.id] == heard


def test_ok_is_told_once_per_delivery() -> None:
    """`forward_ok` fires at delivery, once, and nothing else does."""
    event, heard = make_event(), []
    for constant in sorted(NAMES.keys() - {"audit_log"}):
        subscriber: Any = lambda sender, event, constant=constant: heard.append(constant)  # noqa: E731
        getattr(signals, constant).connect(subscriber, weak=False)

    with AuditForward(InMemoryAuditRepository([event]), {"siem": RecordingForwarder()}) as audit_forward:
        audit_forward.dispatch(event)

    assert ["forward_ok"] == heard


def test_discarded_after_the_error() -> None:
    """`forward_discarded` follows the `forward_error` that it ends."""
    event, heard = make_event(), []
    signals.forward_discarded.connect(lambda sender, event: heard.append("discarded"), weak=False)
    signals.forward_error.connect(lambda sender, event: heard.append("error"), weak=False)

    with AuditForward(InMemoryAuditRepository([event]), {"siem": RaisingForwarder(ValueError())}) as audit_forward:
        audit_forward.dispatch(event)

    assert ["error", "discarded"] == heard
