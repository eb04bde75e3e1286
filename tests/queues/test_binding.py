"""`Binding`: what a queue adapter asks of the `AuditForward` that it is bound to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from threading import Event, get_ident
from time import monotonic, sleep
from typing import Any

import pytest

from sigra_forward import (
    AuditEvent,
    AuditForward,
    CancelReason,
    ConfigurationError,
    Dispatch,
    EnqueueError,
    JobArgs,
    Outcome,
    Result,
    RetryPolicy,
    Route,
    SchemaMismatchError,
    Settlement,
    SinkError,
    State,
)
from sigra_forward.errors import JobEndedError
from sigra_forward.queues.adapter import Binding, ending, not_enqueued, why
from sigra_forward.telemetry import Delivered, Discarded, Failed
from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder, RecordingTelemetry, make_event

EVENT = make_event()
JOB = {"forwarder": "siem", "audit_event_id": EVENT.id, "occurred_at": None}


class Slow(RecordingForwarder):
    """Has a deadline of its own."""

    deadline = 7.2


def bound(queue: str = "audits", **routes: Any) -> Binding:
    """Return a binding to an `AuditForward` with a forwarder for each of *routes*, or one named siem."""
    binding = Binding("TestQueue", queue)
    forwarders = routes or {"siem": RecordingForwarder()}
    binding.bind(AuditForward(InMemoryAuditRepository([EVENT]), forwarders, queue=_Queue()))
    return binding


class _Queue:
    def bind(self, audit_forward: AuditForward, /) -> None:
        """Take no notice."""

    def enqueue(self, args: object, /) -> None:
        """Take no notice."""


def test_is_bound_once() -> None:
    """A second AuditForward is refused, and the first one stays."""
    binding = bound()
    host = binding.host

    with pytest.raises(ConfigurationError, match=r"^this TestQueue is bound to an AuditForward already: give each"):
        binding.bind(AuditForward(InMemoryAuditRepository(), {}))
    assert (host, True) == (binding.host, binding.is_bound)


def test_can_be_let_go() -> None:
    """After `unbind` it is bound to nobody, and can be bound."""
    binding = bound()

    binding.unbind()

    assert not binding.is_bound
    binding.bind(AuditForward(InMemoryAuditRepository(), {}))


@pytest.mark.parametrize("name", ["", "two words", 5, None, "x" * 256])
def test_a_queue_has_a_name(name: Any) -> None:
    """What cannot name a queue is refused at construction."""
    with pytest.raises(ConfigurationError, match=r"^TestQueue\(queue=\.\.\.\) must be 1 to 255 of"):
        Binding("TestQueue", name)


@pytest.mark.parametrize("ask", ["perform", "queue_of"])
def test_unbound_it_does_nothing(ask: str) -> None:
    """A job that reaches an adapter bound to nobody raises, and so is never a success."""
    binding = Binding("TestQueue")

    with pytest.raises((ConfigurationError, EnqueueError), match="bound to no AuditForward"):
        binding.perform(JOB, 1) if ask == "perform" else binding.queue_of("siem")


def test_unbound_it_does_nothing_async() -> None:
    """Nor is it under the async twin."""
    with pytest.raises(ConfigurationError, match="bound to no AuditForward"):
        asyncio.run(Binding("TestQueue").aperform(JOB, 1))


def test_routes_name_their_queues() -> None:
    """A route's own queue, or else the adapter's; each is listed once."""
    binding = bound(
        siem=RecordingForwarder(), other=RecordingForwarder(), slow=Route(RecordingForwarder(), queue="slow")
    )

    assert ("audits", "slow") == (binding.queue_of("siem"), binding.queue_of("slow"))
    assert ["audits", "slow"] == binding.queues()


def test_a_forwarder_that_is_not_registered_gets_no_job() -> None:
    """Nobody would run it, so it is not enqueued."""
    with pytest.raises(EnqueueError, match=r"^nobody would run the job"):
        bound().queue_of("os.system")


def test_the_jobs_of_an_event_are_those_of_a_dispatch() -> None:
    """A job for each route that wants the event and goes by the queue; a filter that raises counts as wanting."""

    def fail(event: object) -> bool:
        raise ValueError

    binding = bound(
        auto=RecordingForwarder(),
        always=Route(RecordingForwarder(), dispatch=Dispatch.ASYNC, where=fail),
        inline=Route(RecordingForwarder(), dispatch=Dispatch.SYNC),
        other=Route(RecordingForwarder(), actions=("other.*",)),
    )

    expected = [JobArgs(name, EVENT.id, EVENT.occurred_at) for name in ("auto", "always")]
    assert expected == binding.jobs_of(EVENT)


@pytest.mark.parametrize("event", [None, "event", make_event(source="other")], ids=["none", "text", "source"])
def test_what_is_no_event_of_ours_has_no_jobs(event: Any) -> None:
    """It is an error that says what is taken, and not silently nothing."""
    with pytest.raises(EnqueueError, match=r"^it takes an AuditEvent of source 'audit_events': nothing was enqueued$"):
        bound().jobs_of(event)


def test_a_job_may_take_twice_the_deadline() -> None:
    """The time limit is twice the forwarder's deadline, in whole seconds."""
    binding = bound(siem=RecordingForwarder(), slow=Slow())

    assert (60, 15, 60) == (binding.time_limit("siem"), binding.time_limit("slow"), binding.longest_run())


@pytest.mark.parametrize(
    ("expected", "args"),
    [
        pytest.param([True, False], {"forwarder": "siem"}, id="its own"),
        *(pytest.param([True, True], args, id=repr(args)) for args in ({}, {"forwarder": ["siem"]}, None, "siem")),
    ],
)
def test_whether_another_attempt_may_follow(expected: list[bool], args: Any) -> None:
    """A job may run as often as its forwarder's policy says, a broken one as often as any."""
    binding = bound(
        siem=Route(RecordingForwarder(), policy=RetryPolicy(3)), keen=Route(RecordingForwarder(), policy=RetryPolicy(9))
    )

    assert expected == [binding.may_try_again(args, attempt) for attempt in (2, 3)]


def test_attempts_are_the_policys() -> None:
    """A route's own policy, or else the AuditForward's."""
    binding = bound(siem=RecordingForwarder(), keen=Route(RecordingForwarder(), policy=RetryPolicy(9)))

    assert (5, 9, 9) == (binding.max_attempts("siem"), binding.max_attempts("keen"), binding.most_attempts())


@pytest.mark.parametrize(
    ("expected", "policy"),
    [
        pytest.param(900, RetryPolicy(), id="the default: a sink's retry-after is longer than the curve"),
        pytest.param(40, RetryPolicy(5, backoff=lambda n: 10 * n, max_retry_after=20), id="the curve is longer"),
        pytest.param(25, RetryPolicy(5, backoff=lambda n: 10 * n, max_delay=25, max_retry_after=0), id="capped"),
        pytest.param(0, RetryPolicy(1), id="one attempt waits for no other"),
        pytest.param(3600, RetryPolicy(10**9, backoff=lambda n: n * n), id="very many attempts"),
    ],
)
def test_the_longest_wait_is_found(expected: int, policy: RetryPolicy) -> None:
    """The most that any attempt may have to wait for the next, a sink's own wish included."""
    assert expected == bound(siem=Route(RecordingForwarder(), policy=policy)).longest_wait()


def test_without_forwarders_nothing_waits() -> None:
    """An AuditForward with no forwarders asks nothing of a queue."""
    binding = Binding("TestQueue")
    binding.bind(AuditForward(InMemoryAuditRepository(), {}))

    assert ([], 0, 0, 1) == (binding.queues(), binding.longest_run(), binding.longest_wait(), binding.most_attempts())


@pytest.mark.parametrize("seconds", [60, 61.5])
def test_a_rescue_that_comes_late_enough_is_accepted(seconds: float) -> None:
    """As long as a job may take is enough."""
    bound().require_rescue_after(seconds, 60, "visibility_timeout")


def test_a_rescue_that_comes_too_early_is_refused() -> None:
    """A job that lives would be started a second time: the message says what to raise, and to what."""
    with pytest.raises(
        ConfigurationError, match=r"^visibility_timeout is 59\.5 s, and a job may take 60 s .* Raise it to 60"
    ):
        bound().require_rescue_after(59.5, 60, "visibility_timeout")


def run(binding: Binding, way: str, attempt: int = 1) -> Result:
    """Perform the job, in either way."""
    if way == "perform":
        return binding.perform(JOB, attempt)
    return asyncio.run(binding.aperform(JOB, attempt))


@pytest.fixture(params=["perform", "aperform"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the name of either way to perform."""
    return request.param  # type: ignore[no-any-return]


def test_performs(way: str) -> None:
    """The job is run, and the result is settled."""
    result = run(bound(), way)

    assert (Outcome.OK, Settlement(State.COMPLETED)) == (result.outcome, result.settlement)


class Interrupted(AuditForward):
    """A queue library's time limit strikes at the edge of perform, where no guard of perform's is."""

    def perform(self, *_: Any, **__: Any) -> Result:
        raise RuntimeError

    async def aperform(self, *_: Any, **__: Any) -> Result:
        raise RuntimeError


@pytest.mark.parametrize(
    ("settlement", "attempt"), [(Settlement(State.RETRYABLE, 4), 1), (Settlement(State.DISCARDED), 2)]
)
def test_a_limit_that_strikes_at_the_edge_is_a_failed_attempt(way: str, settlement: Settlement, attempt: int) -> None:
    """It is settled by the route's policy and told, like any error."""
    telemetry = RecordingTelemetry()
    binding = Binding("TestQueue")
    route = Route(RecordingForwarder(), policy=RetryPolicy(2, backoff=lambda _: 4))
    binding.bind(Interrupted(InMemoryAuditRepository([EVENT]), {"siem": route}, telemetry=telemetry))

    result = run(binding, way, attempt)

    assert (Outcome.ERROR, "RuntimeError", settlement) == (result.outcome, result.reason, result.settlement)
    assert [Failed, Discarded][:attempt] == [type(told) for told in telemetry.events]


def test_a_limit_that_strikes_while_a_bad_job_is_read_ends_it() -> None:
    """What perform would have ended for itself is ended so."""
    binding = Binding("TestQueue")
    binding.bind(Interrupted(InMemoryAuditRepository(), {"siem": RecordingForwarder()}))

    result = binding.perform({"forwarder": "other", "audit_event_id": "1"}, 1)

    assert (Outcome.CANCEL, CancelReason.UNKNOWN_FORWARDER) == (result.outcome, result.reason)


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize("port", ["forwarder", "repository"])
def test_on_a_loop_a_job_that_hangs_is_given_up(port: str, is_async: bool) -> None:
    """After its time limit it is a failed attempt, whatever port hangs and whether it is async."""
    back = Event()
    telemetry = RecordingTelemetry()

    class Hanging:
        deadline = 0.01

        def hang(self, argument: object) -> Any:
            return asyncio.sleep(60) if is_async else back.wait(60)

        get = forward = hang

    async def run() -> Result:
        binding = Binding("TestQueue")
        repository = Hanging() if port == "repository" else InMemoryAuditRepository([EVENT])
        binding.bind(AuditForward(repository, {"siem": Hanging()}, telemetry=telemetry))
        result = await binding.aperform(JOB, 1)
        told.extend(telemetry.events)
        back.set()
        return result

    told: list[Any] = []
    result = asyncio.run(run())

    assert (Outcome.ERROR, State.RETRYABLE) == (result.outcome, result.settlement and result.settlement.state)
    assert "TimeoutError" == result.reason
    assert [(Failed, "TimeoutError")] == [(type(event), event.reason) for event in told]


def test_on_a_loop_what_a_job_that_was_given_up_comes_to_is_told() -> None:
    """A sink's late yes in a thread is heard, after the failed attempt."""
    back = Event()
    telemetry = RecordingTelemetry()

    class Slow:
        deadline = 0.01

        def forward(self, event: object) -> None:
            back.wait(60)

    binding = Binding("TestQueue")
    binding.bind(AuditForward(InMemoryAuditRepository([EVENT]), {"siem": Slow()}, telemetry=telemetry))
    asyncio.run(binding.aperform(JOB, 1))
    back.set()
    until = monotonic() + 30
    while len(telemetry.events) < 2 and monotonic() < until:
        sleep(0.001)

    assert [Failed, Delivered] == [type(told) for told in telemetry.events]


def test_on_a_loop_a_sync_job_runs_in_a_thread_as_a_whole() -> None:
    """The loop that tells other workers that this one lives runs none of the host's code."""
    idents: set[int] = set()

    class Noting(InMemoryAuditRepository):
        def get(self, audit_event_id: str, /) -> AuditEvent | None:
            idents.add(get_ident())
            return super().get(audit_event_id)

    class Sink:
        def forward(self, event: object) -> None:
            idents.add(get_ident())

    class Telemetry:
        def emit(self, event: object, /) -> None:
            idents.add(get_ident())

    binding = Binding("TestQueue")
    binding.bind(AuditForward(Noting([EVENT]), {"siem": Sink()}, telemetry=Telemetry()))
    asyncio.run(binding.aperform(JOB, 1))

    assert (1, False) == (len(idents), get_ident() in idents)


def test_on_a_loop_a_port_that_does_not_heed_its_cancellation_is_given_up() -> None:
    """The job does not wait for what an async forwarder does when it is cancelled, nor for how that ends."""
    ended: list[str] = []

    class Stubborn:
        deadline = 0.01

        async def forward(self, event: object) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await back.wait()
                ended.append("here")
                raise ValueError

    async def run() -> Result:
        nonlocal back
        back = asyncio.Event()
        result = await bound(siem=Stubborn()).aperform(JOB, 1)
        back.set()
        while not ended:
            await asyncio.sleep(0)
        return result

    back: asyncio.Event

    assert "TimeoutError" == asyncio.run(run()).reason


def test_on_a_loop_with_no_time_left_the_sink_is_not_called() -> None:
    """A filter that blocks the loop for longer than the limit has used it up."""
    sent: list[object] = []

    class Sink:
        deadline = 0.01

        async def forward(self, event: object) -> None:
            sent.append(event)

    def block(event: AuditEvent) -> AuditEvent:
        sleep(1.01)
        return event

    result = asyncio.run(bound(siem=Route(Sink(), transform=block)).aperform(JOB, 1))

    assert ("TimeoutError", []) == (result.reason, sent)


def test_on_a_loop_a_cancelled_job_cancels_its_port() -> None:
    """A worker that stops takes the forwarder's call with it."""
    told: list[str] = []

    class Waiting:
        async def forward(self, event: object) -> None:
            told.append("begun")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                told.append("cancelled")
                raise

    async def run() -> None:
        job = asyncio.ensure_future(bound(siem=Waiting()).aperform(JOB, 1))
        while not told:
            await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(run())

    assert ["begun", "cancelled"] == told


def test_on_a_loop_reload_and_call_have_one_limit_together() -> None:
    """What the repository has taken of the time, the forwarder has not."""

    class Repository:
        async def get(self, audit_event_id: str) -> AuditEvent:
            await asyncio.sleep(0.6)
            return EVENT

    class Slow:
        deadline = 0.5  # twice that is a second

        async def forward(self, event: object) -> None:
            await asyncio.sleep(0.6)

    binding = Binding("TestQueue")
    binding.bind(AuditForward(Repository(), {"siem": Slow()}))

    assert "TimeoutError" == asyncio.run(binding.aperform(JOB, 1)).reason


@pytest.mark.parametrize("forwarder", ["other", 5, None])
def test_on_a_loop_a_job_for_nobody_is_cancelled(forwarder: Any) -> None:
    """A job whose forwarder is not known has no time limit, and needs none."""
    result = asyncio.run(bound().aperform({**JOB, "forwarder": forwarder}, 1))

    assert Outcome.CANCEL is result.outcome


@pytest.mark.parametrize("order", [SystemExit, KeyboardInterrupt])
def test_on_a_loop_an_order_to_the_process_goes_through(order: type[BaseException]) -> None:
    """It comes out of the job, for the queue library to see, and does not end the loop behind its back."""

    class Exiting:
        async def forward(self, event: object) -> None:
            raise order

    async def run() -> str:
        try:
            await bound(siem=Exiting()).aperform(JOB, 1)
        except order:
            return "raised here"
        return "lost"

    assert "raised here" == asyncio.run(run())


def test_an_order_to_the_process_goes_through() -> None:
    """SystemExit out of a forwarder is passed on."""

    class Exiting:
        def forward(self, event: object) -> None:
            raise SystemExit

    with pytest.raises(SystemExit):
        bound(siem=Exiting()).perform(JOB, 1)


class Refusing:
    """Raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def forward(self, event: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("expected", "error", "attempt"),
    [
        pytest.param(
            "cancelled: schema_mismatch: no such field", SchemaMismatchError("no such field"), 1, id="cancelled"
        ),
        pytest.param("discarded: http_503", SinkError("http_503"), 5, id="discarded"),
        pytest.param("discarded: http_503: busy", SinkError("http_503", detail="busy"), 5, id="words"),
        pytest.param("discarded: ZeroDivisionError", ZeroDivisionError("a secret"), 5, id="foreign"),
    ],
)
def test_an_ending_says_how_and_why(expected: str, error: Exception, attempt: int) -> None:
    """What is raised into the queue library names the state and the reason, and quotes no foreign message."""
    end = ending(bound(siem=Refusing(error)).perform(JOB, attempt))

    assert (JobEndedError, expected) == (type(end), str(end))


@pytest.mark.parametrize(
    ("expected", "result"),
    [
        pytest.param("no reason", Result(Outcome.ERROR), id="none"),
        pytest.param("http_503", Result(Outcome.ERROR, "http_503"), id="text"),
        pytest.param("not_routed", Result(Outcome.CANCEL, CancelReason.NOT_ROUTED), id="enum"),
    ],
)
def test_a_reason_is_one_line(expected: str, result: Result) -> None:
    """The reason, and the detail where there is one that says more."""
    assert (expected, f"discarded: {expected}") == (why(result), str(ending(result)))


def test_one_error_for_whatever_a_library_raises() -> None:
    """Of a foreign exception only the type is told; a timeout is told as what it means; ours is passed on."""
    ours = EnqueueError("nobody would run the job")

    assert [
        "Celery did not take the job: OperationalError",
        "Celery did not take the job in time: is its server frozen, or its name not to be resolved?",
        "nobody would run the job",
    ] == [
        str(not_enqueued("Celery", exc)) for exc in (type("OperationalError", (OSError,), {})(), TimeoutError(), ours)
    ]
