"""`RQQueue`, with real workers."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

import pytest

pytest.importorskip("rq")

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from rq import Callback, Queue, Retry, Worker
from rq.command import send_stop_job_command
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from sigra_forward import AuditForward, ConfigurationError, EnqueueError, JobArgs, Route
from sigra_forward.testing import (
    InMemoryAuditRepository,
    QueueWorkerContract,
    RecordingForwarder,
    SupervisedProcess,
    TCPProxy,
)
from sigra_forward.testing.contracts import Ended, Rig, within
from sigra_forward.testing.contracts._hostile import run_in_threads
from sigra_forward.testing.workbench import MAX_ATTEMPTS, VARIABLE
from sigra_forward_rq import WORKER_OPTIONS, PerformOnlyJob, RQQueue, _claims, perform
from tests.adapters.support_slow import SlowProxy

PERFORM = "sigra_forward_rq.perform"

SOON = ("--worker-ttl", "16", "--maintenance-interval", "1")
"""A worker that looks for the jobs of killed workers every second."""

OLD = "import sys; sys.modules['sigra_forward_rq'] = None; from rq.cli import main; main()"
"""A worker in whose environment the adapter is not installed."""


class TestRQ(QueueWorkerContract):
    """RQ on Redis."""

    granularity = 2.5  # its scheduler looks each second, and never too early
    library = "RQ, Redis"
    recovery = "60 s, the time limit (30 s at most), and 15 s"
    visibility = "FailedJobRegistry"
    rescue = 120.0

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, redis_server: tuple[str, int], redis_db: int) -> tuple[str, int]:
        cls.db = redis_db
        cls.url = f"redis://{redis_server[0]}:{redis_server[1]}/{redis_db}"
        return redis_server

    @classmethod
    def environment(cls) -> dict[str, str]:
        return {"RQ_REDIS_URL": cls.url, "PYTHONPATH": str(Path(__file__).parent / "workers")}

    @classmethod
    def job_queue(cls, host: str, port: int, prefix: str) -> RQQueue:
        return RQQueue(Redis(host=host, port=port, db=cls.db), queue=prefix)

    @classmethod
    def worker(cls, queues: Sequence[str], *, unbound: bool = False, old: bool = False) -> list[str]:
        if old:
            return [sys.executable, "-c", OLD, "worker", "--serializer", "json", *queues]
        named = [] if unbound else ["env", "SIGRA_FORWARD_RQ=rq_worker:audit_forward"]
        return [*named, sys.executable, "-m", "rq.cli", "worker", *WORKER_OPTIONS, *SOON, *queues]

    @classmethod
    def ended(cls, rig: Rig, audit_event_id: str, log: str) -> Ended | None:
        if re.search(rf"Successfully completed sigra_forward.perform \S+ {audit_event_id} job", log):
            return Ended("succeeded")
        failed = [job for job in cls.jobs(audit_event_id) if job.get_status(refresh=False) == "failed"]
        return Ended("failed", failed[0].latest_result().exc_string) if failed else None

    @classmethod
    def put(cls, rig: Rig, job: dict[str, Any]) -> None:
        with cls.client() as redis:
            description = f"sigra_forward.perform {job.get('forwarder')} {job.get('audit_event_id')}"[:200]
            cls.queue(redis, rig).enqueue_call(PERFORM, kwargs=job, description=description)

    @classmethod
    def client(cls) -> Redis:
        """Return a client of the server."""
        return Redis.from_url(cls.url)

    @classmethod
    def queue(cls, redis: Redis, rig: Rig, lane: str | None = None) -> Queue:
        """Return RQ's own queue of *lane*, or the shared one."""
        return Queue(f"{rig.prefix}_{lane}" if lane else rig.prefix, redis, serializer=JSONSerializer)

    @classmethod
    def jobs(cls, audit_event_id: str) -> list[Job]:
        """Return the jobs of an event that RQ still keeps."""
        with cls.client() as redis:
            names = [key.decode().rpartition(":")[2] for key in redis.scan_iter("rq:job:*", 1000)]
            found = Job.fetch_many(names, redis, serializer=JSONSerializer)
            return [job for job in found if job and (job.description or "").endswith(audit_event_id)]

    # What is RQ's own.

    @pytest.mark.parametrize("form", ["os.system", "callback", "instance", "pickle"])
    def test_27_a_job_written_by_hand_runs_nothing(self, rig: Rig, shared: SupervisedProcess, form: str) -> None:
        """Whatever a job in Redis names, nothing of it is run, and it ends failed, for all to see."""
        target = rig.bench.folder / f"touched-{form}"
        with self.client() as redis:
            job = _HOSTILE[form](self.queue(redis, rig), f"touch {target}")
            self.wait_for(lambda: job.get_status() == "failed", self.patience)

            assert job.id in self.queue(redis, rig).failed_job_registry
            assert _REASON[form] in job.latest_result().exc_string
        assert "succeeded" == self.end_of(rig, self.enqueue(rig, "accepting"), shared).state
        assert not target.exists()
        assert [] == list(rig.bench.folder.glob("trace-*"))

    @pytest.mark.parametrize("end", ["well", "badly", "killed", "stopped", "abandoned"])
    def test_27_a_job_of_ours_calls_back_nobody(self, rig: Rig, shared: SupervisedProcess, end: str) -> None:
        """However a job ends that names our function, none of its callbacks is imported and none of its webhooks called."""
        forwarder = {"badly": "refusing", "killed": "dying", "stopped": "held"}.get(end, "accepting")
        event = rig.bench.commit()
        job = {"forwarder": forwarder, "audit_event_id": event.id, "occurred_at": None}
        with self.client() as redis, socket.create_server(("127.0.0.1", 0)) as webhooks:
            queue = self.queue(redis, rig)
            hostile = _calling_back(queue, job, webhooks.getsockname()[1])
            if end == "abandoned":
                hostile.set_status(JobStatus.STARTED)
                redis.zadd(queue.started_job_registry.key, {f"{hostile.id}:{uuid4()}": 1})
            else:
                queue.enqueue_job(hostile)
            if end == "stopped":
                self.wait_for(lambda: rig.bench.runs(event.id), self.patience)
                send_stop_job_command(redis, hostile.id)
            ended = "finished" if end == "well" else "failed"
            self.wait_for(lambda: hostile.get_status() in {ended, end}, self.patience)
            self.end_of(rig, self.enqueue(rig, "accepting"), shared)  # so that the worker is done with the one before
            webhooks.settimeout(0)

            with pytest.raises(BlockingIOError):
                webhooks.accept()
        assert [] == list(rig.bench.folder.glob("trace-*"))

    def test_28_a_job_is_three_texts(self, rig: Rig) -> None:
        """A job is JSON: our function, and the three keys. RQ limits it, and runs it again when its process is killed."""
        event = self.enqueue(rig, "accepting.spare")
        with self.client() as redis:
            queue = self.queue(redis, rig, "spare")
            (job,) = queue.jobs
            queue.empty()

        args = {"forwarder": "accepting.spare", "audit_event_id": event.id, "occurred_at": "2026-01-31T09:30:00+00:00"}
        assert [PERFORM, None, [], args] == json.loads(job.data)
        assert f"sigra_forward.perform accepting.spare {event.id}" == job.description
        assert (2, MAX_ATTEMPTS - 1, 60, 31536000) == (job.timeout, job.retries_left, job.result_ttl, job.failure_ttl)

    def test_29_a_success_leaves_little_behind(self, rig: Rig, shared: SupervisedProcess) -> None:
        """What RQ keeps of a job that went well is gone a minute later; a failed one stays, and the queue is empty."""
        done, failed = self.enqueue(rig, "flaky"), self.enqueue(rig, "refusing")
        self.end_of(rig, done, shared)
        self.end_of(rig, failed, shared)
        (job,), (kept,) = self.jobs(done.id), self.jobs(failed.id)
        with self.client() as redis:
            of_done = [key for key in redis.scan_iter(count=1000) if job.id.encode() in key]

            assert {f"rq:job:{job.id}".encode(), f"rq:results:{job.id}".encode()} == set(of_done)
            assert [True, True] == [0 < redis.ttl(key) <= 60 for key in of_done]
            assert 30_000_000 < redis.ttl(f"rq:job:{kept.id}")
            assert 0 == self.queue(redis, rig).count

    def test_30_health_tells_what_is_missing(self, rig: Rig) -> None:
        """No worker, a worker without a scheduler, a worker with one: told in plain words."""
        prefix = f"{rig.prefix}h"
        waits = f"no worker listens on queue '{prefix}', so its jobs wait: start one, rq worker {prefix}"
        for_ever = f"no scheduler runs for queue '{prefix}', so retries wait for ever: start a worker --with-scheduler"
        rq_worker = (sys.executable, "-m", "rq.cli", "worker")
        queue = RQQueue(self.client(), queue=prefix)

        def states() -> list[str]:
            return [worker.get_state() for worker in Worker.all(queue=Queue(prefix, redis))]

        with self.client() as redis, bind(queue):
            assert [waits] == queue.health()
            for options, told in ((), [for_ever]), (("--with-scheduler",), []):
                with self.running(rig, [prefix], *rq_worker, *options) as worker:
                    self.wait_for(lambda: states() == ["idle"], self.patience)
                    assert told == queue.health()
                    worker.stop()
            assert [waits] == queue.health()

    def test_30_health_of_a_server_that_is_gone(self, rig: Rig, behind: AuditForward, proxy: TCPProxy) -> None:
        """A Redis that does not answer is a problem like any other, told in time."""
        proxy.freeze()

        assert ["Redis does not answer, so no job can be enqueued: TimeoutError"] == within(1.5, behind.queue.health)

    def test_33_a_failed_job_can_be_run_again(self, rig: Rig, shared: SupervisedProcess) -> None:
        """``rq requeue`` makes one more attempt at a job that has used up its own."""
        event = self.enqueue(rig, "failing")
        self.end_of(rig, event, shared)
        (job,) = self.jobs(event.id)
        with self.client() as redis:
            self.queue(redis, rig).failed_job_registry.requeue(job.id)
        self.wait_for(lambda: len(self.attempts(rig, event)) > MAX_ATTEMPTS, self.patience)
        self.wait_for(lambda: job.get_status() == "failed", self.patience)

        assert [1, 2, 3, 3] == self.attempts(rig, event)

    def test_34_retries_and_kills_are_counted_together(self, rig: Rig) -> None:
        """A job that has been tried before it begins to kill its process runs max_attempts times all the same."""
        with self.started(rig, "spare") as worker:
            event = self.enqueue(rig, "failing.spare")
            self.wait_for(lambda: rig.bench.told(event.id), self.patience)
            (job,) = self.jobs(event.id)
            self.wait_for(lambda: job.get_status() == "scheduled", self.patience)
            job.refresh()
            job.kwargs = {**job.kwargs, "forwarder": "dying.spare"}
            with self.client() as redis:
                redis.hset(job.key, "data", job.data)

            assert "failed" == self.end_of(rig, event, worker).state
        assert [1, 2, 3] == self.attempts(rig, event)

    def test_35_a_worker_script_needs_no_variable(self, rig: Rig) -> None:
        """Where the process itself has bound an RQQueue, as a script of the host's own may, that one's job it is."""
        with self.running(rig, [f"{rig.prefix}_spare"], sys.executable, "-c", _SCRIPT) as worker:
            event = self.enqueue(rig, "accepting.spare")

            assert "succeeded" == self.end_of(rig, event, worker).state

    @classmethod
    def running(cls, rig: Rig, queues: Sequence[str], *command: str) -> SupervisedProcess:
        """Start a worker that is not as the contract's are."""
        environment = {**cls.environment(), VARIABLE: str(rig.bench.folder), "BENCH_PREFIX": rig.prefix}
        return SupervisedProcess([*command, *queues], rig.bench.folder, environment, f"{uuid4()}.log")


_SCRIPT = """
import os, sys
from redis import Redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer
from rq_worker import audit_forward
redis = Redis.from_url(os.environ["RQ_REDIS_URL"])
SimpleWorker(sys.argv[1:], connection=redis, serializer=JSONSerializer).work(with_scheduler=True)
"""


class _Touching:
    """Unpickled, it would make a file."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (self._command,))


def _with_callback(queue: Queue, command: str) -> Job:
    trace = Callback("rq_hostile.leave_trace")
    return queue.enqueue_call("os.system", (command,), on_failure=trace, on_success=trace)


def _calling_back(queue: Queue, job: dict[str, Any], port: int) -> Job:
    trace = Callback("rq_hostile.leave_trace")
    hostile = queue.create_job(PERFORM, kwargs=job, on_success=trace, on_failure=trace, on_stopped=trace)
    hostile.save()
    call = {"url": f"http://127.0.0.1:{port}/", "method": "GET", "headers": None, "timeout": 1}
    webhooks = [{**call, "job_status": status} for status in ("finished", "failed")]
    queue.connection.hset(hostile.key, "webhooks", json.dumps(webhooks))  # RQ 2 has none, and leaves them alone
    return hostile


def _with_instance(queue: Queue, command: str) -> Job:
    job = queue.create_job("os.system", (command,))
    job.data = json.dumps([PERFORM + ".__globals__", "os", [command], {}]).encode()
    return queue.enqueue_job(job)


def _pickled(queue: Queue, command: str) -> Job:
    return Queue(queue.name, queue.connection).enqueue_call(PERFORM, (_Touching(command),), retry=Retry(1))


_HOSTILE: dict[str, Callable[[Queue, str], Job]] = {
    "os.system": lambda queue, command: queue.enqueue_call("os.system", (command,), retry=Retry(1000)),
    "callback": _with_callback,
    "instance": _with_instance,
    "pickle": _pickled,
}

_REASON = {
    "os.system": "refused: this worker runs sigra_forward_rq.perform only",
    "callback": "refused: this worker runs sigra_forward_rq.perform only",
    "instance": "refused: this worker runs sigra_forward_rq.perform only",
    "pickle": "DeserializationError",
}


# What needs no worker.


@pytest.fixture
def redis(redis_server: tuple[str, int], redis_db: int) -> Iterator[Redis]:
    """Yield a client: RQ 2 asks the server when it performs a job."""
    with Redis(*redis_server, redis_db) as client:
        yield client


def bind(queue: RQQueue, **routes: Any) -> AuditForward:
    """Bind *queue* to an AuditForward with *routes*, or with one forwarder."""
    return AuditForward(InMemoryAuditRepository(), routes or {"siem": RecordingForwarder()}, queue=queue)


def nowhere(db: int = 0) -> Redis:
    """Return a client that nobody connects with."""
    return Redis(host="127.0.0.1", port=1, db=db)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("redis://localhost",), r"^RQQueue\(connection\) takes a redis\.Redis; got a builtins\.str$"),
        ((AsyncRedis(),), r"^RQQueue\(connection\) takes a redis\.Redis; got a redis\.asyncio\.client\.Redis$"),
        ((nowhere(), "a queue"), r"^RQQueue\(queue=\.\.\.\) must be 1 to 255 of"),
        ((nowhere(), "q", 0), r"^RQQueue\(monitoring_interval=\.\.\.\) must be a whole number of seconds"),
        ((nowhere(), "q", True), r"^RQQueue\(monitoring_interval=\.\.\.\) must be a whole number of seconds"),
        ((nowhere(), "q", 30, -1), r"^RQQueue\(failure_ttl=\.\.\.\) must be a whole number of seconds"),
    ],
    ids=["text", "async", "name", "zero", "bool", "negative"],
)
def test_what_does_not_fit_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    """The message says which argument, and what it must be."""
    names = ("queue", "monitoring_interval", "failure_ttl")

    with pytest.raises(ConfigurationError, match=message):
        RQQueue(arguments[0], **dict(zip(names, arguments[1:], strict=False)))


def test_a_queue_of_one_redis_is_bound_once() -> None:
    """Neither another client nor another URL of the same database takes over the jobs of a queue."""
    first = bind(RQQueue(nowhere()))

    with pytest.raises(
        ConfigurationError, match=r"bound to queue 'sigra_forward' of this Redis already: .*queue=\.\.\.\)$"
    ):
        bind(RQQueue(Redis.from_url("redis://127.0.0.1:1/0")))
    first.close()


@pytest.mark.parametrize("other", ["127.0.0.1", "::1", "LocalHost", "localhost.", "ip6-localhost"])
def test_a_queue_of_this_machines_redis_is_bound_once(other: str) -> None:
    """However the machine is called by itself, and whatever the case of letters, it is one Redis."""
    first = bind(RQQueue(Redis("localhost", 1)))

    with pytest.raises(ConfigurationError, match="of this Redis already"):
        bind(RQQueue(Redis(other, "1", "0")))
    first.close()


def test_the_case_of_a_name_makes_no_other_redis() -> None:
    """Names of machines know no case; those of sockets do."""
    clients = Redis("Redis.invalid"), Redis(unix_socket_path="/run/a"), Redis(unix_socket_path="/run/A")
    hosts = [bind(RQQueue(client)) for client in clients]

    with pytest.raises(ConfigurationError, match="of this Redis already"):
        bind(RQQueue(Redis("redis.INVALID")))
    for host in hosts:
        host.close()


def test_of_two_threads_one_binds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two find a queue free at the same moment, as web servers' threads may, the second one is refused."""
    together, bound = threading.Barrier(2), []

    class Claims(WeakValueDictionary[Any, Any]):
        def get(self, *args: Any) -> Any:
            found = super().get(*args)
            with suppress(threading.BrokenBarrierError):  # the other one is not let in
                together.wait(0.5)
            return found

    monkeypatch.setattr(_claims, "_CLAIMS", Claims())

    def take() -> None:
        with suppress(ConfigurationError):
            bound.append(bind(RQQueue(nowhere())))

    run_in_threads([take, take])

    assert 1 == len(bound)


@pytest.mark.parametrize("lag", [0.3, 0.38])
def test_a_slow_server_is_given_up_on_in_time(redis_server: tuple[str, int], redis_db: int, lag: float) -> None:
    """A connect and RQ's own questions are many answers: late as each is, an enqueue is told within 1.5 seconds."""
    job = JobArgs("siem", "1")
    with SlowProxy(*redis_server) as slow:
        queue = RQQueue(Redis(port=slow.port, db=redis_db), queue="slow")
        with bind(queue):
            slow.lag = lag
            with suppress(EnqueueError):
                within(1.5, queue.enqueue, job)
            slow.lag = 0.0
            queue.enqueue(job)
            slow.lag = lag

            within(1.5, queue.enqueue, job)  # on a connection that stands it is one answer
            slow.cut()
            with suppress(EnqueueError):
                within(1.5, queue.enqueue, job)
            slow.lag = 0.0
            queue.enqueue(job)


def test_other_queues_may_be_bound_besides() -> None:
    """Another queue, another database, or the same one after `close`."""
    hosts = [bind(RQQueue(nowhere())), bind(RQQueue(nowhere(), queue="other")), bind(RQQueue(nowhere(1)))]
    for host in hosts:
        host.close()

    bind(RQQueue(nowhere())).close()


def test_a_routes_queue_is_bound_too() -> None:
    """A queue that a route names is as much an AuditForward's own as the one that the adapter names."""
    first = bind(RQQueue(nowhere()), siem=Route(RecordingForwarder(), queue="urgent"))

    with pytest.raises(ConfigurationError, match="bound to queue 'urgent'"):
        bind(RQQueue(nowhere(), queue="urgent"))
    first.close()


def test_a_job_is_not_started_twice_at_once() -> None:
    """A job that may live on longer than RQ waits for a killed worker is refused, and the queue stays free."""
    slow = RecordingForwarder()
    slow.deadline = 46.0
    queue = RQQueue(nowhere())

    with pytest.raises(
        ConfigurationError, match=r"monitoring_interval=\.\.\.\), is 90 s, .* may take 92 s .* twice at once"
    ):
        bind(queue, siem=slow)
    bind(queue).close()
    bind(RQQueue(nowhere(), monitoring_interval=32), siem=slow).close()


def test_unbound_it_takes_no_job() -> None:
    """Nobody would run it, and its health is nobody's."""
    queue = RQQueue(nowhere())

    with pytest.raises(EnqueueError, match="bound to no AuditForward"):
        queue.enqueue(JobArgs("siem", "1"))
    with pytest.raises(ConfigurationError, match="bound to no AuditForward"):
        queue.health()


def test_perform_is_for_workers() -> None:
    """Called by anyone else it says so."""
    with pytest.raises(ConfigurationError, match=r"for RQ's workers to call: in tests, call AuditForward\.perform$"):
        perform(forwarder="siem", audit_event_id="1")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("", "does not know whom the job is for: set SIGRA_FORWARD_RQ to your AuditForward, as module:attribute"),
        ("shop", "SIGRA_FORWARD_RQ='shop' is not of the form module:attribute"),
        (":audit_forward", "is not of the form module:attribute"),
        ("shop:", "is not of the form module:attribute"),
        ("no.such.shop:audit_forward", "cannot be imported by this worker, it raised ModuleNotFoundError: see what"),
        ("os:no_such_attribute", "it raised AttributeError: see what `python -c 'from os import no_such_attribute'`"),
        ("this_exits:audit_forward", "it raised SystemExit"),
        ("os:environ", "names a _Environ, and no AuditForward"),
        ("this_shop:without_queue", "names an AuditForward without an RQQueue: pass it AuditForward"),
    ],
)
def test_a_worker_set_up_wrongly_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis: Redis, named: str, message: str
) -> None:
    """A job that finds no AuditForward never succeeds: it is tried again later, and ends with what to set."""
    (tmp_path / "this_exits.py").write_text("raise SystemExit")
    (tmp_path / "this_shop.py").write_text(
        "from sigra_forward import AuditForward\n"
        "from sigra_forward.testing import InMemoryAuditRepository\n"
        "without_queue = AuditForward(InMemoryAuditRepository(), {})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SIGRA_FORWARD_RQ", named)
    job = PerformOnlyJob.create(PERFORM, kwargs={}, connection=redis, origin="nobodys", serializer=JSONSerializer)
    job.retries_left = 1

    retry = job.perform()
    assert (31, 0) == (retry.intervals[0], job.retries_left)
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        job.perform()


def test_a_nested_attribute_is_found_and_imported_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis: Redis
) -> None:
    """The operator may name an attribute of an object; the job's own words change nothing."""
    (tmp_path / "nested_shop.py").write_text(
        "from redis import Redis\n"
        "from sigra_forward import AuditForward\n"
        "from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder, make_event\n"
        "from sigra_forward_rq import RQQueue\n"
        "class state:\n"
        "    siem = RecordingForwarder()\n"
        "    queue = RQQueue(Redis(port=1), queue='nested')\n"
        "    audit_forward = AuditForward(InMemoryAuditRepository([make_event(id='7')]), {'siem': siem}, queue=queue)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SIGRA_FORWARD_RQ", "nested_shop:state.audit_forward")
    args = {"forwarder": "siem", "audit_event_id": "7", "occurred_at": None, "module": "os"}
    for _ in range(2):
        job = PerformOnlyJob.create(PERFORM, kwargs=args, connection=redis, serializer=JSONSerializer)
        assert job.perform() is None

    import nested_shop

    assert ["7", "7"] == [event.id for event in nested_shop.state.siem.events]
    nested_shop.state.audit_forward.close()
