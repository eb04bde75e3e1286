"""
Upstream's scenarios of attaching at boot, A1 to A17.

A1, A2 and A3 do not translate: upstream names modules in a configuration, and warns of one that cannot be loaded; here a
forwarder is an object that the host has imported, and a library that it lacks is a `MissingDependencyError` on that import.
A12 does not translate: there is no configuration to look up in a cascade, only the arguments of `AuditForward`.

A8 to A10 differ in when: at construction, before anything is attached. A14 and A16 speak of a forwarder's options: here
they are its constructor's, and its route's. A17 differs from what upstream does, and is what it should have done.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from sigra_forward import AuditEvent, AuditForward, ConfigurationError, Dispatch, Route
from sigra_forward.signals import audit_log
from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder, RecordingQueue, make_event


def _attached(forwarders: Any, queue: Any = None) -> AuditForward:
    audit_forward = AuditForward(InMemoryAuditRepository(), forwarders, queue)
    audit_forward.attach()
    return audit_forward


@pytest.fixture(name="refusal")
def _refusal() -> str:
    """Return the message about an async route without a queue."""
    with pytest.raises(ConfigurationError) as refusal:
        _attached({"siem": Route(RecordingForwarder(), Dispatch.ASYNC)})
    return str(refusal.value)


def test_A4_a_forwarder_that_is_there_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Attaching what is complete logs nothing."""
    caplog.set_level(logging.DEBUG)

    _attached({"siem": RecordingForwarder()})

    assert [] == caplog.messages


def test_A5_no_forwarders_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Attaching no forwarders at all logs nothing, nor does an event then."""
    caplog.set_level(logging.DEBUG)
    _attached({})

    audit_log.send(None, event=make_event())

    assert [] == caplog.messages


def test_A6_without_an_audit_forward_nothing_is_heard_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A host that sets up no forwarding may announce events all the same: nobody hears, and nothing is logged."""
    caplog.set_level(logging.DEBUG)

    assert [] == audit_log.send(None, event=make_event())
    assert [] == caplog.messages


class Unfinished:
    """Has options, and no ``forward``."""

    def __init__(self, endpoint: str, api_key: str) -> None:
        self.endpoint = endpoint
        self.api_key = api_key

    def __repr__(self) -> str:
        return f"Unfinished(endpoint={self.endpoint!r}, api_key={self.api_key!r})"


def test_A7_a_forwarder_that_does_not_fit_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither message nor log about a forwarder that does not fit has an option's value, nor the key's name."""
    caplog.set_level(logging.DEBUG)

    with pytest.raises(ConfigurationError) as refusal:
        _attached({"siem": Unfinished("https://siem.example.com", api_key="hunter2")})
    said = str(refusal.value) + caplog.text

    assert [] == [word for word in ("hunter2", "api_key", "siem.example.com") if word in said]


def test_A8_async_without_a_queue_is_an_error_that_says_async(refusal: str) -> None:
    """Differs: async without a queue is an error that mentions it, and is raised at construction already."""
    assert "async" in refusal


def test_A9_the_error_names_the_forwarder(refusal: str) -> None:
    """Differs: the error names the forwarder by the name under which it is registered, not by its module."""
    assert "'siem'" in refusal


def test_A10_the_error_recommends_auto(refusal: str) -> None:
    """The error recommends auto."""
    assert "use Dispatch.AUTO" in refusal


def test_A11_auto_without_a_queue_is_fine() -> None:
    """Auto without a queue raises nothing, and hears."""
    sink = RecordingForwarder()
    _attached({"siem": Route(sink, Dispatch.AUTO)})

    audit_log.send(None, event=make_event())

    assert 1 == len(sink.events)


@pytest.mark.parametrize("dispatch", [Dispatch.SYNC, Dispatch.AUTO], ids=["sync", "auto"])
def test_A13_sync_and_auto_never_raise_for_a_missing_queue(dispatch: Dispatch) -> None:
    """Sync and auto never raise because there is no queue, neither at construction nor at an event."""
    _attached({"siem": Route(RecordingForwarder(), dispatch)})

    ((_, dispatched),) = audit_log.send(None, event=make_event())

    assert "performed" == dispatched["siem"].fate


def test_A14_each_forwarder_hears_each_event_once_by_its_own_options() -> None:
    """Each registered forwarder hears of each event once, as its own route has it."""
    billing, siem, archive = RecordingForwarder(), RecordingForwarder(), RecordingForwarder()
    _attached(
        {"billing": Route(billing, actions=("billing.*",)), "siem": Route(siem, Dispatch.SYNC), "archive": archive}
    )

    audit_log.send(None, event=make_event(action="billing.paid"))
    audit_log.send(None, event=make_event(action="session.create"))

    assert [1, 2, 2] == [len(sink.events) for sink in (billing, siem, archive)]


class Regional(RecordingForwarder):
    """Adds its *region* to what it keeps."""

    def __init__(self, region: str) -> None:
        super().__init__()
        self.region = region
        self.kept: list[tuple[str, str]] = []

    def forward(self, event: AuditEvent) -> None:
        self.kept.append((self.region, event.id))


def test_A15_one_kind_of_forwarder_under_two_names_delivers_twice() -> None:
    """Two forwarders of one class, under two names, each deliver, each with its own options."""
    west, east, event = Regional("west"), Regional("east"), make_event()
    _attached({"siem.west": west, "siem.east": east})

    audit_log.send(None, event=event)

    assert [[("west", event.id)], [("east", event.id)]] == [west.kept, east.kept]


def test_A16_attaching_again_replaces_and_does_not_add() -> None:
    """
    Attached again, it delivers once; to change its options a host detaches the old one and attaches a new one.

    Differs: upstream keeps the old options when it attaches anew.
    """
    old, new = RecordingForwarder(), RecordingForwarder()
    audit_forward = _attached({"siem": old})
    audit_forward.attach()
    audit_log.send(None, event=make_event())
    audit_forward.detach()
    _attached({"siem": new})

    audit_log.send(None, event=make_event())

    assert [1, 1] == [len(sink.events) for sink in (old, new)]


class Unready(RecordingQueue):
    """Refuses to be bound."""

    def bind(self, audit_forward: AuditForward, /) -> None:
        msg = "Unready has no queue named 'slow': it has 'fast'"
        raise ConfigurationError(msg)


def test_A17_what_a_part_says_when_it_is_bound_comes_out() -> None:
    """Differs: upstream ignores an error out of attach; here what the queue says comes out, and nothing is attached."""
    with pytest.raises(ConfigurationError, match="has no queue named 'slow'"):
        _attached({"siem": RecordingForwarder()}, Unready())

    assert not audit_log.receivers
