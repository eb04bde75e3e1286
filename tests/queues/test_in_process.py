"""`InProcessQueue`: each sentence of its docstring, on a clock that moves only when it is told to."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event

import pytest

from sigra_forward import (
    AuditEvent,
    AuditForward,
    ConfigurationError,
    EnqueueError,
    JobArgs,
    RetryPolicy,
    Route,
    SchemaMismatchError,
    Settlement,
    SinkError,
    State,
)
from sigra_forward.errors import QueueFullError
from sigra_forward.queues import InProcessQueue
from sigra_forward.stores import SQLiteLedger
from sigra_forward.telemetry import Delivered, Discarded, Failed, TelemetryEvent
from sigra_forward.testing import (
    FakeClock,
    FlakyForwarder,
    InMemoryAuditRepository,
    JobQueueContract,
    RaisingForwarder,
    RecordingForwarder,
    RecordingTelemetry,
    make_event,
)
from sigra_forward.testing.contracts._hostile import run_in_threads
from tests.support_ids import spelled
from tests.support_parts import PATIENCE, InThread, python, python_process, wait_until

QUEUE_CLOSED = "queue_closed"


class TestInProcessQueue(JobQueueContract):
    """The contract; a queue that cannot take a job is one that is closed."""

    @pytest.fixture(name="job_queue")
    def _job_queue(self) -> Iterator[InProcessQueue]:
        queue = InProcessQueue()
        yield queue
        queue.close(0)

    @pytest.fixture(name="broken_job_queue")
    def _broken_job_queue(self) -> InProcessQueue:
        class ClosedQueue(InProcessQueue):
            def bind(self, audit_forward: AuditForward, /) -> None:
                super().bind(audit_forward)
                self.close()

        return ClosedQueue()


class Gate(RecordingForwarder):
    """Lets no event through until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = Event()
        self.entered: list[str] = []

    def forward(self, event: AuditEvent) -> None:
        """Wait, and keep *event*."""
        self.entered.append(event.id)
        assert self.opened.wait(PATIENCE)
        super().forward(event)

    def wait_entered(self, count: int = 1) -> None:
        """Wait until *count* events have come to it."""
        wait_until(lambda: len(self.entered) >= count)


class Timed(FlakyForwarder):
    """Notes when it is called, by the clock of the queue."""

    def __init__(self, clock: FakeClock, failures: int) -> None:
        super().__init__(failures)
        self._clock = clock
        self.calls: list[tuple[str, float]] = []

    def forward(self, event: AuditEvent) -> None:
        """Note *event*."""
        self.calls.append((event.id, self._clock.monotonic()))
        super().forward(event)


class Host:
    """An `AuditForward` on a queue with a fake clock; an error waits for 10 seconds, and the next for 20."""

    def __init__(
        self,
        forwarders: Mapping[str, object],
        *,
        queue: InProcessQueue | None = None,
        telemetry: object = None,
        max_attempts: int = 3,
        backoff: Callable[[int], float] = lambda attempt: 10 * attempt,
        **options: object,
    ) -> None:
        self.clock = FakeClock()
        self.queue = InProcessQueue(clock=self.clock, **options) if queue is None else queue
        self.telemetry = telemetry or RecordingTelemetry()
        self.repository = InMemoryAuditRepository()
        self.audit_forward = AuditForward(
            self.repository,
            forwarders,
            queue=self.queue,
            telemetry=self.telemetry,
            policy=RetryPolicy(max_attempts, backoff=backoff),
        )

    def enqueue(self, name: str = "sink", audit_event_id: str | None = None) -> JobArgs:
        """Commit an event and enqueue a job for it."""
        fields = {} if audit_event_id is None else {"id": audit_event_id}
        event = self.repository.add(make_event(**fields))
        args = JobArgs(name, event.id)
        self.queue.enqueue(args)
        return args

    def wait_backing_off(self, count: int = 1) -> None:
        """Wait until so many jobs back off."""
        lane = self.queue._lanes["sink"]
        wait_until(lambda: [job.attempt > 1 for job in list(lane._waiting)] == [True] * count and not lane._running)

    def wait_closing(self) -> None:
        """Wait until close has begun."""
        wait_until(lambda: self.queue._lanes["sink"]._stop_at is not None)

    def told(self, args: JobArgs) -> list[tuple[type, int]]:
        """Return what telemetry heard of a job, and of which attempt."""
        return [
            (type(told), told.attempt) for told in self.telemetry.events if told.audit_event_id == args.audit_event_id
        ]


@pytest.fixture(name="make_host")
def _make_host() -> Iterator[Callable[..., Host]]:
    """Make hosts whose queues are closed at the end."""
    made: list[Host] = []

    def make(forwarders: object, **options: object) -> Host:
        made.append(Host(forwarders if isinstance(forwarders, dict) else {"sink": forwarders}, **options))
        return made[-1]

    yield make
    for host in made:
        host.queue.close(0)


def threads_of(name: str) -> list[threading.Thread]:
    """Return the threads of the lane *name*."""
    return [thread for thread in threading.enumerate() if thread.name == f"sigra-forward-{name}"]


# Backoff


def test_a_retry_comes_exactly_when_it_is_due(make_host: Callable[..., Host]) -> None:
    """Not a moment before, and then at once; the waits are the policy's."""
    clock = FakeClock()
    sink = Timed(clock, failures=2)
    host = make_host(sink, queue=InProcessQueue(workers=1, clock=clock))
    first = host.enqueue().audit_event_id
    host.wait_backing_off()
    clock.advance(9.5)
    sink.tries["probe"] = 2  # succeeds at once, which shows that the lane has looked at the time
    host.enqueue(audit_event_id="probe")
    sink.wait_for(1)
    clock.advance(0.5)
    wait_until(lambda: len(sink.calls) == 3)

    assert 30.0 == clock.advance_to_next()
    sink.wait_for(2)
    assert [(first, 0.0), ("probe", 9.5), (first, 10.0), (first, 30.0)] == sink.calls


def test_a_job_that_is_due_does_not_wait_for_one_that_backs_off(make_host: Callable[..., Host]) -> None:
    """A worker that waits for a retry takes the job that comes meanwhile."""
    sink = FlakyForwarder(1)
    host = make_host(sink, workers=1)
    host.enqueue()
    host.telemetry.wait_for(lambda _: host.telemetry.of(Failed))
    sink.tries["second"] = 1

    host.enqueue(audit_event_id="second")

    assert ["second"] == sink.wait_for(1)


def test_jobs_run_in_the_order_in_which_they_fall_due(make_host: Callable[..., Host]) -> None:
    """Retries stand between the jobs by their time, and jobs of the same time as they came."""
    gate = Gate()
    host = make_host(gate, workers=1)
    ids = [host.enqueue().audit_event_id for _ in range(20)]

    gate.opened.set()

    assert ids == gate.wait_for(20)


def test_retries_run_in_the_order_in_which_they_fall_due(make_host: Callable[..., Host]) -> None:
    """The sink that asked to be left alone for longer is asked later."""
    waits = {"slow": 30, "fast": 20}
    calls: list[str] = []

    class Sink:
        def forward(self, event: AuditEvent) -> None:
            calls.append(event.id)
            if calls.count(event.id) == 1:
                raise SinkError("busy", retry_after=waits[event.id])

    host = make_host(Sink(), workers=1)
    for audit_event_id in waits:
        host.enqueue(audit_event_id=audit_event_id)
    host.wait_backing_off(2)
    host.clock.advance(30)
    host.telemetry.wait_for(lambda events: len(events) == 4)

    assert ["slow", "fast", "fast", "slow"] == calls


def test_a_job_is_given_up_after_the_last_attempt(make_host: Callable[..., Host]) -> None:
    """It is told as discarded, and leaves the queue."""
    host = make_host(RaisingForwarder(ValueError()), max_attempts=2)
    args = host.enqueue()
    host.telemetry.wait_for(lambda _: host.telemetry.of(Failed))
    wait_until(lambda: host.clock.advance_to_next() == 10)
    host.telemetry.wait_for(lambda _: host.telemetry.of(Discarded))

    wait_until(lambda: not len(host.queue))
    assert [(Failed, 1), (Failed, 2), (Discarded, 2)] == host.told(args)


def test_a_route_of_its_own_policy_is_tried_by_that(make_host: Callable[..., Host]) -> None:
    """The queue does what perform says, and decides nothing itself."""
    route = Route(RaisingForwarder(ValueError()), policy=RetryPolicy(max_attempts=1))
    host = make_host(route)

    host.enqueue()

    host.telemetry.wait_for(lambda _: host.telemetry.of(Discarded))


@pytest.mark.parametrize("error", [ValueError(), SystemExit(3)], ids=spelled)
def test_a_settlement_that_names_no_wait_ends_the_job(tmp_path: Path, error: BaseException) -> None:
    """With a ledger an error is retryable and the relay's: the queue lets go of it."""
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    ledger.create()
    sink, event = RaisingForwarder(error), make_event()
    queue = InProcessQueue(clock=FakeClock())
    AuditForward(InMemoryAuditRepository([event]), {"sink": sink}, queue=queue, ledger=ledger)

    queue.enqueue(JobArgs("sink", event.id))

    wait_until(lambda: sink.events and not len(queue))
    assert ([], [event]) == (queue.close(0), sink.events)


# Orders to the process


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=spelled)
def test_an_order_to_the_process_counts_as_an_attempt(
    make_host: Callable[..., Host], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that raises SystemExit is tried as often as any other, and its thread works on."""
    sink = RaisingForwarder(error)
    host = make_host(sink, workers=1, max_attempts=2, backoff=lambda _: 0)

    args = host.enqueue()

    host.telemetry.wait_for(lambda _: host.telemetry.of(Discarded))
    kind = type(error).__name__
    assert [(Failed, 1), (Failed, 2), (Discarded, 2)] == host.told(args)
    assert kind == host.telemetry.of(Discarded)[0].reason
    host.enqueue()
    host.telemetry.wait_for(lambda _: len(host.telemetry.of(Discarded)) == 2)
    assert f"a job of 'sink' raised {kind} in its worker, which goes on" == caplog.messages[0]


def test_telemetry_cannot_end_a_worker(make_host: Callable[..., Host]) -> None:
    """Whatever telemetry raises, the lane's only thread goes on with the next job."""

    class Exits:
        def __init__(self) -> None:
            self.events: list[object] = []

        def emit(self, event: object, /) -> None:
            self.events.append(event)
            raise SystemExit

    sink = RecordingForwarder()
    host = make_host(sink, telemetry=Exits(), workers=1, max_attempts=1)

    for _ in range(3):
        host.enqueue()

    wait_until(lambda: not len(host.queue))
    assert 3 == len(sink.ids)


# Capacity


def test_capacity_counts_what_waits_runs_and_backs_off(make_host: Callable[..., Host]) -> None:
    """Beyond it there is an error of its own, and room again when a job is done."""

    class FailsFirst(Gate):
        def forward(self, event: AuditEvent) -> None:
            if event.id == "backs off":
                raise ValueError
            super().forward(event)

    gate = FailsFirst()
    host = make_host(gate, workers=1, capacity=3)
    host.enqueue(audit_event_id="backs off")
    host.telemetry.wait_for(lambda _: host.telemetry.of(Failed))
    host.enqueue(audit_event_id="runs")
    gate.wait_entered()
    host.enqueue(audit_event_id="waits")

    with pytest.raises(QueueFullError, match="the lane of 'sink' is full: 3 jobs wait, run or back off"):
        host.enqueue()

    assert 3 == len(host.queue)
    gate.opened.set()
    gate.wait_for(2)
    wait_until(lambda: len(host.queue) == 1)
    host.enqueue()
    gate.wait_for(3)


def test_each_forwarder_has_a_capacity_of_its_own(make_host: Callable[..., Host]) -> None:
    """A full lane refuses nothing of another."""
    gate = Gate()
    host = make_host({"full": gate, "free": RecordingForwarder()}, capacity=1)
    host.enqueue("full")
    with pytest.raises(QueueFullError):
        host.enqueue("full")

    host.enqueue("free")

    gate.opened.set()


def test_a_job_is_counted_at_every_moment(make_host: Callable[..., Host]) -> None:
    """One that fails while the queue is counted is not in neither place: an empty queue has nothing to do."""
    gate = Gate()
    host = make_host(gate)
    host.enqueue()
    gate.wait_entered()
    lane = host.queue._lanes["sink"]
    (job,) = lane._running

    class FailsMeanwhile(list):
        def __len__(self) -> int:
            before = super().__len__()
            failing = InThread(lane._done, job, Settlement(State.RETRYABLE, 10))
            failing.wait(0.05)
            return before

    lane._waiting = FailsMeanwhile()

    assert 1 == len(host.queue)
    lane._waiting = list(lane._waiting)
    gate.opened.set()


# Lanes and threads


def test_a_forwarder_that_hangs_holds_up_no_other(make_host: Callable[..., Host]) -> None:
    """With all of its threads hanging, the other lane works on."""
    gate, other = Gate(), RecordingForwarder()
    host = make_host({"hanging": gate, "other": other}, workers=2)
    for _ in range(5):
        host.enqueue("hanging")
    gate.wait_entered(2)

    args = host.enqueue("other")

    assert [args.audit_event_id] == other.wait_for(1)
    gate.opened.set()


def test_threads_are_started_as_they_are_needed_and_no_more(make_host: Callable[..., Host]) -> None:
    """None without a job, one for each job that runs at once, and at most as many as it was given."""
    gate = Gate()
    host = make_host({"lazy": gate}, workers=3)
    counts = [len(threads_of("lazy"))]
    for number in range(1, 6):
        host.enqueue("lazy")
        gate.wait_entered(min(number, 3))
        counts.append(len(threads_of("lazy")))
    are_daemons = {thread.daemon for thread in threads_of("lazy")}
    gate.opened.set()
    gate.wait_for(5)

    assert ([0, 1, 2, 3, 3, 3], {True}, 3) == (counts, are_daemons, len(gate.entered[:3]))


def test_an_idle_thread_is_used_again(make_host: Callable[..., Host]) -> None:
    """A second job does not start a second thread where the first has nothing to do."""
    sink = RecordingForwarder()
    host = make_host({"idle": sink}, workers=3)
    for number in range(1, 4):
        host.enqueue("idle")
        sink.wait_for(number)
        wait_until(lambda: host.queue._lanes["idle"]._idle == 1)

    assert 1 == len(threads_of("idle"))


def test_every_idle_thread_gets_a_job(make_host: Callable[..., Host]) -> None:
    """Two jobs that come at once run at once: no wake-up is lost."""
    for _ in range(20):
        gate = Gate()
        host = make_host({"pair": gate}, workers=2)
        for count in (2, 4):
            gate.opened.clear()
            for _ in range(2):
                host.enqueue("pair")
            gate.wait_entered(count)
            gate.opened.set()
            gate.wait_for(count)


NO_THREADS = """
    import sys, threading
    from sigra_forward import AuditForward, EnqueueError, JobArgs
    from sigra_forward.queues import InProcessQueue
    from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder, make_event

    sink = RecordingForwarder()
    event = make_event()
    queue = InProcessQueue(workers=2)
    AuditForward(InMemoryAuditRepository([event]), {"sink": sink, "second": sink}, queue=queue)
    usual = threading.stack_size(1 << 46)
    try:
        queue.enqueue(JobArgs("sink", event.id))
    except EnqueueError as exc:
        print(exc, len(queue))
    threading.stack_size(usual)

    with sink._changed:  # holds up the first thread
        queue.enqueue(JobArgs("sink", event.id))
        threading.stack_size(1 << 46)
        queue.enqueue(JobArgs("sink", event.id))
        threading.stack_size(usual)
    print(len(sink.wait_for(2)), queue.close())
"""


def test_a_thread_that_cannot_be_started_is_an_enqueue_error() -> None:
    """Nothing is on the queue then; where the lane has a thread already, that one does the work."""
    assert "the InProcessQueue cannot start a thread 0\n2 []\n" == python(NO_THREADS)


def test_threads_enqueue_while_it_closes(make_host: Callable[..., Host]) -> None:
    """Every job is done, handed back or refused: none is lost on the way."""
    sink = RecordingForwarder()
    host = make_host(sink, workers=3)
    taken: list[str] = []
    refused: list[str] = []
    begun = Event()

    def enqueue(name: str) -> None:
        for number in range(200):
            args = JobArgs("sink", f"{name}-{number}")
            host.repository.add(make_event(id=args.audit_event_id))
            try:
                host.queue.enqueue(args)
            except EnqueueError:
                refused.append(args.audit_event_id)
            else:
                taken.append(args.audit_event_id)
            if number == 50:
                begun.set()

    def close() -> list[JobArgs]:
        begun.wait(PATIENCE)
        return host.queue.close(0)

    closing = InThread(close)
    run_in_threads([lambda name=name: enqueue(name) for name in "abcd"])
    undone = [args.audit_event_id for args in closing.result()]
    wait_until(lambda: {*sink.ids, *undone} >= set(taken))

    assert 800 == len(taken) + len(refused)
    assert set(taken) == {*sink.ids, *undone}
    assert len(sink.ids) == len(set(sink.ids))


# Close


def test_close_works_off_what_waits(make_host: Callable[..., Host]) -> None:
    """A graceful stop loses nothing."""
    sink = RecordingForwarder()
    host = make_host(sink, workers=1)
    ids = [host.enqueue().audit_event_id for _ in range(50)]

    assert ([], ids) == (host.queue.close(), sink.ids)


def test_close_waits_for_a_backoff_that_ends_in_time(make_host: Callable[..., Host]) -> None:
    """The retry runs, and then close returns before its deadline."""
    sink = FlakyForwarder(1)
    host = make_host(sink)
    args = host.enqueue()
    host.wait_backing_off()
    closing = InThread(host.queue.close, 60)
    host.wait_closing()
    host.clock.advance(10)

    assert ([], [args.audit_event_id], 10.0) == (closing.result(), sink.ids, host.clock.monotonic())


@pytest.mark.parametrize("timeout", [10, 9.999, 0], ids=str)
def test_close_gives_up_a_wait_that_would_be_for_nothing(make_host: Callable[..., Host], timeout: float) -> None:
    """A retry that does not fall due before the deadline is handed back at once: the clock stands still."""
    host = make_host(FlakyForwarder(1))
    args = host.enqueue()
    host.wait_backing_off()

    assert [args] == host.queue.close(timeout)


def test_close_gives_up_when_what_still_ran_has_ended(make_host: Callable[..., Host]) -> None:
    """A job that fails in the drain, and would be tried again too late, is handed back then."""

    class FailingGate(Gate):
        def forward(self, event: AuditEvent) -> None:
            super().forward(event)
            raise ValueError

    gate = FailingGate()
    host = make_host(gate)
    args = host.enqueue()
    gate.wait_entered()
    closing = InThread(host.queue.close, 5)
    host.wait_closing()
    gate.opened.set()

    assert ([args], 0.0) == (closing.result(), host.clock.monotonic())


def test_close_tells_what_it_gives_up(make_host: Callable[..., Host], caplog: pytest.LogCaptureFixture) -> None:
    """As failed and discarded, and in the log."""
    host = make_host(FlakyForwarder(1))
    args = host.enqueue()
    host.wait_backing_off()

    host.queue.close(0)

    failed, discarded = host.telemetry.events[-2:]
    assert (Failed, "sink", args.audit_event_id, QUEUE_CLOSED) == (
        type(failed),
        failed.forwarder,
        failed.audit_event_id,
        failed.reason,
    )
    assert (Discarded, "sink", args.audit_event_id, QUEUE_CLOSED) == (
        type(discarded),
        discarded.forwarder,
        discarded.audit_event_id,
        discarded.reason,
    )
    assert ["InProcessQueue closed with 1 jobs not done: nothing will try them again"] == caplog.messages


def test_close_hands_back_a_job_that_hangs(make_host: Callable[..., Host]) -> None:
    """At the deadline, with those behind it; the one that hangs may still end well, and is not run again."""
    gate = Gate()
    host = make_host(gate, workers=1)
    hanging, behind = host.enqueue(), host.enqueue()
    gate.wait_entered()
    closing = InThread(host.queue.close, 25)

    assert 25.0 == host.clock.advance_to_next()
    assert ([hanging, behind], 0) == (closing.result(), len(host.queue))
    gate.opened.set()
    host.telemetry.wait_for(lambda _: host.telemetry.of(Delivered))
    wait_until(lambda: not any(thread.is_alive() for thread in host.queue._lanes["sink"]._threads))
    assert [hanging.audit_event_id] == gate.ids


def test_idle_threads_wait_for_the_deadline_and_end(make_host: Callable[..., Host]) -> None:
    """While a job may still fail and fall due again they are needed, and behind the deadline nothing is."""
    gate = Gate()
    host = make_host({"two": gate}, workers=2)
    hanging = host.enqueue("two")
    gate.wait_entered()
    lane = host.queue._lanes["two"]
    with lane._changed:
        lane._start_thread()
    closing = InThread(host.queue.close, 25)
    wait_until(lambda: [waiters for (_, moment), waiters in list(host.clock._waiting.items()) if moment == 25] == [2])

    host.clock.advance(25)

    assert [hanging] == closing.result()
    wait_until(lambda: len(threads_of("two")) == 1)
    gate.opened.set()
    wait_until(lambda: not threads_of("two"))


def test_close_takes_the_timeout_of_the_queue_where_it_is_given_none(make_host: Callable[..., Host]) -> None:
    """drain_timeout is for the exit of the interpreter and for AuditForward.close."""
    gate = Gate()
    host = make_host(gate, drain_timeout=7)
    host.enqueue()
    gate.wait_entered()
    closing = InThread(host.audit_forward.close)

    assert 7.0 == host.clock.advance_to_next()
    closing.result()
    gate.opened.set()


def test_a_closed_queue_takes_no_job(make_host: Callable[..., Host]) -> None:
    """An EnqueueError, and not the one of a queue that is full."""
    host = make_host(RecordingForwarder())
    host.queue.close()

    with pytest.raises(EnqueueError, match="the InProcessQueue is closed") as raised:
        host.enqueue()

    assert EnqueueError is type(raised.value)


def test_a_queue_may_be_closed_again(make_host: Callable[..., Host]) -> None:
    """The second time there is nothing to hand back."""
    host = make_host(FlakyForwarder(1))
    args = host.enqueue()
    host.wait_backing_off()

    assert ([args], [], []) == (host.queue.close(0), host.queue.close(0), host.queue.close(60))


def test_a_second_close_can_cut_the_first_short(make_host: Callable[..., Host]) -> None:
    """The deadline is the last one's; what is undone is handed back once."""
    gate = Gate()
    host = make_host(gate)
    args = host.enqueue()
    gate.wait_entered()
    patient = InThread(host.queue.close, 1000)
    host.wait_closing()

    hasty = host.queue.close(0)

    assert [args] == [*hasty, *patient.result()]
    gate.opened.set()


def test_a_job_may_close_the_queue(make_host: Callable[..., Host]) -> None:
    """It cannot wait for itself, and is handed back to itself at the deadline."""
    closed: list[object] = []

    class Closes:
        def forward(self, event: AuditEvent) -> None:
            closed.append(host.queue.close(0))

    host = make_host(Closes())

    args = host.enqueue()

    wait_until(lambda: closed)
    assert [[args]] == closed


def test_a_closed_queue_is_let_go_of() -> None:
    """The interpreter's exit does not hold it any more, nor the hosts and sinks behind it."""
    queue = InProcessQueue()
    AuditForward(InMemoryAuditRepository(), {"sink": RecordingForwarder()}, queue=queue)
    held = weakref.ref(queue)
    queue.close()

    del queue
    gc.collect()

    assert held() is None


def test_a_queue_that_is_not_bound_can_be_closed() -> None:
    """There is nothing to do."""
    assert [] == InProcessQueue().close()


# Binding, and options


def test_a_job_without_a_lane_is_refused(make_host: Callable[..., Host]) -> None:
    """A name that is not registered is an EnqueueError at once."""
    with pytest.raises(EnqueueError, match="no lane for this forwarder"):
        make_host(RecordingForwarder()).queue.enqueue(JobArgs("os.system", "1"))


def test_it_has_no_queues_with_names(make_host: Callable[..., Host]) -> None:
    """A route that names one is a mistake, and the queue is left unbound."""
    queue = InProcessQueue()
    with pytest.raises(ConfigurationError, match="'sink' names a queue, but an InProcessQueue has no named ones"):
        make_host(Route(RecordingForwarder(), queue="fast"), queue=queue)

    make_host(RecordingForwarder(), queue=queue)


@pytest.mark.parametrize("name", ["workers", "capacity"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, "2", None], ids=spelled)
def test_a_count_is_at_least_1(name: str, value: object) -> None:
    """The message names the option."""
    with pytest.raises(ConfigurationError, match=f"{name}=...\\) must be an integer of at least 1"):
        InProcessQueue(**{name: value})


@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), True, "2"], ids=spelled)
def test_a_timeout_is_a_finite_number_of_seconds(value: object) -> None:
    """At construction and at close alike."""
    with pytest.raises(ConfigurationError, match=r"drain_timeout=\.\.\.\) must be a finite number"):
        InProcessQueue(drain_timeout=value)
    with pytest.raises(ConfigurationError, match=r"close\(timeout=\.\.\.\) must be a finite number"):
        InProcessQueue().close(value)


def test_a_refused_event_is_not_tried_again(make_host: Callable[..., Host]) -> None:
    """A cancel ends the job."""
    host = make_host(RaisingForwarder(SchemaMismatchError("no")))

    args = host.enqueue()

    wait_until(lambda: not len(host.queue))
    assert [(Failed, 1)] == host.told(args)


# The end of the process

PROCESS = """
    import atexit, os, sys, threading, time
    from sigra_forward import AuditForward, EnqueueError, JobArgs, RetryPolicy
    from sigra_forward.queues import InProcessQueue
    from sigra_forward.sinks import JSONLForwarder
    from sigra_forward.testing import InMemoryAuditRepository, make_event

    entered, opened = threading.Event(), threading.Event()

    class Gate(JSONLForwarder):
        def forward(self, event):
            entered.set()
            opened.wait(60)
            return super().forward(event)

    repository = InMemoryAuditRepository(make_event(id=name) for name in ("runs", "waits", "late", "child"))
    queue = InProcessQueue(workers=1, drain_timeout=30)
    audit_forward = AuditForward(repository, {"sink": Gate(sys.argv[1]), "other": Gate(sys.argv[1])}, queue=queue)
    queue.enqueue(JobArgs("sink", "runs"))
    queue.enqueue(JobArgs("sink", "waits"))
    entered.wait(60)
"""


def delivered(path: Path) -> list[str]:
    """Return the ids in the file of the sink."""
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()] if path.exists() else []


def test_a_normal_exit_drains_the_queue(tmp_path: Path) -> None:
    """A program that ends without closing anything still delivers what it has."""
    python(PROCESS + "\n    atexit.register(opened.set)\n", tmp_path / "out")

    assert ["runs", "waits"] == delivered(tmp_path / "out")


def test_a_closed_queue_leaves_nothing_for_the_exit(tmp_path: Path) -> None:
    """It was drained already, and is not held by the interpreter any more."""
    ending = """
    opened.set()
    audit_forward.close()
    atexit.unregister(queue.close)
    print(len(queue))
"""
    assert "0\n" == python(PROCESS + ending, tmp_path / "out")

    assert ["runs", "waits"] == delivered(tmp_path / "out")


LATE = """
    def late():
        opened.set()
        try:
            queue.enqueue(JobArgs("other", "late"))
        except EnqueueError as exc:
            print("refused")
        else:
            print("taken")

    atexit.register(late)
"""


def test_a_job_that_comes_at_the_exit_is_delivered_or_refused(tmp_path: Path) -> None:
    """Newer Pythons start no threads there, which is an EnqueueError and no RuntimeError."""
    answer = python(PROCESS + LATE, tmp_path / "out")

    assert {"taken\n": ["late", "runs", "waits"], "refused\n": ["runs", "waits"]}[answer] == sorted(
        delivered(tmp_path / "out")
    )


@pytest.mark.parametrize("way", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_process_that_is_killed_loses_its_jobs(tmp_path: Path, way: str) -> None:
    """As the docstring says: they live in memory."""
    with python_process(PROCESS + f"\n    {way}\n", tmp_path / "out") as process:
        process.stdout.read()

    assert [] == delivered(tmp_path / "out")
    assert "What it loses" in InProcessQueue.__doc__


FORK = """
    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which hosts do
    child = os.fork()
    if child == 0:
        assert len(queue) == 0
        opened.set()
        queue.enqueue(JobArgs("sink", "child"))
        assert queue.close() == []
        {leave}
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print(len(queue))
    opened.set()
"""


@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)"])
def test_a_child_starts_with_an_empty_queue_that_works(tmp_path: Path, leave: str) -> None:
    """The jobs stay the parent's, and are run once."""
    assert "2\n" == python(PROCESS + FORK.format(leave=leave), tmp_path / "out")

    assert ["child", "runs", "waits"] == sorted(delivered(tmp_path / "out"))


FORK_WITHOUT_CLOSE = """
    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
    if child == 0:
        queue.enqueue(JobArgs("sink", "child"))
        opened.set()
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    opened.set()
"""


def test_a_child_that_exits_normally_drains_its_own_queue(tmp_path: Path) -> None:
    """The exit handler is inherited, and works on the child's jobs."""
    python(PROCESS + FORK_WITHOUT_CLOSE, tmp_path / "out")

    assert ["child", "runs", "waits"] == sorted(delivered(tmp_path / "out"))


def test_idle_threads_are_gone_when_close_returns(make_host: Callable[..., Host]) -> None:
    """A host that closes its queue has no thread of it left, so that it may fork or exit at once."""
    host = make_host({"gone": RecordingForwarder()}, workers=3)
    for _ in range(3):
        host.enqueue("gone")

    host.queue.close()

    assert [] == threads_of("gone")


def test_what_was_delivered_is_not_sent_again_because_a_subscriber_ends_the_process(
    make_host: Callable[..., Host],
) -> None:
    """After the sink's yes a SystemExit out of telemetry ends the telling, not the delivery."""

    class Exiting(RecordingTelemetry):
        def emit(self, event: TelemetryEvent, /) -> None:
            super().emit(event)
            raise SystemExit

    sink = RecordingForwarder()
    host = make_host(sink, workers=1, telemetry=Exiting(), backoff=lambda _: 0)

    host.enqueue(audit_event_id="first")
    host.enqueue(audit_event_id="second")

    wait_until(lambda: not len(host.queue))
    assert ["first", "second"] == sink.ids


def test_a_policy_that_raises_does_not_stop_the_lane(make_host: Callable[..., Host]) -> None:
    """A job that is interrupted, under a policy that is broken too, is settled by the default policy."""

    def broken(attempt: int) -> float:
        raise SystemExit

    host = make_host(RaisingForwarder(SystemExit()), workers=1, backoff=broken)

    host.enqueue()

    host.wait_backing_off()
    assert 1 == len(host.queue)


def test_it_can_be_enqueued_on_from_an_event_loop_without_a_thread() -> None:
    """`aenqueue` does what `enqueue` does, and needs no thread of a pool."""
    queue, sink, event = InProcessQueue(), RecordingForwarder(), make_event()
    with AuditForward(InMemoryAuditRepository([event]), {"sink": sink}, queue=queue):
        asyncio.run(queue.aenqueue(JobArgs("sink", event.id)))

        assert [event.id] == sink.wait_for(1)
