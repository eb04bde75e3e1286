"""`DramatiqQueue` on Redis and on RabbitMQ, with real workers."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
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
from dramatiq.middleware import Retries
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
        with AuditForward(InMemoryAuditRepository([event]), routes, queue=queue), working(broker):
            queue.enqueue(JobArgs("siem", event.id))
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

    def test_33_a_dead_letter_says_why(self, rig: Rig, shared: SupervisedProcess) -> None:
        """The traceback of a dead letter, which dashboards show, ends with the reason."""
        event = self.enqueue(rig, "refusing")
        self.end_of(rig, event, shared)
        letter = next(json.loads(x) for x in self.dead_letters(rig.prefix) if event.id.encode() in x)

        assert letter["options"]["traceback"].endswith("JobEndedError: cancelled: schema_mismatch: no such field\n")

    def test_34_nothing_is_left_behind(self, rig: Rig, shared: SupervisedProcess) -> None:
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


@contextmanager
def working(broker: Any) -> Iterator[None]:
    """Run a worker of *broker* in this process."""
    worker = dramatiq.Worker(broker, worker_threads=1)
    worker.start()
    yield
    worker.stop()
    broker.close()


class _Quick(FlakyForwarder):
    deadline = 1.0


class _Holding(dramatiq.Middleware):
    """Tells when a worker holds a job back until it is due."""

    def __init__(self) -> None:
        self.holds = Event()

    def before_delay_message(self, broker: Any, message: Any) -> None:
        self.holds.set()


class _Cutting(RecordingForwarder):
    """Fails once, when it takes the server down too."""

    deadline = 1.0

    def __init__(self, proxy: TCPProxy) -> None:
        super().__init__()
        self._proxy = proxy
        self._is_first = True

    def forward(self, event: Any) -> Any:
        if self._is_first:
            self._is_first = False
            self._proxy.refuse()
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
