"""
Upstream's dispatcher scenarios DS1 to DS15, both ways to dispatch.

All of them translate. DS6 to DS8 ask upstream whether a queue runs; the port never asks: the enqueue is the probe. DS14
is an error here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sigra_forward import (
    AuditEvent,
    AuditForward,
    ConfigurationError,
    Dispatch,
    Dispatched,
    EnqueueError,
    JobArgs,
    Outcome,
    Route,
)
from sigra_forward.telemetry import Failed
from sigra_forward.testing import (
    InMemoryAuditRepository,
    RecordingForwarder,
    RecordingQueue,
    RecordingTelemetry,
    RefusingQueue,
    make_event,
)

Send = Callable[[AuditForward, AuditEvent], Mapping[str, Dispatched]]

WAYS: dict[str, Send] = {
    "dispatch": lambda audit_forward, event: audit_forward.dispatch(event),
    "adispatch": lambda audit_forward, event: asyncio.run(audit_forward.adispatch(event)),
}


@pytest.fixture(name="send", params=WAYS.values(), ids=WAYS)
def _send(request: pytest.FixtureRequest) -> Send:
    """Both ways to dispatch."""
    return request.param


def _sent(send: Send, event: AuditEvent, forwarders: Mapping[str, Any], queue: Any = None, **ports: Any) -> Any:
    with AuditForward(InMemoryAuditRepository(), forwarders, queue, **ports) as audit_forward:
        return send(audit_forward, event)


def test_DS1_sync_runs_inline_and_says_ok(send: Send) -> None:
    """Dispatched sync, the forwarder runs inline, and the result is OK."""
    sink, event = RecordingForwarder(), make_event()

    siem = _sent(send, event, {"siem": Route(sink, Dispatch.SYNC)}, RecordingQueue())["siem"]

    assert ("performed", Outcome.OK, [event]) == (siem.fate, siem.result.outcome, sink.events)


def test_DS2_sync_hands_over_the_event_as_it_is(send: Send) -> None:
    """Dispatched sync, the forwarder receives the identical event. Options are its own: it holds them already."""
    sink, event = RecordingForwarder(), make_event()

    _sent(send, event, {"siem": Route(sink, Dispatch.SYNC)})

    assert sink.events[0] is event


def test_DS3_async_with_a_queue_enqueues(send: Send) -> None:
    """Dispatched async, nothing is raised, and a job is on the queue."""
    queue, event = RecordingQueue(), make_event()

    dispatched = _sent(send, event, {"siem": Route(RecordingForwarder(), Dispatch.ASYNC)}, queue)

    assert ({"siem": Dispatched("enqueued")}, 1) == (dispatched, len(queue.jobs))


def test_DS4_auto_without_a_queue_runs_inline(send: Send) -> None:
    """Dispatched auto without a queue, the forwarder runs inline with the same event, and the result is OK."""
    sink, event = RecordingForwarder(), make_event()

    siem = _sent(send, event, {"siem": Route(sink, Dispatch.AUTO)})["siem"]

    assert (Outcome.OK, [event]) == (siem.result.outcome, sink.events)


def test_DS5_auto_with_a_queue_enqueues(send: Send) -> None:
    """Dispatched auto with a queue that runs, there is a job, and the forwarder is not called inline."""
    sink = RecordingForwarder()

    dispatched = _sent(send, make_event(), {"siem": Route(sink, Dispatch.AUTO)}, RecordingQueue())

    assert ({"siem": Dispatched("enqueued")}, []) == (dispatched, sink.events)


def test_DS6_a_queue_that_does_not_run_is_found_out_by_the_enqueue(send: Send) -> None:
    """Differs: upstream's answer to "running?" is no; here the enqueue is tried, fails, and auto goes inline."""
    sink, queue, event = RecordingForwarder(), RefusingQueue(), make_event()

    dispatched = _sent(send, event, {"siem": sink}, queue)

    assert (1, "performed", [event]) == (queue.tries, dispatched["siem"].fate, sink.events)


def test_DS7_a_queue_that_runs_is_found_out_by_the_enqueue(send: Send) -> None:
    """Differs: upstream's answer to "running?" is yes, by a name in a registry; here the enqueue succeeds."""
    queue = RefusingQueue()
    queue.error = None

    dispatched = _sent(send, make_event(), {"siem": RecordingForwarder()}, queue)

    assert (1, "enqueued") == (queue.tries, dispatched["siem"].fate)


def test_DS8_nobody_asks_whether_the_queue_runs(send: Send) -> None:
    """Differs: upstream has a public check; here there is none, and of the queue only the port's methods are used."""
    asked: set[str] = set()

    class WatchedQueue(RecordingQueue):
        def __getattribute__(self, name: str) -> Any:
            asked.add(name)
            return super().__getattribute__(name)

    _sent(send, make_event(), {"siem": RecordingForwarder()}, WatchedQueue())
    public = {name for name in asked if not name.startswith("_")} - {"jobs"}

    assert {"bind", "enqueue"} <= public <= {"bind", "enqueue", "aenqueue", "close"}


def test_DS9_no_dispatch_given_is_auto(send: Send) -> None:
    """A forwarder registered without a dispatch is dispatched auto: a job with a queue, inline without."""
    fates = [
        _sent(send, make_event(), {"siem": RecordingForwarder()}, queue)["siem"].fate
        for queue in (RecordingQueue(), None)
    ]

    assert ["enqueued", "performed"] == fates


def test_DS10_a_job_carries_the_three_thin_keys_alone(send: Send) -> None:
    """A job's args are exactly the three thin keys: no field of the event, no secret, no option leaks into them."""
    queue, event = RecordingQueue(), make_event(metadata={"token": "hunter2"})

    _sent(send, event, {"siem": RecordingForwarder()}, queue)

    assert {
        "forwarder": "siem",
        "audit_event_id": event.id,
        "occurred_at": event.occurred_at.isoformat(),
    } == queue.jobs[0].to_dict()


def test_DS11_occurred_at_is_iso_8601_or_none(send: Send) -> None:
    """``occurred_at`` travels as ISO 8601, in UTC, and ``None`` as ``None``; an event always has one here."""
    queue = RecordingQueue()
    occurred_at = datetime(2026, 1, 31, 11, 30, tzinfo=timezone(timedelta(hours=2)))

    _sent(send, make_event(occurred_at=occurred_at), {"siem": RecordingForwarder()}, queue)

    assert "2026-01-31T09:30:00+00:00" == queue.jobs[0].to_dict()["occurred_at"]
    assert None is JobArgs("siem", "1").to_dict()["occurred_at"]


def test_DS12_an_enqueue_error_is_told_as_it_is(send: Send) -> None:
    """A failed insert is never swallowed: async has the fate ``failed``, and the error event has the queue's words."""
    telemetry = RecordingTelemetry()
    queue = RefusingQueue(EnqueueError("the table oban_jobs is missing"))

    dispatched = _sent(
        send, make_event(), {"siem": Route(RecordingForwarder(), Dispatch.ASYNC)}, queue, telemetry=telemetry
    )

    assert {"siem": Dispatched("failed")} == dispatched
    assert ["the table oban_jobs is missing"] == [told.detail for told in telemetry.of(Failed)]


def test_DS13_async_without_a_queue_is_an_explicit_error() -> None:
    """Where there is no queue async is an explicit error, at construction already, and never a silent OK."""
    with pytest.raises(ConfigurationError, match="there is no queue"):
        AuditForward(InMemoryAuditRepository(), {"siem": Route(RecordingForwarder(), Dispatch.ASYNC)})


def test_DS14_a_forwarder_without_forward_is_an_error() -> None:
    """Differs: upstream answers ok and drops every event; here it is an error at construction."""
    with pytest.raises(ConfigurationError, match=r"'siem'.*has no forward"):
        AuditForward(InMemoryAuditRepository(), {"siem": object()})  # type: ignore[dict-item]


def test_DS15_two_forwarders_dispatch_independently(send: Send) -> None:
    """Two forwarders with different modes each go their own way."""
    inline, queued, event = RecordingForwarder(), RecordingForwarder(), make_event()
    forwarders = {"inline": Route(inline, Dispatch.SYNC), "queued": Route(queued, Dispatch.ASYNC)}

    dispatched = _sent(send, event, forwarders, RecordingQueue())

    assert {"inline": "performed", "queued": "enqueued"} == {name: each.fate for name, each in dispatched.items()}
    assert ([event], []) == (inline.events, queued.events)
