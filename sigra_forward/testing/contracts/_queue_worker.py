"""`QueueWorkerContract`: what a queue adapter and its workers promise, held with real processes and real kills."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Event
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from uuid import uuid4

import pytest

from sigra_forward._dispatch import ENQUEUE_BUDGET
from sigra_forward._job_args import JobArgs
from sigra_forward.errors import ConfigurationError, EnqueueError
from sigra_forward.queues.adapter import MAX_CONNECTIONS
from sigra_forward.testing._events import make_event
from sigra_forward.testing._processes import SupervisedProcess
from sigra_forward.testing._proxy import TCPProxy
from sigra_forward.testing.contracts._hostile import run_in_threads, within
from sigra_forward.testing.workbench import (
    MAX_ATTEMPTS,
    POISON_ATTEMPTS,
    VARIABLE,
    Run,
    Workbench,
    audit_forward,
    queue_name,
)

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._event import AuditEvent

REPORT = "SIGRA_FORWARD_REPORT"
"""The environment variable that names a folder for what the suite has measured, one JSON file per class."""


class Ended(NamedTuple):
    """How a job stands in its library's own tools."""

    state: str
    """``"succeeded"`` or ``"failed"``."""

    reason: str = ""
    """All that the library's tools, its log included, tell of it."""


class Rig(NamedTuple):
    """What all tests of one class share."""

    bench: Workbench
    prefix: str
    address: tuple[str, int]
    queue: Any
    host: AuditForward


class QueueWorkerContract:
    """
    Hold a queue adapter, with its workers, to the port's promises.

    A worker is a process of its own, started as the library's users start it, from a module that you name. It must
    build its queue as you do in `job_queue`, and hand it to `workbench.audit_forward(queue, prefix)`, with the prefix
    and the server's address that the environment gives it as ``BENCH_PREFIX`` and ``BENCH_SERVER`` (``host:port``).

    Give the fixture ``server``, of scope ``class``: the address of the queue's server, as ``(host, port)``; and these:

    * `job_queue`: an adapter that is not bound, for a server behind an address.
    * `worker`: the command that starts a worker; ``unbound=True``: one whose adapter is bound to nobody;
      ``old=True``: one that does not know our task at all.
    * `ended`: how the library's own tools say that a job has ended.
    * `put`: write a job into the queue by hand.
    * `is_up`: whether a worker has started, where one that is starting does not outlive a kill of its process.

    Where a test cannot hold, override it, call ``super()``, and mark it ``xfail(strict=True)`` with the reason.
    """

    patience: ClassVar[float] = 30.0
    """Seconds to wait for a job that nothing has happened to."""

    connections: ClassVar[int] = MAX_CONNECTIONS
    """Connections that enqueues may open in one process, however many threads there are."""

    rescue: ClassVar[float] = 60.0
    """Seconds within which a job must run again whose worker was killed, with the settings of your worker."""

    granularity: ClassVar[float] = 2.0
    """Seconds that an attempt may come later than it is due, on a machine that is busy."""

    # For the report.

    library: ClassVar[str] = ""
    """The library and its server."""

    visibility: ClassVar[str] = ""
    """Where the library shows a job that has ended badly, and why."""

    recovery: ClassVar[str] = ""
    """In how many seconds a job runs again whose worker was killed, with the settings that the adapter recommends."""

    is_transactional: ClassVar[bool] = False
    """Whether the adapter can enqueue inside the caller's transaction."""

    # What the subclass gives.

    @classmethod
    def job_queue(cls, host: str, port: int, prefix: str) -> Any:
        """Return an adapter, not bound, that puts jobs on the server at that address."""
        raise NotImplementedError

    @classmethod
    def worker(cls, queues: Sequence[str], *, unbound: bool = False, old: bool = False) -> list[str]:
        """Return the command that starts a worker on *queues*."""
        raise NotImplementedError

    @classmethod
    def is_up(cls, log: str) -> bool:
        """Tell whether a worker that has printed *log* would survive a kill of a process of its own."""
        return True

    @classmethod
    def ended(cls, rig: Rig, audit_event_id: str, log: str) -> Ended | None:
        """Return how the job of that event has ended, if it has; *log* is what the worker has printed."""
        raise NotImplementedError

    @classmethod
    def put(cls, rig: Rig, job: dict[str, Any]) -> None:
        """Write a job for our task into the shared queue by hand, with *job* as what is to be its args."""
        raise NotImplementedError

    @classmethod
    def environment(cls) -> dict[str, str]:
        """Return what a worker's environment has besides."""
        return {}

    # The fixtures.

    @pytest.fixture(scope="class")
    @classmethod
    def rig(cls, server: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
        """Set up the bench, and a producer that stands before the server itcls."""
        bench = Workbench(tmp_path_factory.mktemp(cls.__name__))
        bench.create()
        prefix = f"sf{uuid4().hex[:8]}"
        queue = cls.job_queue(*server, prefix)
        with audit_forward(queue, prefix, folder=str(bench.folder)) as host:
            yield Rig(bench, prefix, server, queue, host)

    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, rig: Rig, crashes: dict[str, Crash]) -> Iterator[SupervisedProcess]:
        """Run a worker of the shared queue. The workers that are to crash are started before, to save time."""
        with cls.started(rig, None) as worker:
            yield worker

    @pytest.fixture(scope="class")
    @classmethod
    def crashes(cls, rig: Rig) -> Iterator[dict[str, Crash]]:
        """Start all that ends in a kill at once, because recovery is a matter of waiting."""
        with ExitStack() as stack:
            crashes = {}
            workers = {lane: stack.enter_context(cls.started(rig, lane)) for lane in _CRASHES}
            cls.wait_for(lambda: all(cls.is_up(worker.log()) for worker in workers.values()), cls.patience)
            for lane, worker in workers.items():
                crashes[lane] = Crash(worker, cls.enqueue(rig, f"{_CRASHES[lane]}.{lane}"))
            held = crashes["worker"]
            cls.wait_for(lambda: rig.bench.runs(held.event.id), cls.patience)
            held.worker.kill()
            rig.bench.release(held.event.id)
            yield crashes

    @pytest.fixture
    def proxy(self, server: tuple[str, int]) -> Iterator[TCPProxy]:
        """Put a proxy before the server."""
        with TCPProxy(*server) as proxy:
            yield proxy

    @pytest.fixture
    def behind(self, rig: Rig, proxy: TCPProxy) -> Iterator[AuditForward]:
        """Bind a producer whose server is behind the proxy."""
        queue = self.job_queue("127.0.0.1", proxy.port, rig.prefix)
        with audit_forward(queue, rig.prefix, folder=str(rig.bench.folder)) as host:
            yield host

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _report(cls, request: pytest.FixtureRequest) -> Iterator[None]:
        """Write down what the class has measured."""
        cls.measured = {"library": cls.library, "recovery": cls.recovery, "transactional": cls.is_transactional}
        yield
        folder = os.environ.get(REPORT)
        if folder:
            path = Path(folder) / f"{cls.__name__}.json"
            path.write_text(json.dumps(cls.measured, indent=1), encoding="utf-8")

    measured: ClassVar[dict[str, object]] = {}

    # Help for the tests.

    @classmethod
    def started(cls, rig: Rig, lane: str | None, **kind: Any) -> SupervisedProcess:
        """Start a supervised worker of *lane*."""
        environment = {
            VARIABLE: str(rig.bench.folder),
            "BENCH_PREFIX": rig.prefix,
            "BENCH_SERVER": f"{rig.address[0]}:{rig.address[1]}",
            **cls.environment(),
        }
        command = cls.worker([queue_name(rig.prefix, lane)], **kind)
        return SupervisedProcess(command, rig.bench.folder, environment, f"{lane or 'shared'}.log")

    @classmethod
    def enqueue(cls, rig: Rig, forwarder: str, event: AuditEvent | None = None) -> AuditEvent:
        """Commit an event, and put a job for it on the queue."""
        event = rig.bench.commit(event)
        rig.queue.enqueue(JobArgs(forwarder, event.id, event.occurred_at))
        return event

    @classmethod
    def wait_for(cls, condition: Callable[[], Any], seconds: float) -> Any:
        """Wait until *condition* gives something true, and return it."""
        until = monotonic() + seconds
        while not (answer := condition()):
            assert monotonic() < until, f"not within {seconds:g} s: {condition}"
            sleep(0.02)
        return answer

    @classmethod
    def end_of(cls, rig: Rig, event: AuditEvent, worker: SupervisedProcess, seconds: float | None = None) -> Ended:
        """Wait for the job of *event* to end in its library's own tools."""
        found: Ended = cls.wait_for(lambda: cls.ended(rig, event.id, worker.log()), seconds or cls.patience)
        return found

    @classmethod
    def attempts(cls, rig: Rig, event: AuditEvent) -> list[int]:
        """Return the attempts that were made at *event*, in order."""
        return [run.attempt for run in rig.bench.runs(event.id)]

    # 1 to 7: how a job ends.

    def test_01_a_yes_ends_the_job(self, rig: Rig, shared: SupervisedProcess) -> None:
        """A sink that says yes is called once, and the job has succeeded."""
        event = self.enqueue(rig, "accepting")

        end = self.end_of(rig, event, shared)

        assert ("succeeded", [1], [event.id]) == (end.state, self.attempts(rig, event), rig.bench.sent(event.id))

    def test_02_a_cancel_is_visible_and_final(self, rig: Rig, shared: SupervisedProcess) -> None:
        """A refused event is tried once, and the library's own tools show that it failed and why."""
        event = self.enqueue(rig, "refusing")

        end = self.end_of(rig, event, shared)

        assert ("failed", [1], []) == (end.state, self.attempts(rig, event), rig.bench.sent(event.id))
        assert "schema_mismatch" in end.reason
        assert "no such field" in end.reason
        type(self).measured["visibility"] = self.visibility

    @pytest.mark.parametrize("forwarder", ["flaky", "async-flaky"])
    def test_03_an_error_is_tried_again(self, rig: Rig, shared: SupervisedProcess, forwarder: str) -> None:
        """An error and then a yes: attempts 1 and 2, sent once."""
        event = self.enqueue(rig, forwarder)

        end = self.end_of(rig, event, shared)

        assert ("succeeded", [1, 2], [event.id]) == (end.state, self.attempts(rig, event), rig.bench.sent(event.id))

    def test_04_the_last_error_is_visible(self, rig: Rig, shared: SupervisedProcess) -> None:
        """A job that fails for ever is tried max_attempts times, and the library's own tools show the last reason."""
        event = self.enqueue(rig, "failing")

        end = self.end_of(rig, event, shared)

        assert ("failed", [1, 2, 3]) == (end.state, self.attempts(rig, event))
        assert "http_500" in end.reason
        assert "out of order" in end.reason
        assert ["Failed", "Failed", "Failed", "Discarded"] == [told.kind for told in rig.bench.told(event.id)]

    def test_05_each_attempt_waits_as_settled(self, rig: Rig, shared: SupervisedProcess) -> None:
        """Attempt n + 1 comes no earlier than the policy says after attempt n, and not much later."""
        event = self.enqueue(rig, "failing")

        self.end_of(rig, event, shared)
        gaps = [after.moment - before.moment for before, after in pairwise(rig.bench.runs(event.id))]

        assert [True, True] == [n <= gap < n + self.granularity for n, gap in enumerate(gaps, 1)], gaps

    def test_06_attempts_are_counted_across_workers(self, rig: Rig) -> None:
        """The worker is stopped between two attempts, and its successor makes the next one."""
        with self.started(rig, "restart") as worker:
            event = self.enqueue(rig, "failing.restart")
            self.wait_for(lambda: rig.bench.told(event.id), self.patience)
            worker.stop()
        with self.started(rig, "restart") as worker:
            end = self.end_of(rig, event, worker, self.rescue)
            pids = {run.pid for run in rig.bench.runs(event.id)}

        assert ("failed", [1, 2, 3]) == (end.state, self.attempts(rig, event))
        assert len(pids) > 1

    def test_07_a_bug_of_ours_is_an_error(self, rig: Rig, shared: SupervisedProcess) -> None:
        """Should perform itself raise, the job is neither lost nor tried for ever."""
        event = self.enqueue(rig, "buggy")

        end = self.end_of(rig, event, shared)

        assert ("failed", [1, 2, 3]) == (end.state, self.attempts(rig, event))
        assert "RuntimeError" in end.reason

    # 8 to 14: what happens to processes.

    @pytest.mark.parametrize("forwarder", ["slow", "async-slow"])
    def test_08_a_job_that_takes_too_long_gives_way(self, rig: Rig, shared: SupervisedProcess, forwarder: str) -> None:
        """A forwarder far beyond its deadline is stopped, tried max_attempts times at most, and frees its slot."""
        event = self.enqueue(rig, forwarder)

        end = self.end_of(rig, event, shared, self.rescue)
        after = self.enqueue(rig, "accepting")

        assert ("failed", "succeeded") == (end.state, self.end_of(rig, after, shared).state)
        assert len(self.attempts(rig, event)) <= MAX_ATTEMPTS
        type(self).measured[f"limits {forwarder}"] = True

    def test_09_an_order_to_the_process_is_no_success(self, rig: Rig, shared: SupervisedProcess) -> None:
        """SystemExit out of a forwarder goes through perform: the job is tried again, and ends visibly, not well."""
        event = self.enqueue(rig, "exiting")

        end = self.end_of(rig, event, shared, self.rescue * MAX_ATTEMPTS)

        assert ("failed", []) == (end.state, rig.bench.sent(event.id))
        assert 1 <= len(self.attempts(rig, event)) <= MAX_ATTEMPTS

    def test_10_a_graceful_stop_loses_nothing(self, rig: Rig) -> None:
        """A worker asked to stop in the midst of a job finishes it, or the next worker runs it again."""
        with self.started(rig, "graceful") as worker:
            event = self.enqueue(rig, "held.graceful")
            self.wait_for(lambda: rig.bench.runs(event.id), self.patience)
            worker.ask_to_stop()
            rig.bench.release(event.id)
            worker.stop()
            log = worker.log()
        if self.ended(rig, event.id, log) is None:
            with self.started(rig, "graceful") as worker:
                self.end_of(rig, event, worker, self.rescue)
                log = worker.log()

        end = self.ended(rig, event.id, log)
        assert ("succeeded", event.id) == (end and end.state, rig.bench.sent(event.id)[-1])

    def test_11_kill_9_of_the_task_process(self, rig: Rig, crashes: dict[str, Crash]) -> None:
        """A job whose process is killed runs again, in another one."""
        crash = crashes["task"]

        self.wait_for(lambda: rig.bench.sent(crash.event.id), self.rescue)
        end = self.end_of(rig, crash.event, crash.worker, self.rescue)
        runs = rig.bench.runs(crash.event.id)

        type(self).measured["task_killed"] = _recovery(runs, runs[0].moment)
        assert ("succeeded", 2) == (end.state, len({run.pid for run in runs}))

    def test_12_kill_9_of_the_worker(self, rig: Rig, crashes: dict[str, Crash]) -> None:
        """A job whose whole worker is killed runs again, when a worker is there again."""
        crash = crashes["worker"]

        self.wait_for(lambda: rig.bench.sent(crash.event.id), self.rescue)
        end = self.end_of(rig, crash.event, crash.worker, self.rescue)
        runs = rig.bench.runs(crash.event.id)

        type(self).measured["worker_killed"] = _recovery(runs, crash.worker.killed_at)
        assert ("succeeded", 2) == (end.state, len({run.pid for run in runs}))

    def test_13_a_poison_job_is_bounded(self, rig: Rig, crashes: dict[str, Crash]) -> None:
        """A job that kills its process each time runs as often as its own route's policy says, and ends visibly."""
        crash = crashes["poison"]

        end = self.end_of(rig, crash.event, crash.worker, self.rescue * POISON_ATTEMPTS)

        assert ("failed", POISON_ATTEMPTS) == (end.state, len(self.attempts(rig, crash.event)))
        type(self).measured["poison"] = len(self.attempts(rig, crash.event))

    def test_14_kill_9_between_yes_and_ack(self, rig: Rig, crashes: dict[str, Crash]) -> None:
        """The sink sees the event a second time, under the same idempotency key."""
        crash = crashes["yes"]

        self.wait_for(lambda: len(rig.bench.sent(crash.event.id)) > 1, self.rescue)
        end = self.end_of(rig, crash.event, crash.worker, self.rescue)

        assert ("succeeded", [crash.event.id] * 2) == (end.state, rig.bench.sent(crash.event.id))

    # 15 to 17: the request path.

    def test_15_a_server_that_refuses(self, behind: AuditForward, proxy: TCPProxy) -> None:
        """An EnqueueError within 1.5 seconds, each time."""
        proxy.refuse()

        self._fails_in_time(behind)

    def test_16_a_server_that_is_frozen(self, behind: AuditForward, proxy: TCPProxy) -> None:
        """One that accepts and never answers is given up on within 1.5 seconds, each time."""
        proxy.freeze()

        self._fails_in_time(behind)

    @pytest.mark.parametrize("harm", ["refuse", "freeze", "cut"])
    def test_17_a_server_that_goes_and_comes_back(
        self, rig: Rig, shared: SupervisedProcess, behind: AuditForward, proxy: TCPProxy, harm: str
    ) -> None:
        """Gone in mid-life, it is told within 1.5 seconds; once it is back, the next enqueue works."""
        behind.queue.enqueue(JobArgs("accepting", rig.bench.commit().id))  # type: ignore[union-attr]
        getattr(proxy, harm)()
        if harm != "cut":
            self._fails_in_time(behind)
            proxy.resume()
        event = rig.bench.commit()

        within(ENQUEUE_BUDGET, behind.queue.enqueue, JobArgs("accepting", event.id))  # type: ignore[union-attr]

        assert "succeeded" == self.end_of(rig, event, shared).state

    def test_17_a_name_that_does_not_resolve(self, rig: Rig) -> None:
        """An EnqueueError within 1.5 seconds, each time."""
        queue = self.job_queue("nowhere.invalid", 1, rig.prefix)
        with audit_forward(queue, rig.prefix, folder=str(rig.bench.folder)) as host:
            self._fails_in_time(host)

    def test_17_a_resolver_that_hangs(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name server that never answers is waited for no longer than a server that does not."""
        queue = self.job_queue("hanging.invalid", 1, rig.prefix)
        back = Event()
        resolve = socket.getaddrinfo

        def hang(host: Any, *args: Any, **options: Any) -> Any:
            if host in {"hanging.invalid", b"hanging.invalid"}:
                back.wait()
            return resolve(host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", hang)
        try:
            with audit_forward(queue, rig.prefix, folder=str(rig.bench.folder)) as host:
                self._fails_in_time(host)
        finally:
            back.set()

    def test_17_a_loop_is_not_blocked(self, rig: Rig, behind: AuditForward, proxy: TCPProxy) -> None:
        """While adispatch waits for a frozen server, the event loop goes on."""
        proxy.freeze()
        event = make_event()

        async def dispatch() -> tuple[set[str], float]:
            gaps = [0.0]

            async def tick() -> None:
                last = monotonic()
                while True:
                    await asyncio.sleep(0.01)
                    gaps.append(monotonic() - last)
                    last = monotonic()

            ticking = asyncio.create_task(tick())
            fates = await behind.adispatch(event)
            ticking.cancel()
            return {dispatched.fate for dispatched in fates.values()}, max(gaps)

        fates, longest = asyncio.run(dispatch())

        assert {"failed"} == fates
        assert longest < ENQUEUE_BUDGET / 3

    @classmethod
    def _fails_in_time(cls, host: AuditForward) -> None:
        for _ in range(3):
            with pytest.raises(EnqueueError):
                within(ENQUEUE_BUDGET, host.queue.enqueue, JobArgs("accepting", "1"))  # type: ignore[union-attr]

    # 19 to 26: jobs that should not be there, and workers that should not be.

    def test_19_an_unknown_forwarder_is_cancelled(self, rig: Rig, shared: SupervisedProcess) -> None:
        """A name in a job that is not registered in the worker selects nothing, and shows."""
        event = rig.bench.commit()
        self.put(rig, {"forwarder": "os.system", "audit_event_id": event.id, "occurred_at": None})

        end = self.end_of(rig, event, shared)

        assert ("failed", []) == (end.state, rig.bench.sent(event.id))
        assert "unknown_forwarder" in end.reason

    def test_19_a_sink_gets_no_event_that_it_does_not_want(self, rig: Rig, shared: SupervisedProcess) -> None:
        """A job that pairs an event with a sink that does not want it is cancelled."""
        event = self.enqueue(rig, "accepting", make_event(action="unwanted"))

        end = self.end_of(rig, event, shared)

        assert ("failed", []) == (end.state, rig.bench.sent(event.id))
        assert "not_routed" in end.reason

    def test_20_a_worker_that_does_not_know_the_task(self, rig: Rig) -> None:
        """An old deploy sends nothing, and the job has not succeeded."""
        with self.started(rig, "old", old=True) as worker:
            event = self.enqueue(rig, "accepting.old")
            self.wait_for(lambda: self.noticed(rig, event, worker.log()), self.patience)

            assert [] == rig.bench.sent(event.id)
            assert "succeeded" != getattr(self.ended(rig, event.id, worker.log()), "state", None)

    def test_20_a_worker_without_an_audit_forward(self, rig: Rig) -> None:
        """An adapter that is bound to nobody sends nothing, and the job has not succeeded."""
        with self.started(rig, "unbound", unbound=True) as worker:
            event = self.enqueue(rig, "accepting.unbound")
            self.wait_for(lambda: self.noticed(rig, event, worker.log()), self.patience)

            assert [] == rig.bench.sent(event.id)
            assert "succeeded" != getattr(self.ended(rig, event.id, worker.log()), "state", None)

    @classmethod
    def noticed(cls, rig: Rig, event: AuditEvent, log: str) -> bool:
        """Tell whether a worker that cannot run the job of *event* has come upon it; override where it is silent."""
        return event.id in log

    @pytest.mark.parametrize("job", ["wrong-types", "missing", "lists", "text"])
    def test_21_a_job_written_by_hand_is_cancelled(self, rig: Rig, shared: SupervisedProcess, job: str) -> None:
        """Whatever stands in a job's args, they select nothing, and the worker goes on."""
        before = Counter(rig.bench.all_sent())
        self.put(rig, _HOSTILE[job])
        event = self.enqueue(rig, "accepting")

        assert "succeeded" == self.end_of(rig, event, shared).state
        self.wait_for(lambda: shared.log().count("invalid_job_args") + self.refused(rig), self.patience)
        assert Counter([event.id]) == Counter(rig.bench.all_sent()) - before

    @classmethod
    def refused(cls, rig: Rig) -> int:
        """Return how many jobs the library itself has refused, where it does not say so in the worker's log."""
        return 0

    def test_21_extra_keys_are_ignored(self, rig: Rig, shared: SupervisedProcess) -> None:
        """What a job says besides its three keys has no effect."""
        event = rig.bench.commit()
        extra = {"module": "os", "forwarders": {"x": "os.system"}, "attempt": 99, "repository": "subprocess:run"}
        self.put(rig, {"forwarder": "accepting", "audit_event_id": event.id, "occurred_at": None, **extra})

        assert "succeeded" == self.end_of(rig, event, shared).state
        assert ([1], [event.id]) == (self.attempts(rig, event), rig.bench.sent(event.id))

    def test_24_a_row_that_is_not_there_yet(self, rig: Rig, shared: SupervisedProcess) -> None:
        """Within not_found_grace a row that is not there is tried again, and sent when it is."""
        event = make_event(occurred_at=datetime.now(timezone.utc))
        rig.queue.enqueue(JobArgs("accepting", event.id, event.occurred_at))
        self.wait_for(lambda: rig.bench.told(event.id), self.patience)
        rig.bench.commit(event)

        assert "succeeded" == self.end_of(rig, event, shared).state
        assert "audit_event_not_found" == rig.bench.told(event.id)[0].reason

    def test_25_jobs_from_several_threads(self, rig: Rig, shared: SupervisedProcess) -> None:
        """Every job that several threads enqueue at once is run, once."""
        events = [rig.bench.commit() for _ in range(24)]

        def enqueue(some: list[AuditEvent]) -> None:
            for event in some:
                rig.queue.enqueue(JobArgs("accepting", event.id, event.occurred_at))

        run_in_threads([partial(enqueue, events[start::4]) for start in range(4)])

        for event in events:
            assert "succeeded" == self.end_of(rig, event, shared).state
        assert [1] * len(events) == [len(rig.bench.sent(event.id)) for event in events]

    def test_25_connections_are_bounded(self, behind: AuditForward, proxy: TCPProxy) -> None:
        """However many threads enqueue at once, so many connections are opened at most, and none is left by a close."""
        queue: Any = behind.queue
        threads = 3 * self.connections
        ready = Barrier(threads, timeout=self.patience)

        def enqueue() -> None:
            ready.wait()
            for _ in range(5):
                with suppress(EnqueueError):  # in time or not
                    queue.enqueue(JobArgs("accepting.graceful", str(uuid4())))  # on a queue that no worker has any more

        run_in_threads([enqueue] * threads)

        assert 1 <= established(proxy.port) <= self.connections
        queue.close()
        self.wait_for(lambda: not established(proxy.port), self.patience)

    def test_26_it_is_bound_once(self, rig: Rig) -> None:
        """A second AuditForward cannot take over the jobs of the first."""
        with pytest.raises(ConfigurationError):
            audit_forward(rig.queue, rig.prefix, folder=str(rig.bench.folder))

    def test_26_it_takes_no_job_unbound(self, rig: Rig) -> None:
        """A job that nobody would run is an error, not a success."""
        with pytest.raises((EnqueueError, ConfigurationError)):
            self.job_queue(*rig.address, f"{rig.prefix}x").enqueue(JobArgs("accepting", "1"))

    def test_27_a_child_process_has_connections_of_its_own(self, rig: Rig, shared: SupervisedProcess) -> None:
        """After a fork parent and child both enqueue, and neither disturbs the other."""
        events = [rig.bench.commit() for _ in range(3)]
        jobs = [JobArgs("accepting", event.id) for event in events]
        rig.queue.enqueue(jobs[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: this process has threads
            child = os.fork()
        if child == 0:
            try:
                rig.queue.enqueue(jobs[1])
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        rig.queue.enqueue(jobs[2])

        assert ["succeeded"] * 3 == [self.end_of(rig, event, shared).state for event in events]

    def test_27_closed_it_opens_anew(self, rig: Rig, shared: SupervisedProcess) -> None:
        """After `close` the next enqueue connects again."""
        rig.queue.close()

        assert "succeeded" == self.end_of(rig, self.enqueue(rig, "accepting"), shared).state

    def test_99_nothing_has_run_again(self, rig: Rig, shared: SupervisedProcess) -> None:
        """At the end of it all no event has reached its sink twice, but the one whose yes was lost on the way."""
        sent = Counter(rig.bench.all_sent())

        assert 1 == sum(1 for times in sent.values() if times > 1)
        assert 2 == max(sent.values())


class Crash(NamedTuple):
    """A worker that is killed, and the event of whose job."""

    worker: SupervisedProcess
    event: AuditEvent


def established(port: int) -> int:
    """Return how many connections to *port* this machine's programs hold open."""
    found = 0
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        remote, state = line.split()[2:4]
        found += (f"0100007F:{port:04X}", "01") == (remote, state)
    return found


_CRASHES = {"task": "dying-once", "worker": "held", "poison": "dying", "yes": "dying-after-yes"}

_HOSTILE: dict[str, dict[str, Any]] = {
    "wrong-types": {"forwarder": 5, "audit_event_id": True, "occurred_at": []},
    "missing": {"occurred_at": None},
    "lists": {"forwarder": ["accepting"], "audit_event_id": {"$ne": None}, "occurred_at": "now"},
    "text": {"forwarder": "accepting", "audit_event_id": "x" * 1_000_000, "occurred_at": None},
}


def _recovery(runs: list[Run], killed_at: float) -> float:
    """Return the seconds from the kill to the next run."""
    return min(run.moment for run in runs if run.moment > killed_at) - killed_at
