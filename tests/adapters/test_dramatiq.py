"""`DramatiqQueue` on Redis and on RabbitMQ, with real workers."""

from __future__ import annotations

import json
import os
import pickle
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Event, Thread, current_thread
from time import sleep
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("dramatiq")

import dramatiq
import pika
from dramatiq import Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Retries, ShutdownNotifications, SkipMessage, TimeLimit
from dramatiq.middleware.time_limit import TimeLimitExceeded
from dramatiq.worker import ConsumerThread
from redis import Redis

from sigra_forward import AuditForward, ConfigurationError, EnqueueError, JobArgs, RetryPolicy, Route, SinkError
from sigra_forward.queues.adapter import TASK_NAME
from sigra_forward.testing import (
    FlakyForwarder,
    InMemoryAuditRepository,
    QueueWorkerContract,
    RecordingForwarder,
    SupervisedProcess,
    TCPProxy,
    make_event,
)
from sigra_forward.testing.contracts import Ended, Rig, within
from sigra_forward.testing.contracts._hostile import run_in_threads
from sigra_forward.testing.workbench import MAX_ATTEMPTS, audit_forward
from sigra_forward_dramatiq import REDIS_BROKER_OPTIONS, DramatiqQueue
from tests.adapters.workers.dramatiq_worker import make_broker


class DramatiqContract(QueueWorkerContract):
    """What is the same on both brokers."""

    @classmethod
    def url(cls, host: str, port: int) -> str:
        """Return the broker's URL behind an address."""
        raise NotImplementedError

    @classmethod
    def dead_letters(cls, queue: str) -> list[bytes]:
        """Return the dead letters of a queue."""
        raise NotImplementedError

    @classmethod
    def put_bytes(cls, queue: str, message: bytes) -> None:
        """Write something into a queue that need not be a message."""
        raise NotImplementedError

    @classmethod
    def environment(cls) -> dict[str, str]:
        return {"BENCH_BROKER": cls.broker, "PYTHONPATH": str(Path(__file__).parent / "workers")}

    @classmethod
    def job_queue(cls, host: str, port: int, prefix: str) -> DramatiqQueue:
        return DramatiqQueue(make_broker(cls.url(host, port)), queue=prefix, interrupted_retry_in=1)

    @classmethod
    def worker(cls, queues: Sequence[str], *, unbound: bool = False, old: bool = False) -> list[str]:
        kind = "unbound" if unbound else "old" if old else "bound"
        environment = ["env", f"BENCH_KIND={kind}", f"BENCH_QUEUE={queues[0]}"]
        command = [sys.executable, "-m", "dramatiq", "dramatiq_worker:broker", "-Q", *queues]
        return [*environment, *command, "--processes", "1", "--threads", "4"]

    @classmethod
    def is_up(cls, log: str) -> bool:
        return "ready for action" in log  # a kill just before it leaves Dramatiq's master waiting for a lock

    @classmethod
    def ended(cls, rig: Rig, audit_event_id: str, log: str) -> Ended | None:
        ends = re.findall(rf" ENDED (\w+) {audit_event_id} (\w+)$", log, re.MULTILINE)
        if not ends:
            return None
        state, queue = ends[-1]
        if state == "succeeded":
            return Ended(state)
        if not any(audit_event_id.encode() in letter for letter in cls.dead_letters(queue)):
            return None
        told = re.split(r"^(?=\[\d{4}-)", log, flags=re.MULTILINE)
        return Ended(state, "".join(part for part in told if "Failed to process" in part and audit_event_id in part))

    @classmethod
    def noticed(cls, rig: Rig, event: Any, log: str) -> bool:
        return "undefined actor" in log or "bound to no AuditForward" in log

    @classmethod
    def put(cls, rig: Rig, job: dict[str, Any]) -> None:
        cls.send(Message(queue_name=rig.prefix, actor_name=TASK_NAME, args=(), kwargs=job, options={}))

    @classmethod
    def send(cls, message: Message) -> None:
        """Put a message on its queue as any Dramatiq app does."""
        with closing(make_broker(cls.broker)) as broker:
            broker.enqueue(message)

    def test_27_a_retry_that_cannot_be_published_is_not_lost(self, proxy: TCPProxy, caplog: Any) -> None:
        """Where the server is gone when a job is to be tried again, it is tried when the server is back."""
        broker = make_broker(self.url("127.0.0.1", proxy.port))
        event, sink = make_event(), _Cutting(proxy)
        routes = {"siem": Route(sink, policy=RetryPolicy(backoff=lambda _: 0))}
        queue = DramatiqQueue(broker, queue=f"cut{uuid4().hex[:8]}")
        with AuditForward(InMemoryAuditRepository([event]), routes, queue=queue):
            queue.enqueue(JobArgs("siem", event.id))
            with working(broker):
                self.wait_for(lambda: "the retry could not be published" in caplog.text, self.patience)
                proxy.resume()
                self.wait_for(lambda: sink.events, self.patience)

        assert {event.id} == {event.id for event in sink.events}

    @pytest.mark.parametrize("message", ["pickle", "positional", "os.system", "text", "options"])
    def test_28_a_message_written_by_hand_runs_nothing(self, rig: Rig, shared: SupervisedProcess, message: str) -> None:
        """What is no message of ours is refused or ends as a dead letter, and shows in the log."""
        target = rig.bench.folder / "touched"
        fields: dict[str, Any] = {"queue_name": rig.prefix, "actor_name": TASK_NAME, "args": (), "kwargs": {}}
        before = len(self.dead_letters(rig.prefix))
        if message == "pickle":
            told = "DecodeError"
            self.put_bytes(rig.prefix, pickle.dumps(_Touching(str(target))))
        elif message == "positional":
            told = "invalid_job_args"
            self.send(Message(**{**fields, "args": ("accepting", f"touch {target}")}, options={}))
        elif message == "os.system":
            told = "Received message for undefined actor 'os.system'"
            self.send(Message(**{**fields, "actor_name": "os.system", "args": (f"touch {target}",)}, options={}))
        elif message == "text":
            told = "must be a mapping"
            self.send(Message(**{**fields, "kwargs": "x" * 1_000_000}, options={"max_retries": 0}))
        else:
            told = "invalid_job_args"
            self.send(Message(**fields, options={"retries": "x", "max_retries": "x", "time_limit": 60_000}))

        self.wait_for(lambda: told in shared.log(), self.patience)
        if message != "pickle":
            self.wait_for(lambda: len(self.dead_letters(rig.prefix)) > before, self.patience)
        assert "succeeded" == self.end_of(rig, self.enqueue(rig, "accepting"), shared).state
        assert not target.exists()

    def test_29_a_job_is_three_texts(self, rig: Rig) -> None:
        """A job is JSON, and holds the three keys and nothing else."""
        name = f"{rig.prefix}_wire"
        event = make_event()
        with audit_forward(self.job_queue(*rig.address, name), name, folder=str(rig.bench.folder)) as host:
            host.queue.enqueue(JobArgs("accepting", event.id, event.occurred_at))  # type: ignore[union-attr]
        message = json.loads(self.waiting(name)[0])

        job = {"forwarder": "accepting", "audit_event_id": event.id, "occurred_at": "2026-01-31T09:30:00+00:00"}
        assert (TASK_NAME, [], job) == (message["actor_name"], message["args"], message["kwargs"])

    @classmethod
    def waiting(cls, queue: str) -> list[bytes]:
        """Return the messages that wait in a queue."""
        raise NotImplementedError

    def test_32_a_job_that_waits_outlives_the_connection(self, proxy: TCPProxy, caplog: Any) -> None:
        """A retry that a worker holds back until it is due is not forgotten while the server is away."""
        broker = make_broker(self.url("127.0.0.1", proxy.port))
        broker.add_middleware(holding := _Holding())
        event, sink = make_event(), _Quick(1)
        routes = {"siem": Route(sink, policy=RetryPolicy(backoff=lambda _: 2))}
        queue = DramatiqQueue(broker, queue=f"held{uuid4().hex[:8]}")
        with AuditForward(InMemoryAuditRepository([event]), routes, queue=queue), working(broker):
            queue.enqueue(JobArgs("siem", event.id))
            assert holding.holds.wait(self.patience)
            proxy.refuse()
            self.wait_for(lambda: caplog.text.count("encountered a connection error") > 1, self.patience)
            proxy.resume()
            self.wait_for(lambda: sink.events, self.patience)

        assert [event.id] == [event.id for event in sink.events]

    def test_33_an_outage_beyond_the_time_limit_loses_nothing(self, proxy: TCPProxy, caplog: Any) -> None:
        """Where the server is gone for longer than a job may take, all are tried again, and every thread works on."""
        broker = make_broker(self.url("127.0.0.1", proxy.port))
        name = f"long{uuid4().hex[:8]}"
        ran = Event()
        host = dramatiq.actor(broker=broker, actor_name="host", queue_name=name)(lambda: ran.set())
        events, sink = [make_event() for _ in range(4)], _Cutting(proxy, jobs=4)
        routes = {"siem": Route(sink, policy=RetryPolicy(backoff=lambda _: 0))}
        queue = DramatiqQueue(broker, queue=name)
        with AuditForward(InMemoryAuditRepository(events), routes, queue=queue):
            for event in events:
                queue.enqueue(JobArgs("siem", event.id))
            with working(broker, threads=4) as worker:
                self.wait_for(lambda: caplog.text.count("the retry could not be published") > 5 * 4, self.patience)
                proxy.resume()
                self.wait_for(lambda: len({event.id for event in sink.events}) == 4, self.patience)
                host.send()
                assert ran.wait(self.patience)

                assert [True] * 4 == [thread.is_alive() for thread in worker.workers]

    def test_34_a_stop_in_an_outage_loses_nothing(self, server: Any, proxy: TCPProxy, caplog: Any) -> None:
        """A worker that is to interrupt its jobs when it stops, and stops while the server is gone, gives up no job."""
        name = f"stop{uuid4().hex[:8]}"
        event, sink = make_event(), _Cutting(proxy)
        with self.host(self.url("127.0.0.1", proxy.port), name, event, sink) as (broker, queue):
            interrupt_on_stop(broker)
            queue.enqueue(JobArgs("siem", event.id))
            with working(broker) as worker:
                self.wait_for(lambda: "the retry could not be published" in caplog.text, self.patience)
                stopping = Thread(target=worker.stop)
                stopping.start()
                caplog.clear()
                self.wait_for(lambda: caplog.text.count("the retry could not be published") > 3, self.patience)
                proxy.resume()
                stopping.join()
        with self.host(self.broker, name, event, sink) as (broker, _), working(broker):
            self.wait_for(lambda: sink.events, self.rescue)

        assert {event.id} == {event.id for event in sink.events}

    def test_35_jobs_that_wait_outlive_a_server_that_goes_when_one_is_due(self, proxy: TCPProxy, caplog: Any) -> None:
        """A retry that is due just when the server goes away takes neither itself nor the other ones with it."""
        name = f"due{uuid4().hex[:8]}"
        events, sink = [make_event() for _ in range(3)], _Quick(3)
        with self.host(self.url("127.0.0.1", proxy.port), name, events, sink, wait=2) as (broker, queue):
            broker.add_middleware(_CuttingWhenDue(proxy))
            with working(broker):
                for event in events:
                    queue.enqueue(JobArgs("siem", event.id))
                self.wait_for(lambda: "Consumer encountered a" in caplog.text, self.patience)
                proxy.resume()
                self.wait_for(lambda: len({event.id for event in sink.events}) == 3, self.patience)

        assert {event.id for event in events} == {event.id for event in sink.events}

    @pytest.mark.parametrize("cause", ["limit", "stop"])
    def test_36_a_job_that_is_interrupted_is_tried_again_in_time(self, server: Any, cause: str) -> None:
        """Whatever interrupts a job, its next attempt is due within `interrupted_retry_in`, and not before half of it."""
        name = f"again{uuid4().hex[:8]}"
        event, sink, delays = make_event(), _Stuck(), _Delays()
        with self.host(self.broker, name, event, sink, interrupted_retry_in=4) as (broker, queue):
            broker.add_middleware(delays)
            interrupt_on_stop(broker)
            with working(broker) as worker:
                queue.enqueue(JobArgs("siem", event.id))
                assert sink.begun.wait(self.patience)
                if cause == "stop":
                    worker.stop()
                self.wait_for(lambda: delays.of_retries, self.patience)
        with self.host(self.broker, name, event, sink) as (broker, _), working(broker):
            self.wait_for(lambda: sink.events, self.rescue)

        assert [True] == [2_000 <= delay <= 4_000 for delay in delays.of_retries]
        assert [event.id] == [event.id for event in sink.events]

    @classmethod
    @contextmanager
    def host(
        cls, url: str, name: str, events: Any, sink: Any, *, wait: int = 0, **options: Any
    ) -> Iterator[tuple[Any, DramatiqQueue]]:
        """Bind a queue of a broker of its own."""
        broker = make_broker(url)
        routes = {"siem": Route(sink, policy=RetryPolicy(backoff=lambda _: wait))}
        queue = DramatiqQueue(broker, queue=name, **options)
        repository = InMemoryAuditRepository(events if isinstance(events, list) else [events])
        with AuditForward(repository, routes, queue=queue):
            yield broker, queue


class TestDramatiqOnRedis(DramatiqContract):
    """Dramatiq on Redis."""

    library = "Dramatiq, Redis"
    visibility = "dead letter with the reason in its traceback; worker's log"
    recovery = "`heartbeat_timeout` (60 s) and 10 to 30 s"

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, redis_server: tuple[str, int], redis_db: int) -> Iterator[tuple[str, int]]:
        cls.db = redis_db
        cls.broker = cls.url(*redis_server)
        with Redis.from_url(cls.broker) as cls.redis:
            yield redis_server

    @classmethod
    def url(cls, host: str, port: int) -> str:
        return f"redis://{host}:{port}/{cls.db}"

    @classmethod
    def dead_letters(cls, queue: str) -> list[bytes]:
        return cls.redis.hvals(f"dramatiq:{queue}.XQ.msgs")

    @classmethod
    def put_bytes(cls, queue: str, message: bytes) -> None:
        cls.redis.hset(f"dramatiq:{queue}.msgs", "by-hand", message)
        cls.redis.rpush(f"dramatiq:{queue}", "by-hand")

    @classmethod
    def waiting(cls, queue: str) -> list[bytes]:
        return cls.redis.hvals(f"dramatiq:{queue}.msgs")

    def test_37_a_dead_letter_says_why(self, rig: Rig, shared: SupervisedProcess) -> None:
        """The traceback of a dead letter, which dashboards show, ends with the reason."""
        event = self.enqueue(rig, "refusing")
        self.end_of(rig, event, shared)
        letter = next(json.loads(x) for x in self.dead_letters(rig.prefix) if event.id.encode() in x)

        assert letter["options"]["traceback"].endswith("JobEndedError: cancelled: schema_mismatch: no such field\n")

    def test_38_nothing_is_left_behind(self, rig: Rig, shared: SupervisedProcess) -> None:
        """How often a job was started is forgotten with the job."""
        assert [] == self.redis.keys("dramatiq:sigra_forward:*")


class TestDramatiqOnRabbitMQ(DramatiqContract):
    """Dramatiq on RabbitMQ."""

    library = "Dramatiq, RabbitMQ"
    visibility = "dead letter; the reason in the worker's log"
    recovery = "at once"

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, rabbitmq_server: tuple[str, int], rabbitmq_vhost: str) -> tuple[str, int]:
        cls.vhost = rabbitmq_vhost
        cls.broker = cls.url(*rabbitmq_server)
        return rabbitmq_server

    @classmethod
    def url(cls, host: str, port: int) -> str:
        return f"amqp://guest:guest@{host}:{port}/{cls.vhost.replace('/', '%2F')}"

    @classmethod
    @contextmanager
    def channel(cls) -> Iterator[Any]:
        """Give a channel; what it gets and does not acknowledge goes back."""
        with pika.BlockingConnection(pika.URLParameters(cls.broker)) as connection:
            yield connection.channel()

    @classmethod
    def dead_letters(cls, queue: str) -> list[bytes]:
        return cls.waiting(f"{queue}.XQ")

    @classmethod
    def put_bytes(cls, queue: str, message: bytes) -> None:
        with cls.channel() as channel:
            channel.basic_publish("", queue, message)

    @classmethod
    def waiting(cls, queue: str) -> list[bytes]:
        bodies = []
        with cls.channel() as channel:
            while (body := channel.basic_get(queue)[2]) is not None:
                bodies.append(body)
        return bodies

    @pytest.mark.xfail(
        strict=True,
        raises=AssertionError,
        reason="RabbitMQ gives a job back without a count, and Dramatiq counts no kill as an attempt",
    )
    def test_13_a_poison_job_is_bounded(self, rig: Rig, crashes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        crash = crashes["poison"]
        self.wait_for(lambda: len(self.attempts(rig, crash.event)) > MAX_ATTEMPTS, self.rescue)
        crash.worker.end()
        monkeypatch.setattr(type(self), "rescue", 0.1)
        super().test_13_a_poison_job_is_bounded(rig, crashes)

    def test_39_connections_that_fall_silent_are_given_up(self, server: Any, proxy: TCPProxy) -> None:
        """After more calls than connections are kept for have waited in vain on ones that are gone, the next works."""
        queue = self.job_queue("127.0.0.1", proxy.port, f"gone{uuid4().hex[:8]}")
        with bind(queue):
            run_in_threads([partial(queue.enqueue, JobArgs("siem", "1"))] * 48)
            proxy.silence()
            with pytest.raises(EnqueueError):
                run_in_threads([partial(queue.enqueue, JobArgs("siem", "1"))] * 48)

            within(1.5, queue.enqueue, JobArgs("siem", "1"))

    def test_39_a_connection_that_comes_too_late_is_closed(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a name server that was given up on leads to in the end is not kept."""
        made: list[Any] = []
        back = Event()
        resolve = socket.getaddrinfo

        def hang(host: Any, *args: Any, **options: Any) -> Any:
            if host in {"late.invalid", b"late.invalid"}:
                back.wait()
                host = server[0]
            return resolve(host, *args, **options)

        class Made(pika.BlockingConnection):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                made.append(self)

        monkeypatch.setattr(socket, "getaddrinfo", hang)
        monkeypatch.setattr(pika, "BlockingConnection", Made)
        queue = self.job_queue("late.invalid", server[1], f"late{uuid4().hex[:8]}")
        with bind(queue):
            with pytest.raises(EnqueueError):
                within(1.5, queue.enqueue, JobArgs("siem", "1"))
            back.set()
            self.wait_for(lambda: made and made[0].is_closed, self.patience)

        assert 1 == len(made)


@contextmanager
def working(broker: Any, threads: int = 1) -> Iterator[dramatiq.Worker]:
    """Run a worker of *broker* in this process."""
    broker.emit_after("process_boot")
    worker = dramatiq.Worker(broker, worker_threads=threads)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
        broker.close()


def interrupt_on_stop(broker: Any) -> None:
    """Have the workers of *broker* interrupt their jobs when they stop."""
    notifying = next(one for one in broker.middleware if isinstance(one, ShutdownNotifications))
    notifying.notify_shutdown = True


class _Quick(FlakyForwarder):
    deadline = 1.0


class _Holding(dramatiq.Middleware):
    """Tells when a worker holds a job back until it is due."""

    def __init__(self) -> None:
        self.holds = Event()

    def before_delay_message(self, broker: Any, message: Any) -> None:
        self.holds.set()


class _CuttingWhenDue(dramatiq.Middleware):
    """Takes the server down when the first retry is due, and about to be moved onto its queue."""

    def __init__(self, proxy: TCPProxy) -> None:
        self._proxy = proxy
        self._is_first = True

    def before_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
        if self._is_first and delay is None and isinstance(current_thread(), ConsumerThread):
            self._is_first = False
            self._proxy.refuse()


class _Delays(dramatiq.Middleware):
    """Notes for how long each retry has to wait, in milliseconds."""

    def __init__(self) -> None:
        self.of_retries: list[int] = []

    def after_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
        if delay is not None:
            self.of_retries.append(delay)


class _Stuck(RecordingForwarder):
    """Takes for ever, the first time."""

    deadline = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.begun = Event()

    def forward(self, event: Any) -> Any:
        while not self.begun.is_set():
            self.begun.set()
            while True:
                sleep(0.01)
        return super().forward(event)


class _Cutting(RecordingForwarder):
    """Fails once for each job, when all of them run, and takes the server down with it."""

    deadline = 1.0

    def __init__(self, proxy: TCPProxy, jobs: int = 1) -> None:
        super().__init__()
        self._all_run = Barrier(jobs, action=proxy.refuse)
        self._failed: set[str] = set()

    def forward(self, event: Any) -> Any:
        if event.id not in self._failed:
            self._failed.add(event.id)
            self._all_run.wait()
            reason = "http_503"
            raise SinkError(reason)
        return super().forward(event)


class _Touching:
    """Unpickled, it would make a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self._path}",))


# What needs no server.


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    """Yield a broker in memory."""
    with closing(StubBroker()) as broker:
        yield broker


def bind(queue: DramatiqQueue, **routes: Any) -> AuditForward:
    """Bind *queue* to an AuditForward with *routes*, or with one forwarder."""
    return AuditForward(InMemoryAuditRepository(), routes or {"siem": RecordingForwarder()}, queue=queue)


def test_it_takes_a_dramatiq_broker() -> None:
    """What is no Dramatiq broker is refused, by name."""
    with pytest.raises(ConfigurationError, match=r"^DramatiqQueue\(broker\) takes your Dramatiq broker; got a str$"):
        DramatiqQueue("redis://localhost")  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), True, "30"])
def test_a_delay_is_a_number(broker: StubBroker, seconds: Any) -> None:
    """A delay after an interrupted job that is no number of seconds is refused."""
    with pytest.raises(
        ConfigurationError, match=r"^DramatiqQueue\(interrupted_retry_in=\.\.\.\) must be a finite number"
    ):
        DramatiqQueue(broker, interrupted_retry_in=seconds)


def test_one_broker_is_bound_once(broker: StubBroker) -> None:
    """A second DramatiqQueue on one broker cannot take over the jobs of the first."""
    bind(DramatiqQueue(broker))

    with pytest.raises(ConfigurationError, match=r"^a DramatiqQueue of this Dramatiq broker is bound"):
        bind(DramatiqQueue(broker))


def test_our_name_is_ours(broker: StubBroker) -> None:
    """An actor of the host's own under our name is not replaced."""
    dramatiq.actor(broker=broker, actor_name=TASK_NAME)(lambda: None)

    with pytest.raises(ConfigurationError, match=r"has an actor 'sigra_forward.perform' of its own"):
        DramatiqQueue(broker)


def test_the_global_broker_is_left_alone(broker: StubBroker) -> None:
    """Nothing of ours asks for Dramatiq's global broker, which would make up one on localhost."""
    bind(DramatiqQueue(broker)).queue.enqueue(JobArgs("siem", "1"))  # type: ignore[union-attr]

    assert dramatiq.broker.global_broker is None


def test_a_broker_that_never_retries_is_refused() -> None:
    """Without Retries a job that failed would be acknowledged as done."""
    broker = StubBroker(middleware=[])

    with pytest.raises(ConfigurationError, match=r"add dramatiq\.middleware\.Retries\(\) to its middleware$"):
        DramatiqQueue(broker)
    assert ([], {}) == (broker.middleware, broker.actors)


def test_an_encoder_that_unpickles_is_refused(broker: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that unpickle would run what anybody writes into the queue."""
    monkeypatch.setattr("dramatiq.message.global_encoder", dramatiq.PickleEncoder())

    with pytest.raises(ConfigurationError, match=r"call dramatiq\.set_encoder\(JSONEncoder\(\)\)$"):
        bind(DramatiqQueue(broker))


@pytest.mark.parametrize("name", ["9lives", "a:b", "audit.DQ", "audit.XQ"])
def test_a_queue_has_a_name_that_dramatiq_takes(broker: StubBroker, name: str) -> None:
    """A name that Dramatiq gives a meaning of its own, or does not take, is refused at construction and in a route."""
    with pytest.raises(ConfigurationError, match=r"cannot name a queue of Dramatiq"):
        DramatiqQueue(broker, queue=name)
    with pytest.raises(ConfigurationError, match=r"cannot name a queue of Dramatiq"):
        bind(DramatiqQueue(broker), siem=Route(RecordingForwarder(), queue=name))
    bind(DramatiqQueue(broker))


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        pytest.param({"heartbeat_timeout": 59_000}, "heartbeat_timeout", id="a slow job would be started twice"),
        pytest.param({"maintenance_chance": 1_000}, "maintenance_chance", id="a killed one would be found too late"),
    ],
)
def test_redis_brings_back_the_jobs_of_the_dead_only(options: dict[str, int], setting: str) -> None:
    """A RedisBroker that takes the living for dead, or hardly looks for the dead, is refused; ours is taken."""
    url = "redis://127.0.0.1:1/0"

    with pytest.raises(ConfigurationError, match=setting):
        bind(DramatiqQueue(RedisBroker(url=url, **{**REDIS_BROKER_OPTIONS, **options})))
    bind(DramatiqQueue(RedisBroker(url=url, **REDIS_BROKER_OPTIONS)))


def test_rabbitmq_gives_no_job_to_two() -> None:
    """A wait that RabbitMQ would take for a consumer that hangs is refused."""
    policy = RetryPolicy(backoff=lambda _: 1800)

    with pytest.raises(ConfigurationError, match=r"consumer_timeout"):
        bind(DramatiqQueue(RabbitmqBroker(url="amqp://h")), siem=Route(RecordingForwarder(), policy=policy))


def test_a_route_names_its_queue(broker: StubBroker) -> None:
    """A job goes onto its route's queue, and a worker that is asked for that queue alone runs it."""
    event, sink = make_event(), RecordingForwarder()
    queue = DramatiqQueue(broker)
    host = AuditForward(InMemoryAuditRepository([event]), {"siem": Route(sink, queue="siem_jobs")}, queue=queue)
    worker = dramatiq.Worker(broker, queues={"siem_jobs"}, worker_threads=1)
    worker.start()
    host.dispatch(event)
    broker.join("siem_jobs", timeout=30_000)
    worker.stop()

    assert [event.id] == [event.id for event in sink.events]


def test_retries_are_ours_to_settle() -> None:
    """A host's own idea of what is retried, or how often, changes nothing."""
    broker = StubBroker(middleware=[Retries(max_retries=0, retry_when=lambda *_: False)])
    event, sink = make_event(), FlakyForwarder(2)
    policy = RetryPolicy(3, backoff=lambda _: 0)
    queue = DramatiqQueue(broker)
    host = AuditForward(InMemoryAuditRepository([event]), {"siem": Route(sink, policy=policy)}, queue=queue)
    worker = dramatiq.Worker(broker, worker_threads=1)
    worker.start()
    host.dispatch(event)
    broker.join("sigra_forward", timeout=30_000)
    worker.stop()

    assert [event.id] == [event.id for event in sink.events]


class _LastMoment(TimeLimit):
    """A time limit that strikes when a job has just ended, once."""

    is_first = True

    def after_process_message(self, *args: Any, **options: Any) -> None:
        super().after_process_message(*args, **options)
        if self.is_first:
            self.is_first = False
            raise TimeLimitExceeded


def test_a_limit_that_strikes_in_the_last_moment_leaves_thread_and_job() -> None:
    """A job that has just ended when it is interrupted is one that was interrupted, and no harm to its thread."""
    event, sink = make_event(), RecordingForwarder()
    with closing(StubBroker(middleware=[_LastMoment(), Retries()])) as broker:
        queue = DramatiqQueue(broker, interrupted_retry_in=0.01)
        host = AuditForward(InMemoryAuditRepository([event]), {"siem": sink}, queue=queue)
        with working(broker) as worker:
            host.queue.enqueue(JobArgs("siem", event.id))
            broker.join("sigra_forward", timeout=30_000)

            assert ([event.id] * 2, [True]) == (
                [event.id for event in sink.events],
                [thread.is_alive() for thread in worker.workers],
            )


class _Interrupted(StubBroker):
    """A broker whose publication of a retry is interrupted, time and again."""

    interrupts = 3

    def enqueue(self, message: Message, *, delay: int | None = None) -> Message:
        if delay is not None and self.interrupts:
            self.interrupts -= 1
            raise TimeLimitExceeded
        return super().enqueue(message, delay=delay)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_interrupt_that_is_not_to_be_kept_off_loses_no_job() -> None:
    """Where an interrupt of whatever kind breaks into the publication of a retry, and ends the thread, it is published."""
    event, sink = make_event(), FlakyForwarder(1)
    with closing(_Interrupted()) as broker:
        routes = {"siem": Route(sink, policy=RetryPolicy(backoff=lambda _: 0))}
        host = AuditForward(InMemoryAuditRepository([event]), routes, queue=DramatiqQueue(broker))
        with working(broker, threads=2):
            host.queue.enqueue(JobArgs("siem", event.id))
            broker.join("sigra_forward", timeout=30_000)

        assert [event.id] == [event.id for event in sink.events]


class _Skipping(dramatiq.Middleware):
    def before_process_message(self, broker: Any, message: Any) -> None:
        raise SkipMessage


def test_a_job_that_the_host_skips_is_over(broker: StubBroker) -> None:
    """What a middleware of the host's own skips is neither run nor tried again."""
    broker.add_middleware(_Skipping())
    other = dramatiq.actor(broker=broker, actor_name="host", queue_name="sigra_forward")(lambda: None)
    event, sink = make_event(), RecordingForwarder()
    host = AuditForward(InMemoryAuditRepository([event]), {"siem": sink}, queue=DramatiqQueue(broker))
    with working(broker):
        host.queue.enqueue(JobArgs("siem", event.id))
        other.send()
        broker.join("sigra_forward", timeout=30_000)

    assert [] == sink.events


class _Meeting(StubBroker):
    """A broker in which two threads that bind at once meet."""

    met: Barrier | None = None

    def declare_queue(self, queue_name: str) -> None:
        if self.met is not None:
            with suppress(BrokenBarrierError):
                self.met.wait(1)
        super().declare_queue(queue_name)


def test_only_one_of_two_threads_binds() -> None:
    """Of two AuditForwards that are constructed at once on one broker, one is refused."""
    with closing(_Meeting()) as broker:
        _, *queues = [DramatiqQueue(broker) for _ in range(3)]
        broker.met = Barrier(2)
        bound, refused = [], []

        def construct(queue: DramatiqQueue) -> None:
            try:
                bound.append(bind(queue))
            except ConfigurationError as exc:
                refused.append(str(exc))

        run_in_threads([partial(construct, queue) for queue in queues])

    assert (1, 1) == (len(bound), len(refused))


class Hanging(StubBroker):
    """A broker of a kind that we do not know, whose server is frozen."""

    thawed = Event()

    def enqueue(self, message: Message, *, delay: int | None = None) -> Message:
        self.thawed.wait(30)
        return super().enqueue(message, delay=delay)


def test_a_broker_of_another_kind_is_given_up_on_in_time() -> None:
    """Whatever the broker is, an enqueue keeps its bound."""
    broker = Hanging()
    host = bind(DramatiqQueue(broker))

    with pytest.raises(EnqueueError, match=r"did not take the job in time"):
        within(1.5, host.queue.enqueue, JobArgs("siem", "1"))  # type: ignore[union-attr]
    broker.thawed.set()
