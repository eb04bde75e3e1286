"""
Upstream's scenarios of the forwarder contract, F1 to F3, and of the one that does nothing, N1 to N3.

All of them translate. In F1, F3 and N1 the contract's one callback is ``forward`` here, where upstream's is ``attach``: the
host attaches the `AuditForward`, and a forwarder subscribes to nothing.
"""

from __future__ import annotations

import inspect
import logging

import pytest

from sigra_forward import AuditEvent, AuditForward, Dispatch, Forwarder, Outcome, Route, ports
from sigra_forward.signals import audit_log
from sigra_forward.sinks import NoopForwarder
from sigra_forward.testing import InMemoryAuditRepository, make_event


def test_F1_the_contract_has_one_callback() -> None:
    """Differs: the one callback, with one argument, is ``forward(event)`` and not ``attach(opts)``."""
    callbacks = [name for name in vars(Forwarder) if not name.startswith("_")]

    assert ["forward"] == callbacks
    assert ["self", "event"] == list(inspect.signature(Forwarder.forward).parameters)


def test_F2_the_contract_says_how_to_test_against_it() -> None:
    """The ports' documentation names the test kit, and the suite that holds a forwarder to its promises."""
    assert "`sigra_forward.testing`" in (ports.__doc__ or "")
    assert "`ForwarderContract`" in (ports.__doc__ or "")


class Stub:
    """Implements the contract's one callback, and nothing else."""

    def forward(self, event: AuditEvent) -> None:
        """Accept *event*."""


def test_F3_a_stub_with_that_callback_alone_is_a_forwarder() -> None:
    """Differs: a stub that has ``forward`` alone, not ``attach``, is a valid forwarder, and its yes is OK."""
    dispatched = AuditForward(InMemoryAuditRepository(), {"siem": Stub()}).dispatch(make_event())
    result = dispatched["siem"].result

    assert isinstance(Stub(), Forwarder)
    assert result is not None
    assert Outcome.OK is result.outcome


def test_N1_noop_says_yes() -> None:
    """Differs: Noop's ``forward``, not its ``attach``, says yes to every event."""
    noop = Route(NoopForwarder(), Dispatch.SYNC)
    result = AuditForward(InMemoryAuditRepository(), {"noop": noop}).dispatch(make_event())["noop"].result

    assert result is not None
    assert (Outcome.OK, None) == (result.outcome, result.reason)


def test_N2_noop_adds_no_listener() -> None:
    """A Noop that is made, registered and used adds no subscriber to the audit signal."""
    before = len(audit_log.receivers)

    AuditForward(InMemoryAuditRepository(), {"noop": NoopForwarder()}).dispatch(make_event())

    assert before == len(audit_log.receivers)


def test_N3_noop_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A Noop that is made, registered and used logs nothing."""
    caplog.set_level(logging.DEBUG)

    AuditForward(InMemoryAuditRepository(), {"noop": NoopForwarder()}).dispatch(make_event())

    assert [] == caplog.messages
