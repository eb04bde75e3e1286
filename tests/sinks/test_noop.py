"""`NoopForwarder`: the scenarios N1 to N3 of upstream, and that nothing stands in for a forwarder that is missing."""

from __future__ import annotations

import logging

import pytest

from sigra_forward import AuditForward, CancelReason, JobArgs, Outcome, perform, signals, sinks
from sigra_forward.sinks import NoopForwarder
from sigra_forward.stores import InMemoryAuditRepository
from sigra_forward.testing import RecordingTelemetry, make_event


def test_it_accepts() -> None:
    """N1: forwarding returns the plain yes (here it is `forward` that is called, and not upstream's attach)."""
    assert NoopForwarder().forward(make_event()) is None


def test_it_subscribes_to_nothing() -> None:
    """N2: neither making one, nor registering it, nor forwarding adds a listener to the audit signal."""
    before = len(signals.audit_log.receivers)

    with AuditForward(InMemoryAuditRepository(), {"noop": NoopForwarder()}) as audit_forward:
        audit_forward.dispatch(make_event())

        assert before == len(signals.audit_log.receivers)


def test_it_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """N3: it is silent."""
    caplog.set_level(logging.DEBUG)

    NoopForwarder().forward(make_event())

    assert [] == caplog.records


def test_it_is_active_only_where_it_is_listed() -> None:
    """A name that is not registered is cancelled: no noop says yes in its place."""
    event = make_event()
    job = JobArgs("siem", event.id)
    repository = InMemoryAuditRepository([event])

    listed, absent = (
        perform(job, repository=repository, forwarders=forwarders, telemetry=RecordingTelemetry())
        for forwarders in ({"siem": NoopForwarder()}, {})
    )

    assert (Outcome.OK, None) == (listed.outcome, listed.reason)
    assert (Outcome.CANCEL, CancelReason.UNKNOWN_FORWARDER) == (absent.outcome, absent.reason)


def test_what_is_no_sink_is_an_attribute_error() -> None:
    """The package loads its parts on first use, and has no others."""
    with pytest.raises(AttributeError, match="has no attribute 'SplunkForwarder'"):
        sinks.SplunkForwarder  # noqa: B018 - the look-up is the test
