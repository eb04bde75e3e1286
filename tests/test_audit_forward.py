"""`AuditForward`: what it refuses to be built from, its subscription, its perform, and its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import blinker
import pytest

from sigra_forward import (
    AuditEvent,
    AuditForward,
    CancelReason,
    ConfigurationError,
    Dispatch,
    JobArgs,
    Outcome,
    Result,
    RetryPolicy,
    Route,
    SinkError,
    State,
)
from sigra_forward._audit_forward import NAME_RULE
from sigra_forward._bounded import MAX_THREADS
from sigra_forward.queues import InProcessQueue
from sigra_forward.signals import audit_log, forward_ok
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
from tests.support_ids import spelled

SECRET = "hunter2"


class Secretive:
    """Has options that nobody must see, and shows them in its ``repr``."""

    def __init__(self) -> None:
        self.api_key = SECRET

    def __repr__(self) -> str:
        return f"Secretive(api_key={SECRET!r})"

    __str__ = __repr__


class SecretForwarder(Secretive):
    """A forwarder with such options."""

    def forward(self, event: AuditEvent) -> None: ...


def _bound(**ports: Any) -> AuditForward:
    """Bind *ports*, and for the rest those that fit."""
    return AuditForward(
        **{"repository": InMemoryAuditRepository(), "forwarders": {"siem": RecordingForwarder()}, **ports}
    )


# What it refuses

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no_repository": ({"repository": None}, "AuditForward(repository=...) is a NoneType: pass an object with get(), "),
    "a_secretive_repository": ({"repository": Secretive()}, "AuditForward(repository=...) is a Secretive: pass "),
    "the_class_of_a_repository": (
        {"repository": InMemoryAuditRepository},
        "AuditForward(repository=...) is the class InMemoryAuditRepository: pass an object with get(), ",
    ),
    "telemetry": (
        {"telemetry": Secretive()},
        "AuditForward(telemetry=...) is a Secretive: pass an object with emit(), ",
    ),
    "no_telemetry": ({"telemetry": None}, "AuditForward(telemetry=...) is a NoneType: pass an object with emit(), "),
    "queue": (
        {"queue": Secretive()},
        "AuditForward(queue=...) is a Secretive: pass an object with bind() and enqueue(), see sigra_forward.ports",
    ),
    "the_class_of_a_queue": ({"queue": RecordingQueue}, "AuditForward(queue=...) is the class RecordingQueue: pass "),
    "policy": ({"policy": SECRET}, "AuditForward(policy=...) must be a RetryPolicy"),
    "ledger": (
        {"ledger": Secretive()},
        "AuditForward(ledger=...) is a Secretive: pass an object with now() and lane() and lanes() and look() and ",
    ),
    "forwarders_no_mapping": (
        {"forwarders": [SecretForwarder()]},
        "AuditForward(forwarders=...) must map each name to its forwarder; got a list",
    ),
    "no_forwarders": ({"forwarders": None}, "must map each name to its forwarder; got a NoneType"),
    "an_empty_name": ({"forwarders": {"": SecretForwarder()}}, f"the name of forwarder 1 must be {NAME_RULE}"),
    "a_bad_name": (
        {"forwarders": {"siem": SecretForwarder(), f"{SECRET} {SECRET}": SecretForwarder()}},
        f"the name of forwarder 2 must be {NAME_RULE}",
    ),
    "a_name_with_a_line_end": ({"forwarders": {"siem\n": SecretForwarder()}}, f"forwarder 1 must be {NAME_RULE}"),
    "a_name_too_long": ({"forwarders": {"x" * 256: SecretForwarder()}}, f"forwarder 1 must be {NAME_RULE}"),
    "a_name_of_other_letters": ({"forwarders": {"sïem": SecretForwarder()}}, f"forwarder 1 must be {NAME_RULE}"),
    "a_name_that_is_no_text": ({"forwarders": {1: SecretForwarder()}}, f"forwarder 1 must be {NAME_RULE}"),
    "no_forward": (
        {"forwarders": {"siem": Secretive()}},
        "forwarders['siem']: the forwarder, a Secretive, has no forward",
    ),
    "no_object": ({"forwarders": {"siem": None}}, "forwarders['siem']: the forwarder, a NoneType, has no forward"),
    "the_class_of_a_forwarder": (
        {"forwarders": {"siem": SecretForwarder}},
        "forwarders['siem']: the forwarder is the class SecretForwarder: pass an instance of it",
    ),
    "async_without_a_queue": (
        {"forwarders": {"siem": Route(SecretForwarder(), Dispatch.ASYNC)}},
        "'siem' is dispatched async, but there is no queue: pass queue=..., or use Dispatch.AUTO",
    ),
    "a_named_queue_without_a_queue": (
        {"forwarders": {"siem": Route(SecretForwarder(), queue=SECRET)}},
        "'siem' names a queue, but there is none: pass queue=..., or leave Route(queue=...) out",
    ),
    "a_bad_source": (
        {"repository": InMemoryAuditRepository(source=f"{SECRET} {SECRET}")},
        f"InMemoryAuditRepository.source must be {NAME_RULE}",
    ),
}

refused = pytest.mark.parametrize(("ports", "words"), REFUSED.values(), ids=REFUSED)


@refused
def test_what_does_not_fit_is_refused_with_what_to_do(ports: dict[str, Any], words: str) -> None:
    """It validates at construction, and the message says what is wrong and what to do."""
    with pytest.raises(ConfigurationError) as refusal:
        _bound(**ports)

    assert words in str(refusal.value)


@refused
def test_a_refusal_never_prints_an_option(ports: dict[str, Any], words: str) -> None:
    """A message says what to do without printing an option's value."""
    with pytest.raises(ConfigurationError) as refusal:
        _bound(**ports)

    assert SECRET not in str(refusal.value)
    assert "api_key" not in str(refusal.value)


@pytest.mark.parametrize(
    ("option", "value"), [("deadline", -1), ("deadline", float("nan")), ("max_events", 0)], ids=str
)
def test_a_forwarder_with_an_attribute_that_makes_no_sense_is_refused_by_name(option: str, value: object) -> None:
    """A bare forwarder whose ``deadline`` or ``max_events`` makes no sense is refused under its name."""
    forwarder = RecordingForwarder()
    setattr(forwarder, option, value)

    with pytest.raises(ConfigurationError, match=rf"^forwarders\['siem'\]: RecordingForwarder.{option} must be"):
        _bound(forwarders={"siem": forwarder})


WITH_A_QUEUE = {name: ports for name, (ports, _) in REFUSED.items() if not name.endswith("queue")}


@pytest.mark.parametrize("ports", WITH_A_QUEUE.values(), ids=WITH_A_QUEUE)
def test_after_a_refusal_nothing_is_bound(ports: dict[str, Any]) -> None:
    """What was refused has not bound the queue: it can be given to another."""
    queue = RecordingQueue()
    with pytest.raises(ConfigurationError):
        _bound(**ports, queue=queue)

    assert queue is _bound(queue=queue).queue


def test_a_queue_that_is_bound_already_is_refused() -> None:
    """What the queue says at ``bind`` comes out of the constructor."""
    queue = RecordingQueue()
    _bound(queue=queue)

    with pytest.raises(ConfigurationError, match="bound already"):
        _bound(queue=queue)


def test_the_queue_is_bound_last_to_what_is_complete() -> None:
    """At ``bind`` the queue sees the routes, and may look at all of the AuditForward."""
    seen: list[Any] = []

    class Queue(RecordingQueue):
        def bind(self, audit_forward: AuditForward, /) -> None:
            seen.extend([list(audit_forward.routes), audit_forward.queue, audit_forward.perform({})])

    queue = Queue()
    _bound(queue=queue)

    assert [["siem"], queue] == seen[:2]
    assert CancelReason.INVALID_JOB_ARGS is seen[2].reason


# What it binds


def test_the_routes_are_read_only() -> None:
    """The routes are bound once."""
    with pytest.raises(TypeError):
        _bound().routes["other"] = Route(RecordingForwarder())  # type: ignore[index]


def test_a_change_of_the_hosts_mapping_changes_nothing() -> None:
    """The host's own dict is copied: what it does to it later has no effect."""
    forwarders: dict[str, Any] = {"siem": RecordingForwarder()}
    audit_forward = _bound(forwarders=forwarders)

    forwarders.clear()

    assert ["siem"] == list(audit_forward.routes)


def test_a_bare_forwarder_is_a_route_to_it() -> None:
    """A bare forwarder stands for a route to it with nothing set."""
    sink = RecordingForwarder()

    assert Route(sink) == _bound(forwarders={"siem": sink}).routes["siem"]


@pytest.mark.parametrize("name", ["s", "siem", "SIEM_2.eu:west-1", "x" * 255], ids=["short", "usual", "all", "long"])
def test_a_good_name_is_taken(name: str) -> None:
    """A name is 1 to 255 letters, digits, and ``_ . : -``."""
    assert [name] == list(_bound(forwarders={name: RecordingForwarder()}).routes)


def test_the_source_is_the_repositorys() -> None:
    """The source is what the repository tells, or not known."""

    class Sourceless:
        def get(self, audit_event_id: str, /) -> None: ...

    assert "billing" == _bound(repository=InMemoryAuditRepository(source="billing")).source
    assert None is _bound(repository=Sourceless()).source


def test_ports_are_taken_by_position_too() -> None:
    """The signature takes its ports by position as well."""
    queue, telemetry, policy = RecordingQueue(), RecordingTelemetry(), RetryPolicy(max_attempts=2)

    audit_forward = AuditForward(InMemoryAuditRepository(), {}, queue, None, telemetry, policy)

    assert (queue, telemetry, policy) == (audit_forward.queue, audit_forward.telemetry, audit_forward.policy)


def test_a_forwarder_of_whatever_kind_needs_forward_alone() -> None:
    """What has ``forward`` is a forwarder, whatever else it is."""

    class Module:
        forward = staticmethod(lambda _: None)

    assert Outcome.OK is _sole(_bound(forwarders={"siem": Module()}).dispatch(make_event())).outcome


def _sole(dispatched: Mapping[str, Any]) -> Result:
    (each,) = dispatched.values()
    return each.result


# Perform

RUNS: dict[str, Callable[..., Result]] = {
    "perform": lambda audit_forward, *args: audit_forward.perform(*args),
    "aperform": lambda audit_forward, *args: asyncio.run(audit_forward.aperform(*args)),
}


@pytest.fixture(name="run", params=RUNS.values(), ids=RUNS)
def _run(request: pytest.FixtureRequest) -> Callable[..., Result]:
    """Both ways to perform."""
    return request.param


def test_perform_reloads_the_row_and_forwards_it(run: Callable[..., Result]) -> None:
    """Perform runs one job with what was bound: the repository's row goes to the named forwarder."""
    sink, event = RecordingForwarder(), make_event()
    with _bound(
        repository=InMemoryAuditRepository([event]), forwarders={"siem": sink, "other": RecordingForwarder()}
    ) as host:
        result = run(host, JobArgs("siem", event.id))

    assert (Outcome.OK, [event]) == (result.outcome, sink.events)


def test_perform_takes_a_dict(run: Callable[..., Result]) -> None:
    """Queues that carry JSON hand over the dict as it is."""
    sink, event = RecordingForwarder(), make_event()
    with _bound(repository=InMemoryAuditRepository([event]), forwarders={"siem": sink}) as host:
        result = run(host, JobArgs("siem", event.id, event.occurred_at).to_dict())

    assert (Outcome.OK, [event]) == (result.outcome, sink.events)


@pytest.mark.parametrize("junk", [None, {}, "siem", {"forwarder": "siem"}, [1]], ids=spelled)
def test_junk_instead_of_args_is_a_result(run: Callable[..., Result], junk: object) -> None:
    """Malformed args are a result, not an error."""
    with _bound() as host:
        assert CancelReason.INVALID_JOB_ARGS is run(host, junk).reason


@pytest.mark.parametrize(("attempt", "state"), [(1, State.RETRYABLE), (2, State.DISCARDED)], ids=["first", "last"])
def test_perform_settles_by_the_bound_policy(run: Callable[..., Result], attempt: int, state: State) -> None:
    """The policy that was bound decides about the next attempt."""
    event = make_event()
    ports = {"repository": InMemoryAuditRepository([event]), "forwarders": {"siem": RaisingForwarder(ValueError())}}
    with _bound(policy=RetryPolicy(max_attempts=2), **ports) as host:
        result = run(host, JobArgs("siem", event.id), attempt)

    assert result.settlement is not None
    assert state is result.settlement.state


def test_a_routes_own_policy_comes_first(run: Callable[..., Result]) -> None:
    """A route's own policy replaces the bound one."""
    event = make_event()
    route = Route(RaisingForwarder(ValueError()), policy=RetryPolicy(max_attempts=1))
    with _bound(repository=InMemoryAuditRepository([event]), forwarders={"siem": route}) as host:
        result = run(host, JobArgs("siem", event.id), 1)

    assert result.settlement is not None
    assert State.DISCARDED is result.settlement.state


def test_perform_tells_the_bound_telemetry(run: Callable[..., Result]) -> None:
    """The telemetry that was bound hears of each perform."""
    telemetry, event = RecordingTelemetry(), make_event()
    with _bound(repository=InMemoryAuditRepository([event]), telemetry=telemetry) as host:
        run(host, JobArgs("siem", event.id), 3)

    assert [Delivered("siem", event.id, event.action, 3, Dispatch.ASYNC)] == telemetry.events


def test_the_signals_are_the_telemetry_by_default(run: Callable[..., Result]) -> None:
    """Where no telemetry is given, the blinker signals are sent, by the forwarder's name."""
    event, heard = make_event(), []
    forward_ok.connect(lambda sender, event: heard.append((sender, event.audit_event_id)), weak=False)
    with _bound(repository=InMemoryAuditRepository([event])) as host:
        run(host, JobArgs("siem", event.id))

    assert [("siem", event.id)] == heard


def test_a_job_reaches_no_route_that_does_not_want_it(run: Callable[..., Result]) -> None:
    """A job selects among the registered forwarders, and only if that one wants that event."""
    sink, event = RecordingForwarder(), make_event()
    route = Route(sink, actions=("billing.*",))
    with _bound(repository=InMemoryAuditRepository([event]), forwarders={"siem": route}) as host:
        result = run(host, JobArgs("siem", event.id))

    assert (CancelReason.NOT_ROUTED, []) == (result.reason, sink.events)


# The subscription


class App:
    """A sender."""


@pytest.fixture(name="sink")
def _sink() -> RecordingForwarder:
    return RecordingForwarder()


def test_an_attached_one_dispatches_what_is_announced(sink: RecordingForwarder) -> None:
    """`attach` dispatches every event announced on the signal, whoever sends it."""
    _bound(forwarders={"siem": sink}).attach()
    events = [make_event(), make_event()]

    audit_log.send(App(), event=events[0])
    audit_log.send(None, event=events[1])

    assert events == sink.events


def test_the_sender_learns_what_became_of_it(sink: RecordingForwarder) -> None:
    """The fates come back from ``send`` to whoever wants to know."""
    _bound(forwarders={"siem": sink}).attach()

    ((_, dispatched),) = audit_log.send(App(), event=make_event())

    assert ["performed"] == [each.fate for each in dispatched.values()]


def test_the_signal_is_found_by_its_name_alone(sink: RecordingForwarder) -> None:
    """A host may announce by blinker alone, under the signal's name, without importing this library."""
    _bound(forwarders={"siem": sink}).attach()
    event = make_event()

    blinker.signal("sigra.audit.log").send(App(), event=event)

    assert [event] == sink.events


def test_what_is_not_attached_hears_nothing(sink: RecordingForwarder) -> None:
    """Construction subscribes to nothing."""
    _bound(forwarders={"siem": sink})

    audit_log.send(App(), event=make_event())

    assert [] == sink.events


@pytest.mark.parametrize("senders", [(), ("app",)], ids=["any", "one"])
def test_attaching_twice_does_not_deliver_twice(sink: RecordingForwarder, senders: tuple[str, ...]) -> None:
    """`attach` twice is the same as once."""
    audit_forward = _bound(forwarders={"siem": sink})
    for _ in range(2):
        audit_forward.attach(*senders)

    audit_log.send("app", event=make_event())

    assert 1 == len(sink.events)


def test_attaching_to_one_and_to_all_does_not_deliver_twice(sink: RecordingForwarder) -> None:
    """Attached to one sender and then to all, it hears that one once."""
    audit_forward, app = _bound(forwarders={"siem": sink}), App()
    audit_forward.attach(app)
    audit_forward.attach()

    audit_log.send(app, event=make_event())

    assert 1 == len(sink.events)


def test_one_sender_alone_is_heard(sink: RecordingForwarder) -> None:
    """Attached to one sender, it hears that one alone."""
    app, event = App(), make_event()
    _bound(forwarders={"siem": sink}).attach(app)

    audit_log.send(App(), event=make_event())
    audit_log.send(None, event=make_event())
    audit_log.send(app, event=event)

    assert [event] == sink.events


def test_several_senders_are_heard(sink: RecordingForwarder) -> None:
    """It may be attached to several senders, by keyword too."""
    audit_forward, apps = _bound(forwarders={"siem": sink}), [App(), App()]
    for app in apps:
        audit_forward.attach(sender=app)

    for app in apps:
        audit_log.send(app, event=make_event())

    assert 2 == len(sink.events)


def _two_attached() -> tuple[list[App], list[RecordingForwarder]]:
    """Attach two, each to a sender of its own, and keep neither."""
    apps, sinks = [App(), App()], [RecordingForwarder(), RecordingForwarder()]
    for app, sink in zip(apps, sinks, strict=True):
        _bound(forwarders={"siem": sink}).attach(app)
    return apps, sinks


def test_two_do_not_take_each_others_events() -> None:
    """Two in one process, attached to different senders, each hear their own."""
    apps, sinks = _two_attached()
    events = [make_event(), make_event()]

    for app, event in zip(apps, events, strict=True):
        audit_log.send(app, event=event)

    assert [[events[0]], [events[1]]] == [sink.events for sink in sinks]


def test_two_stay_apart_when_the_host_lets_go_of_a_sender() -> None:
    """A sender that the host lets go of leaves nothing behind that a new one could take for its own."""
    apps, sinks = _two_attached()
    apps.pop(0)
    gc.collect()

    for _ in range(100):
        audit_log.send(App(), event=make_event())
    audit_log.send(apps[0], event=make_event())

    assert [0, 1] == [len(sink.events) for sink in sinks]


def test_one_is_detached_and_the_other_still_hears() -> None:
    """`detach` lets go of one's own subscription alone."""
    sinks, app = [RecordingForwarder(), RecordingForwarder()], App()
    first, second = [_bound(forwarders={"siem": sink}) for sink in sinks]
    first.attach(app)
    second.attach(app)
    first.detach()

    audit_log.send(app, event=make_event())

    assert [0, 1] == [len(sink.events) for sink in sinks]


def test_what_nobody_keeps_still_hears(sink: RecordingForwarder) -> None:
    """An attached AuditForward that nobody keeps is held by its subscription."""
    _bound(forwarders={"siem": sink}).attach()
    gc.collect()

    audit_log.send(App(), event=make_event())

    assert 1 == len(sink.events)


def test_attach_holds_the_sender(sink: RecordingForwarder) -> None:
    """The sender is held until `detach`: blinker tells senders by an id that a new object might take over."""
    audit_forward, app = _bound(forwarders={"siem": sink}), App()
    still = weakref.ref(app)
    audit_forward.attach(app)

    del app
    gc.collect()

    assert None is not still()


def test_detach_lets_go_of_the_sender(sink: RecordingForwarder) -> None:
    """After `detach` the sender is not held any more."""
    audit_forward, app = _bound(forwarders={"siem": sink}), App()
    still = weakref.ref(app)
    audit_forward.attach(app)
    audit_forward.detach()

    del app
    gc.collect()

    assert None is still()


def test_attaching_again_holds_nothing_more() -> None:
    """A host that attaches at each request does not pile up what is held."""
    audit_forward, app = _bound(), App()
    audit_forward.attach(app)
    once = sys.getrefcount(app)

    for _ in range(10):
        audit_forward.attach(app)

    assert once == sys.getrefcount(app)


def test_after_detach_nothing_is_heard(sink: RecordingForwarder) -> None:
    """`detach` stops it hearing all senders."""
    audit_forward, app = _bound(forwarders={"siem": sink}), App()
    audit_forward.attach(app)
    audit_forward.attach()
    audit_forward.detach()

    audit_log.send(app, event=make_event())

    assert [] == sink.events
    assert not audit_log.receivers


def test_detach_without_attach_is_fine() -> None:
    """There may be nothing to let go of."""
    _bound().detach()

    assert not audit_log.receivers


def test_attach_works_again_after_detach(sink: RecordingForwarder) -> None:
    """It may be attached anew."""
    audit_forward = _bound(forwarders={"siem": sink})
    audit_forward.attach()
    audit_forward.detach()
    audit_forward.attach()

    audit_log.send(App(), event=make_event())

    assert 1 == len(sink.events)


@pytest.mark.parametrize("end", [AuditForward.detach, AuditForward.close], ids=["detach", "close"])
def test_after_the_end_it_is_garbage(end: Callable[[AuditForward], None]) -> None:
    """After `detach` or `close` nothing holds it."""
    audit_forward, event = _bound(queue=RecordingQueue()), make_event()
    audit_forward.attach()
    audit_log.send(App(), event=event)
    still = weakref.ref(audit_forward)
    end(audit_forward)

    del audit_forward
    gc.collect()

    assert None is still()


@pytest.mark.parametrize("junk", [None, "event", {"id": 1}, object(), AuditEvent], ids=spelled)
def test_a_junk_announcement_does_not_raise_into_the_host(sink: RecordingForwarder, junk: object) -> None:
    """Forwarding raises nothing into the caller, whatever is announced."""
    _bound(forwarders={"siem": sink}).attach()

    ((_, dispatched),) = audit_log.send(App(), event=junk)

    assert ({}, []) == (dispatched, sink.events)


def test_an_announcement_without_an_event_does_not_raise_into_the_host(
    sink: RecordingForwarder, caplog: pytest.LogCaptureFixture
) -> None:
    """An announcement that forgot its event is logged, and raises nothing into the host."""
    _bound(forwarders={"siem": sink}).attach()

    ((_, dispatched),) = audit_log.send(App())

    assert ({}, []) == (dispatched, sink.events)
    assert "NoneType" in caplog.text


def test_an_announcement_may_say_more(sink: RecordingForwarder) -> None:
    """What else the host sends along is left alone."""
    _bound(forwarders={"siem": sink}).attach()

    audit_log.send(App(), event=make_event(), request="GET /", self=1)

    assert 1 == len(sink.events)


@pytest.mark.parametrize(
    "forwarder",
    [RaisingForwarder(ValueError("no")), RaisingForwarder(SinkError("down")), RaisingForwarder(MemoryError())],
    ids=["the_event", "the_sink", "the_memory"],
)
def test_a_sinks_failure_does_not_reach_the_announcer(forwarder: RaisingForwarder) -> None:
    """What goes wrong in a sink never reaches the host that announced."""
    _bound(forwarders={"siem": forwarder}).attach()

    ((_, dispatched),) = audit_log.send(App(), event=make_event())

    assert Outcome.ERROR is _sole(dispatched).outcome


def test_an_announced_event_goes_onto_the_queue() -> None:
    """An announcement is a dispatch: with a queue, a job."""
    queue, event = RecordingQueue(), make_event()
    _bound(queue=queue).attach()

    audit_log.send(App(), event=event)

    assert [JobArgs("siem", event.id, event.occurred_at)] == queue.jobs


def test_the_whole_way_from_the_signal_to_the_sink(sink: RecordingForwarder) -> None:
    """Announced, enqueued, performed on a worker thread, reloaded, forwarded: the event arrives once."""
    telemetry, repository = RecordingTelemetry(), InMemoryAuditRepository()
    with _bound(repository=repository, forwarders={"siem": sink}, queue=InProcessQueue(), telemetry=telemetry) as host:
        host.attach()
        events = [repository.add(make_event()) for _ in range(50)]
        for event in events:
            audit_log.send(App(), event=event)
        sink.wait_for(50)

    assert sorted(event.id for event in events) == sorted(sink.ids)
    assert [] == telemetry.of(Failed)


def test_threads_announce_at_once(sink: RecordingForwarder) -> None:
    """Threads that announce at once lose nothing."""
    _bound(forwarders={"siem": sink}).attach()
    events = [make_event() for _ in range(200)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda event: audit_log.send(App(), event=event), events))

    assert {event.id for event in events} == set(sink.ids)


# The end


class Closable:
    """Keeps in *closed* that it was closed, under its *name*."""

    def __init__(self, closed: list[str], name: str, error: Exception | None = None) -> None:
        self._closed = closed
        self._name = name
        self._error = error

    def close(self) -> None:
        self._closed.append(self._name)
        if self._error is not None:
            raise self._error


class ClosableForwarder(Closable):
    """A forwarder that can be closed."""

    def forward(self, event: AuditEvent) -> None: ...


class AsyncClosableForwarder(ClosableForwarder):
    """A forwarder whose ``close`` is async."""

    async def close(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().close()


class ClosableRepository(Closable):
    """A repository that can be closed."""

    def get(self, audit_event_id: str, /) -> None: ...


class ClosableQueue(Closable):
    """A queue that can be closed."""

    def bind(self, audit_forward: AuditForward, /) -> None: ...

    def enqueue(self, args: JobArgs, /) -> None: ...


def _closable(closed: list[str], error: Exception | None = None) -> AuditForward:
    shared = ClosableForwarder(closed, "shared", error)
    return AuditForward(
        ClosableRepository(closed, "repository", error),
        {
            "sync": ClosableForwarder(closed, "sync", error),
            "async": Route(AsyncClosableForwarder(closed, "async", error), Dispatch.ASYNC),
            "without": RecordingForwarder(),
            "shared": shared,
            "again": Route(shared, actions=("billing.*",)),
        },
        ClosableQueue(closed, "queue", error),
    )


ALL = ["queue", "sync", "async", "shared", "repository"]


def test_close_closes_everything_once() -> None:
    """`close` closes the queue first, then each forwarder, whose ``close`` may be async, and the repository: once."""
    closed: list[str] = []

    _closable(closed).close()

    assert ALL == closed


def test_a_close_that_raises_does_not_stop_the_rest() -> None:
    """What one ``close`` raises keeps no other from being closed, and does not reach the host."""
    closed: list[str] = []

    _closable(closed, OSError("https://token@sink")).close()

    assert ALL == closed


def test_a_close_that_raises_is_logged_by_type_only(caplog: pytest.LogCaptureFixture) -> None:
    """Of what a ``close`` raised only the type's name is logged."""
    _closable([], OSError("https://token@sink")).close()

    assert "closing the ClosableQueue raised OSError" == caplog.messages[0]
    assert len(ALL) == len(caplog.messages)
    assert "token" not in caplog.text


def test_a_close_that_cannot_be_found_out_does_not_stop_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    """A forwarder that raises as soon as it is asked for its ``close`` keeps no other from being closed."""
    closed: list[str] = []

    class Odd(RecordingForwarder):
        @property
        def close(self) -> None:
            raise ZeroDivisionError

    _bound(forwarders={"odd": Odd(), "sync": ClosableForwarder(closed, "sync")}).close()

    assert ["sync"] == closed
    assert ["closing the Odd raised ZeroDivisionError"] == caplog.messages


def test_a_close_that_is_no_function_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A ``close`` that cannot be called is an attribute of the host's own."""
    forwarder = RecordingForwarder()
    forwarder.close = "of business"  # type: ignore[attr-defined]

    _bound(forwarders={"siem": forwarder}).close()

    assert [] == caplog.messages


def test_close_may_be_called_again(caplog: pytest.LogCaptureFixture) -> None:
    """`close` may be called twice."""
    audit_forward = _bound(queue=InProcessQueue())

    for _ in range(2):
        audit_forward.close()

    assert [] == caplog.messages


def test_close_detaches(sink: RecordingForwarder) -> None:
    """After `close` nothing is heard."""
    audit_forward = _bound(forwarders={"siem": sink})
    audit_forward.attach()
    audit_forward.close()

    audit_log.send(App(), event=make_event())

    assert [] == sink.events


def test_close_drains_the_queue(sink: RecordingForwarder) -> None:
    """What is on an in-process queue when it closes is delivered first."""
    events = [make_event() for _ in range(20)]
    with _bound(
        repository=InMemoryAuditRepository(events), forwarders={"siem": sink}, queue=InProcessQueue()
    ) as audit_forward:
        for event in events:
            audit_forward.dispatch(event)

    assert sorted(event.id for event in events) == sorted(sink.ids)


def test_as_a_context_manager_it_closes() -> None:
    """Leaving the ``with`` block closes, also by an exception, which passes."""
    closed: list[str] = []

    with pytest.raises(KeyError), _closable(closed) as audit_forward:
        audit_forward.attach()
        raise KeyError

    assert ALL == closed
    assert not audit_log.receivers


def test_the_context_manager_gives_itself() -> None:
    """``with`` gives the AuditForward."""
    audit_forward = _bound()

    with audit_forward as given:
        assert audit_forward is given


class AsyncSink:
    """Accepts on the loop."""

    async def forward(self, event: AuditEvent) -> None:
        await asyncio.sleep(0)


def test_use_after_close_works_again(run: Callable[..., Result]) -> None:
    """After `close` perform opens what it needs anew."""
    event = make_event()
    audit_forward = _bound(repository=InMemoryAuditRepository([event]), forwarders={"siem": AsyncSink()})
    outcomes = []
    for _ in range(2):
        outcomes.append(run(audit_forward, JobArgs("siem", event.id)).outcome)
        audit_forward.close()

    assert [Outcome.OK] * 2 == outcomes


def test_close_leaves_no_thread_behind() -> None:
    """After `close` no thread that it started lives on."""
    before, event = set(threading.enumerate()), make_event()
    ports = {"repository": InMemoryAuditRepository([event]), "forwarders": {"siem": AsyncSink()}}
    with _bound(queue=InProcessQueue(), **ports) as audit_forward:
        audit_forward.dispatch(event)
        audit_forward.perform(JobArgs("siem", event.id))
        asyncio.run(audit_forward.adispatch(event))
        asyncio.run(audit_forward.aperform(JobArgs("siem", event.id)))
        ours = set(threading.enumerate()) - before
    for thread in ours:
        thread.join(30)

    assert {"sigra-forward"} == {thread.name[:13] for thread in ours}
    assert set() == set(threading.enumerate()) - before


# The clock


def test_the_clock_is_the_hosts_to_give() -> None:
    """``clock=`` times the queue's breaker."""
    clock, queue = FakeClock(), RefusingQueue()
    audit_forward = _bound(queue=queue, clock=clock)
    for _ in range(2):
        audit_forward.dispatch(make_event())
        clock.advance(60)

    assert 2 == queue.tries


def test_by_default_the_clock_is_the_machines() -> None:
    """Without a clock the breaker goes by the machine's: it is still open in the next moment."""
    queue = RefusingQueue()
    audit_forward = _bound(queue=queue)
    for _ in range(2):
        audit_forward.dispatch(make_event())

    assert 1 == queue.tries


def test_construction_and_attach_log_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged where there is nothing to say."""
    caplog.set_level(logging.DEBUG)

    _bound(forwarders={"siem": Route(RecordingForwarder(), since=datetime(2026, 1, 1, tzinfo=timezone.utc))}).attach()

    assert [] == caplog.messages


def test_a_clock_must_tell_the_time_and_wait() -> None:
    """A clock without both methods is told at construction."""
    with pytest.raises(ConfigurationError, match=r"clock=.*monotonic\(\) and wait_until\(\)"):
        AuditForward(InMemoryAuditRepository(), {}, clock=object())  # type: ignore[arg-type]


SIGNAL_IN_THE_MIDST = """
import asyncio, os, signal
from sigra_forward import AuditForward
from sigra_forward.testing import InMemoryAuditRepository, make_event

class Accepting:
    deadline = 5.0
    async def forward(self, event):
        pass

host = AuditForward(InMemoryAuditRepository(), {"siem": Accepting()})
host.dispatch(make_event())
signal.signal(signal.SIGTERM, lambda *_: HANDLER)
submit = asyncio.run_coroutine_threadsafe

def interrupted(*arguments):
    asyncio.run_coroutine_threadsafe = submit
    os.kill(os.getpid(), signal.SIGTERM)
    return submit(*arguments)

asyncio.run_coroutine_threadsafe = interrupted
print(host.dispatch(make_event())["siem"].result.outcome.value)
print(host.dispatch(make_event())["siem"].result.outcome.value)
host.close()
"""


@pytest.mark.parametrize(
    ("handler", "outcomes"),
    [
        pytest.param("host.close()", ["error", "ok"], id="closes"),
        pytest.param("host.dispatch(make_event())", ["ok", "ok"], id="announces"),
    ],
)
def test_a_signal_handler_may_come_in_the_midst_of_a_call(handler: str, outcomes: list[str]) -> None:
    """A host that closes or announces on SIGTERM does not wait for itself."""
    code = SIGNAL_IN_THE_MIDST.replace("HANDLER", handler)

    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert (outcomes, "") == (run.stdout.split(), run.stderr)


def test_an_async_close_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a port has a deadline, as each call to one has, and the others are closed all the same."""

    class Endless(RecordingForwarder):
        async def close(self) -> None:
            await asyncio.Event().wait()

    class Closing(RecordingForwarder):
        closed = False

        def close(self) -> None:
            self.closed = True

    monkeypatch.setattr("sigra_forward._audit_forward.DEFAULT_DEADLINE", 0.01)
    closing = Closing()

    AuditForward(InMemoryAuditRepository(), {"a": Endless(), "b": closing}).close()

    assert closing.closed


def test_an_order_to_the_process_out_of_a_close_still_stops_the_threads() -> None:
    """The bridge is closed whatever a port's close raises."""

    class Exiting:
        async def forward(self, event: AuditEvent) -> None:
            pass

        def close(self) -> None:
            raise SystemExit

    before = set(threading.enumerate())
    host = AuditForward(InMemoryAuditRepository(), {"siem": Exiting()})
    host.dispatch(make_event())

    with pytest.raises(SystemExit):
        host.close()

    assert set() == set(threading.enumerate()) - before


def test_a_sink_that_hangs_takes_no_thread_from_another() -> None:
    """Under the async methods each sync port has threads of its own."""
    release = threading.Event()

    class Hanging:
        def forward(self, event: AuditEvent) -> None:
            release.wait(60)

    healthy = RecordingForwarder()
    routes = {
        "hanging": Route(Hanging(), actions=("hang",)),
        "healthy": Route(healthy, actions=("go",)),
    }

    async def run(host: AuditForward) -> None:
        hung = [asyncio.create_task(host.adispatch(make_event(action="hang"))) for _ in range(MAX_THREADS + 1)]
        await host.adispatch(make_event(action="go"))
        assert not any(task.done() for task in hung)
        release.set()
        await asyncio.gather(*hung)

    with AuditForward(InMemoryAuditRepository(), routes) as host:
        asyncio.run(run(host))

    assert 1 == len(healthy.events)
