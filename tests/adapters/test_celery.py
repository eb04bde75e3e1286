"""`CeleryQueue` on Redis and on RabbitMQ, with real workers."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Barrier, Event, Thread, current_thread
from typing import Any

import pytest

pytest.importorskip("celery")

from celery import Celery, Task
from celery.signals import before_task_publish

from sigra_forward import (
    AuditEvent,
    AuditForward,
    ConfigurationError,
    EnqueueError,
    JobArgs,
    RetryPolicy,
    Route,
    SchemaMismatchError,
    SinkError,
)
from sigra_forward._bounded import MAX_THREADS
from sigra_forward.queues.adapter import MAX_CONNECTIONS, TASK_NAME
from sigra_forward.telemetry import Discarded, Failed
from sigra_forward.testing import (
    InMemoryAuditRepository,
    QueueWorkerContract,
    RaisingForwarder,
    RecordingForwarder,
    RecordingTelemetry,
    SupervisedProcess,
    TCPProxy,
    make_event,
)
from sigra_forward.testing.contracts import Ended, Rig, within
from sigra_forward.testing.contracts._hostile import run_in_threads
from sigra_forward.testing.contracts._queue_worker import Crash, established
from sigra_forward.testing.workbench import POISON_ATTEMPTS, audit_forward
from sigra_forward_celery import CeleryQueue, worker_settings
from tests.adapters.support_slow import SlowProxy
from tests.adapters.workers.celery_worker import contrary, make_app

LAG = 0.38
"""Seconds for each answer of a server that is slow: every one of them is well within a socket's own timeout."""


class CeleryContract(QueueWorkerContract):
    """What is the same on both brokers."""

    visibility = "failed task: worker's log, `task_failure` signal, events"

    @classmethod
    def url(cls, host: str, port: int) -> str:
        """Return the broker's URL behind an address."""
        raise NotImplementedError

    @classmethod
    def environment(cls) -> dict[str, str]:
        return {"BENCH_BROKER": cls.broker, "PYTHONPATH": str(Path(__file__).parent / "workers")}

    @classmethod
    def job_queue(cls, host: str, port: int, prefix: str) -> CeleryQueue:
        return CeleryQueue(make_app(cls.url(host, port)), queue=prefix, lost_retry_in=1)

    @classmethod
    def worker(
        cls, queues: Sequence[str], *, unbound: bool = False, old: bool = False, kind: str = "bound"
    ) -> list[str]:
        kind = "unbound" if unbound else "old" if old else kind
        names = ",".join(queues)
        options = ["-Q", names, "-n", f"{names}@%h", "-c", "2", "-l", "INFO", "--without-mingle", "--without-gossip"]
        return ["env", f"BENCH_KIND={kind}", sys.executable, "-m", "celery", "-A", "celery_worker", "worker", *options]

    @classmethod
    def ended(cls, rig: Rig, audit_event_id: str, log: str) -> Ended | None:
        ends = re.findall(rf"^.*ENDED (\w+) {audit_event_id}(.*)$", log, re.MULTILINE)
        return Ended(*ends[-1]) if ends else None

    @classmethod
    def put(cls, rig: Rig, job: dict[str, Any]) -> None:
        make_app(cls.broker).send_task("sigra_forward.perform", kwargs=job, queue=rig.prefix, ignore_result=True)

    @classmethod
    def noticed(cls, rig: Rig, event: Any, log: str) -> bool:
        return event.id in log or "bound to no AuditForward" in log

    def test_13_a_poison_job_is_told(self, rig: Rig, crashes: dict[str, Crash]) -> None:
        """A job whose process was killed on its route's last attempt ends as discarded, for that reason."""
        crash = crashes["poison"]

        end = self.end_of(rig, crash.event, crash.worker, self.rescue * POISON_ATTEMPTS)

        assert "discarded: WorkerLostError" in end.reason
        assert ["Failed", "Discarded"] == [told.kind for told in rig.bench.told(crash.event.id)]

    @pytest.fixture
    def slow(self, server: tuple[str, int]) -> Iterator[SlowProxy]:
        """Put a proxy before the server, which can be slow."""
        with SlowProxy(*server) as proxy:
            yield proxy

    def producer(self, rig: Rig, port: int, host: str = "127.0.0.1") -> CeleryQueue:
        """Return a queue of its own name, bound, whose broker is behind a proxy; nobody runs its jobs."""
        queue = CeleryQueue(Celery("nobody", broker=self.url(host, port)), queue=f"{rig.prefix}_nobody")
        bind(queue)
        return queue

    def test_16_a_slow_server_is_given_up_on_in_time(self, rig: Rig, slow: SlowProxy) -> None:
        """However many answers an enqueue takes, each of them late: one connection cut, and one opened anew."""
        queue = self.producer(rig, slow.port)
        queue.enqueue(JobArgs("siem", "1"))
        slow.lag = LAG
        slow.cut()

        with suppress(EnqueueError):
            within(1.5, queue.enqueue, JobArgs("siem", "1"))

        slow.lag = 0
        queue.close()

    def test_16_a_server_that_answers_byte_by_byte(self, rig: Rig, slow: SlowProxy) -> None:
        """A trickle keeps every single read going, and the enqueue is given up on all the same."""
        queue = self.producer(rig, slow.port)
        slow.lag, slow.piece = 0.05, 1

        for _ in range(2):
            with suppress(EnqueueError):
                within(1.5, queue.enqueue, JobArgs("siem", "1"))

        slow.lag = 0
        queue.close()

    def test_17_a_slow_server_is_used_in_the_end(self, rig: Rig, slow: SlowProxy) -> None:
        """A connection that took too long to open is kept, and the enqueues that follow have it."""
        queue = self.producer(rig, slow.port)
        slow.lag = LAG / 2

        def is_enqueued() -> bool:
            with suppress(EnqueueError):
                within(1.5, queue.enqueue, JobArgs("siem", "1"))
                return True
            return False

        self.wait_for(is_enqueued, self.patience)
        slow.lag = 0
        queue.close()

    def test_17_a_connection_that_comes_after_close_is_closed(self, rig: Rig, slow: SlowProxy) -> None:
        """What an enqueue that was given up on has opened is not left behind."""
        queue = self.producer(rig, slow.port)
        slow.lag = LAG
        with pytest.raises(EnqueueError):
            queue.enqueue(JobArgs("siem", "1"))

        assert 1 <= established(slow.port)
        queue.close()
        self.wait_for(lambda: not established(slow.port), self.patience)

    @pytest.mark.parametrize("harm", ["refuse", "freeze", "cut"])
    def test_17_an_outage_leaves_other_sockets_alone(
        self, rig: Rig, proxy: TCPProxy, harm: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody sets the timeout that all new sockets of the process have, not even for a moment."""
        queue = self.producer(rig, proxy.port)
        threads = MAX_CONNECTIONS - 1
        ready = Barrier(threads + 1, timeout=self.patience)
        was_set: list[float | None] = []
        monkeypatch.setattr(socket, "setdefaulttimeout", was_set.append)

        def enqueue() -> None:
            for _ in range(3):
                with suppress(EnqueueError):
                    queue.enqueue(JobArgs("siem", "1"))
                ready.wait()

        enqueuing = [Thread(target=enqueue) for _ in range(threads)]
        for thread in enqueuing:
            thread.start()
        ready.wait()
        getattr(proxy, harm)()
        for _ in range(2):
            ready.wait()
        for thread in enqueuing:
            thread.join()
        queue.close()

        assert [] == was_set

    def test_25_jobs_from_more_threads_than_a_caller_has(self, rig: Rig) -> None:
        """No thread waits for what another of our own would have to do: every one of very many enqueues works."""
        queue = self.producer(rig, rig.address[1], rig.address[0])
        threads = MAX_THREADS + 8
        ready = Barrier(threads, timeout=self.patience)
        failed: list[EnqueueError] = []

        def enqueue() -> None:
            ready.wait()
            try:
                queue.enqueue(JobArgs("siem", "1"))
            except EnqueueError as exc:
                failed.append(exc)

        run_in_threads([enqueue] * threads)
        queue.close()

        assert [] == failed

    def test_18_a_result_backend_that_is_down_does_not_matter(self, rig: Rig) -> None:
        """Though the app stores results, errors and starts, and its backend refuses: the enqueue works, and the job."""
        app = contrary(make_app(self.broker))
        with audit_forward(CeleryQueue(app, queue=rig.prefix), rig.prefix, folder=str(rig.bench.folder)) as host:
            events = {name: rig.bench.commit() for name in ("flaky.spare", "refusing.spare")}
            for name, event in events.items():
                within(1.5, host.queue.enqueue, JobArgs(name, event.id))
        with self.started(rig, "spare", kind="contrary") as worker:
            ends = [self.end_of(rig, event, worker).state for event in events.values()]

        assert ["succeeded", "failed"] == ends
        assert [[1, 2], [1]] == [self.attempts(rig, event) for event in events.values()]

    @pytest.mark.parametrize(
        ("forwarder", "told"),
        [("flaky", "the retry could not be published"), ("dying-once", "Failed to retry task sigra_forward.perform")],
    )
    def test_27_a_retry_that_cannot_be_published_is_not_lost(self, rig: Rig, forwarder: str, told: str) -> None:
        """Where the broker takes no retry, be it of a process that was killed, the job goes back, and runs again."""
        (rig.bench.folder / "refused").unlink(missing_ok=True)
        with self.started(rig, "spare", kind="unpublished") as worker:
            event = self.enqueue(rig, f"{forwarder}.spare")

            assert "succeeded" == self.end_of(rig, event, worker, self.rescue).state
            assert [1, 1] == self.attempts(rig, event)
            assert told in worker.log()

    def test_30_a_stuck_job_ends(self, rig: Rig) -> None:
        """One that no soft limit moves has its hard end, though it brought no limits and the app's settings requeue."""
        with self.started(rig, "spare", kind="contrary") as worker:
            event = rig.bench.commit()
            job = {"forwarder": "stuck.spare", "audit_event_id": event.id, "occurred_at": None}
            make_app(self.broker).send_task(TASK_NAME, kwargs=job, queue=f"{rig.prefix}_spare", ignore_result=True)
            end = self.end_of(rig, event, worker, self.rescue)
            after = self.end_of(rig, self.enqueue(rig, "accepting.spare"), worker)

        assert ("failed", "succeeded", [1]) == (end.state, after.state, self.attempts(rig, event))
        assert "TimeLimitExceeded" in end.reason

    @pytest.mark.parametrize("body", ["pickle", "positional", "os.system"])
    def test_28_a_message_written_by_hand_runs_nothing(self, rig: Rig, shared: SupervisedProcess, body: str) -> None:
        """A pickle is refused, a task named os.system is not there, positional arguments are no job: all of it shows."""
        target = rig.bench.folder / "touched"
        app = make_app(self.broker)
        if body == "pickle":
            job = {"forwarder": _Touching(str(target))}
            app.send_task(TASK_NAME, kwargs=job, queue=rig.prefix, serializer="pickle", ignore_result=True)
            told = "ContentDisallowed"
        elif body == "positional":
            app.send_task(TASK_NAME, ("accepting", "os.system"), queue=rig.prefix, ignore_result=True)
            told = "invalid_job_args"
        else:
            app.send_task("os.system", (f"touch {target}",), queue=rig.prefix, ignore_result=True)
            told = "unregistered task of type 'os.system'"

        self.wait_for(lambda: told in shared.log(), self.patience)
        assert "succeeded" == self.end_of(rig, self.enqueue(rig, "accepting"), shared).state
        assert not target.exists()

    def test_29_a_job_is_three_texts(self, rig: Rig) -> None:
        """Whatever the app's own serializer is, a job is JSON, and holds the three keys and nothing else."""
        app = make_app(self.broker)
        app.conf.task_serializer = "pickle"
        queue = CeleryQueue(app, queue=f"{rig.prefix}_wire")
        with audit_forward(queue, f"{rig.prefix}_wire", folder=str(rig.bench.folder)):
            event = make_event()
            queue.enqueue(JobArgs("accepting", event.id, event.occurred_at))
        with app.connection() as connection:
            message = connection.default_channel.basic_get(f"{rig.prefix}_wire", no_ack=True)

        job = {"forwarder": "accepting", "audit_event_id": event.id, "occurred_at": "2026-01-31T09:30:00+00:00"}
        assert ("application/json", job) == (message.content_type, json.loads(message.body)[1])

    def test_31_the_hosts_own_receivers_are_called_as_by_celery(self, rig: Rig) -> None:
        """Celery's signals of a publication come on the caller's thread, and its event of one goes out where asked."""
        app = Celery("told", broker=self.broker)
        app.conf.update(task_send_sent_event=True, event_exchange=f"{rig.prefix}_events")
        queue = CeleryQueue(app, queue=f"{rig.prefix}_nobody")
        bind(queue)
        threads: list[Thread] = []

        def hear(**_: object) -> None:
            threads.append(current_thread())

        sent: list[dict[str, Any]] = []
        before_task_publish.connect(hear)
        try:
            with app.connection() as connection:
                receiver = app.events.Receiver(connection, handlers={"task-sent": sent.append})
                with receiver.consumer_context() as (consuming, _, _):
                    while not sent:  # on Redis it subscribes with the first look
                        queue.enqueue(JobArgs("siem", "1"))
                        with suppress(TimeoutError):
                            consuming.drain_events(timeout=1)
        finally:
            before_task_publish.disconnect(hear)
        queue.close()

        assert {current_thread()} == set(threads)
        assert TASK_NAME == sent[0]["name"]

    @pytest.mark.parametrize("harm", ["refuse", "freeze"])
    def test_32_the_next_broker_is_tried(self, rig: Rig, shared: SupervisedProcess, proxy: TCPProxy, harm: str) -> None:
        """Of several brokers in the app's URL, one that refuses or does not answer is passed over, in time."""
        getattr(proxy, harm)()
        app = make_app(f"{self.url('127.0.0.1', proxy.port)};{self.broker}")
        with audit_forward(CeleryQueue(app, queue=rig.prefix), rig.prefix, folder=str(rig.bench.folder)) as host:
            event = rig.bench.commit()
            within(1.5, host.queue.enqueue, JobArgs("accepting", event.id))

        assert "succeeded" == self.end_of(rig, event, shared).state


class _Touching:
    """Unpickled, it would make a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self._path}",))


class TestCeleryOnRedis(CeleryContract):
    """Celery on Redis."""

    library = "Celery, Redis"
    recovery = "`visibility_timeout` + 5 s"

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, redis_server: tuple[str, int], redis_db: int) -> tuple[str, int]:
        cls.db = redis_db
        cls.broker = cls.url(*redis_server)
        return redis_server

    @classmethod
    def url(cls, host: str, port: int) -> str:
        return f"redis://{host}:{port}/{cls.db}"


class TestCeleryOnRabbitMQ(CeleryContract):
    """Celery on RabbitMQ."""

    library = "Celery, RabbitMQ"
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


# What needs no broker.


def app(**conf: Any) -> Celery:
    """Return an app that nobody connects to."""
    app = Celery("shop", broker="redis://127.0.0.1:1/0")
    app.conf.update(conf)
    return app


def bind(queue: CeleryQueue, **routes: Any) -> AuditForward:
    """Bind *queue* to an AuditForward with *routes*, or with one forwarder."""
    return AuditForward(InMemoryAuditRepository(), routes or {"siem": RecordingForwarder()}, queue=queue)


def test_it_takes_a_celery_app() -> None:
    """What is no Celery app is refused, by name."""
    with pytest.raises(ConfigurationError, match=r"^CeleryQueue\(app\) takes your Celery app; got a str$"):
        CeleryQueue("redis://localhost")  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [-1, float("nan"), True, "30"])
def test_a_delay_is_a_number(seconds: Any) -> None:
    """A delay after a lost worker that is no number of seconds is refused."""
    with pytest.raises(ConfigurationError, match=r"^CeleryQueue\(lost_retry_in=\.\.\.\) must be a finite number"):
        CeleryQueue(app(), lost_retry_in=seconds)


def test_one_app_is_bound_once() -> None:
    """A second CeleryQueue on one app cannot take over the jobs of the first."""
    shop = app()
    bind(CeleryQueue(shop))

    with pytest.raises(ConfigurationError, match=r"^a CeleryQueue of this Celery app is bound"):
        bind(CeleryQueue(shop))


def test_two_apps_have_a_task_each() -> None:
    """Celery shares tasks between the apps of a process; ours is its own app's alone."""
    one, two = app(), app()
    bind(CeleryQueue(one))

    assert (True, False) == (TASK_NAME in one.tasks, TASK_NAME in two.tasks)
    bind(CeleryQueue(two))


def test_our_name_is_ours() -> None:
    """A task of the host's own under our name is not replaced."""
    shop = app()

    @shop.task(name=TASK_NAME, shared=False)
    def perform() -> None:
        """Do something else."""

    with pytest.raises(ConfigurationError, match=r"has a task 'sigra_forward.perform' of its own"):
        CeleryQueue(shop)


def test_a_worker_that_refuses_json_is_told() -> None:
    """Jobs are JSON, so an app whose workers accept none would lose them all."""
    with pytest.raises(ConfigurationError, match=r"add 'json' to accept_content$"):
        bind(CeleryQueue(app(accept_content=["pickle"])))


@pytest.mark.parametrize(
    ("broker", "options", "policy", "setting"),
    [
        pytest.param(
            "redis://h", {"visibility_timeout": 900}, RetryPolicy(), "visibility_timeout", id="retry-after is longer"
        ),
        pytest.param(
            "redis://h", {}, RetryPolicy(backoff=lambda _: 3600), "visibility_timeout", id="backoff is longer"
        ),
        pytest.param("amqp://h", {}, RetryPolicy(backoff=lambda _: 1800), "consumer_timeout", id="RabbitMQ"),
    ],
)
def test_a_job_is_not_started_twice_at_once(
    broker: str, options: dict[str, Any], policy: RetryPolicy, setting: str
) -> None:
    """A retry that waits longer than the broker does is refused at construction, and the queue stays free."""
    shop = app(broker_url=broker, broker_transport_options=options)
    queue = CeleryQueue(shop)

    with pytest.raises(ConfigurationError, match=rf"{setting}.* it would be started twice at once"):
        bind(queue, siem=Route(RecordingForwarder(), policy=policy))
    bind(queue, siem=Route(RecordingForwarder(), policy=RetryPolicy(1)))


@pytest.mark.parametrize("broker", ["redis://h", "amqp://h", "memory://"])
def test_the_defaults_fit(broker: str) -> None:
    """With Celery's, the broker's and our own defaults nothing has to be set."""
    bind(CeleryQueue(app(broker_url=broker)))


def test_unbound_it_takes_no_job() -> None:
    """Nobody would run it."""
    with pytest.raises(EnqueueError, match="bound to no AuditForward"):
        CeleryQueue(app()).enqueue(JobArgs("siem", "1"))


def test_a_forwarder_that_is_not_registered_gets_no_job() -> None:
    """A name that the worker would not know is refused before it is sent."""
    queue = CeleryQueue(app())
    bind(queue)

    with pytest.raises(EnqueueError, match=r"^nobody would run the job"):
        queue.enqueue(JobArgs("os.system", "1"))


@pytest.mark.parametrize(
    ("broker", "options", "expected"),
    [
        (
            "redis://h",
            {},
            {"unacked_restore_interval": 5, "unacked_restore_throttle": 1, "unacked_mutex_expire": 30},
        ),
        (
            "redis://h",
            {"unacked_restore_interval": 9, "visibility_timeout": 7200},
            {
                "unacked_restore_interval": 9,
                "unacked_restore_throttle": 1,
                "unacked_mutex_expire": 30,
                "visibility_timeout": 7200,
            },
        ),
        ("amqp://h", {}, {"confirm_publish": True}),
        ("memory://", {"polling_interval": 1}, {"polling_interval": 1}),
    ],
)
def test_the_workers_settings_keep_the_hosts(broker: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    """What the host has set for its broker stays, and what we need is added."""
    settings = worker_settings(app(broker_url=broker, broker_transport_options=options))

    assert {"worker_prefetch_multiplier": 1, "broker_transport_options": expected} == settings


CONTRARY = {
    "task_acks_late": False,
    "task_acks_on_failure": False,
    "task_acks_on_timeout": False,
    "task_ignore_result": False,
    "task_reject_on_worker_lost": False,
    "task_retry_on_worker_lost": False,
    "task_serializer": "pickle",
    "task_soft_time_limit": 3600,
    "task_store_eager_result": True,
    "task_store_errors_even_if_ignored": True,
    "task_time_limit": 7200,
    "task_track_started": True,
}


@pytest.mark.parametrize(
    "conf",
    [
        pytest.param(CONTRARY, id="settings"),
        pytest.param({"task_annotations": {"*": {key[5:]: CONTRARY[key] for key in CONTRARY}}}, id="annotations"),
    ],
)
def test_the_task_is_set_for_at_least_once(conf: dict[str, Any]) -> None:
    """Acknowledged late and always, run again after a lost worker, within limits, no result: whatever the app sets."""
    shop = app(**conf)
    slow, fast = RecordingForwarder(), RecordingForwarder()
    slow.deadline, fast.deadline = 20.0, 5.0
    bind(
        CeleryQueue(shop, lost_retry_in=7),
        slow=Route(slow, policy=RetryPolicy(2)),
        fast=Route(fast, policy=RetryPolicy(6)),
    )
    task = shop.tasks[TASK_NAME]

    kept = "acks_late acks_on_failure acks_on_timeout ignore_result reject_on_worker_lost retry_on_worker_lost"
    assert [True] * 6 == [getattr(task, name) for name in kept.split()]
    left = "store_eager_result store_errors_even_if_ignored track_started"
    assert [False] * 3 == [getattr(task, name) for name in left.split()]
    assert ("json", 6, 7) == (task.serializer, task.max_retries, task.default_retry_delay)
    assert (40, 70) == (task.soft_time_limit, task.time_limit)


def test_the_apps_own_task_class_does_not_retry_for_us() -> None:
    """A class of tasks that retries by itself would try a job again that was cancelled."""

    class Persistent(Task):
        autoretry_for = (Exception,)

    shop = Celery("shop", broker="memory://", task_cls=Persistent)
    shop.conf.task_always_eager = True
    telemetry = RecordingTelemetry()
    forwarders = {"siem": Route(RaisingForwarder(SchemaMismatchError("no such field")))}
    host = AuditForward(InMemoryAuditRepository(), forwarders, queue=CeleryQueue(shop), telemetry=telemetry)
    host.queue.enqueue(JobArgs("siem", host.repository.add(make_event()).id))

    assert 1 == len(telemetry.of(Failed))


def test_two_threads_bind_one_app_once() -> None:
    """Of two that bind queues of one app at the same moment, one is refused."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        bound = Counter(_bound_at_once() for _ in range(100))
    finally:
        sys.setswitchinterval(interval)

    assert {1: 100} == bound


def _bound_at_once() -> int:
    shop = app()
    queues = [CeleryQueue(shop), CeleryQueue(shop)]
    ready = Barrier(2)
    bound: list[CeleryQueue] = []

    def bind_one(queue: CeleryQueue) -> None:
        ready.wait()
        with suppress(ConfigurationError):
            bind(queue)
            bound.append(queue)

    run_in_threads([partial(bind_one, queue) for queue in queues])
    return len(bound)


class _Slow(RecordingForwarder):
    """Takes longer than an enqueue may."""

    def forward(self, event: AuditEvent) -> Any:
        self.thread = current_thread()
        Event().wait(1.6)
        return super().forward(event)


def test_an_eager_app_runs_the_job_in_the_enqueue() -> None:
    """As Celery's own tasks do with task_always_eager: on the caller's thread, unbounded, and once."""
    forwarder = _Slow()
    host = AuditForward(InMemoryAuditRepository(), {"siem": forwarder}, queue=CeleryQueue(app(task_always_eager=True)))

    fates = host.dispatch(host.repository.add(make_event()))

    assert ("enqueued", 1) == (fates["siem"].fate, len(forwarder.events))
    assert current_thread() is forwarder.thread


@pytest.mark.parametrize("propagates", [True, False])
def test_an_eager_app_makes_all_attempts(propagates: bool) -> None:
    """A job that fails has not failed to be enqueued: it is tried max_attempts times, and not once more inline."""
    shop = app(task_always_eager=True, task_eager_propagates=propagates)
    telemetry = RecordingTelemetry()
    route = Route(RaisingForwarder(SinkError("http_500")), policy=RetryPolicy(3))
    host = AuditForward(InMemoryAuditRepository(), {"siem": route}, queue=CeleryQueue(shop), telemetry=telemetry)

    fates = host.dispatch(host.repository.add(make_event()))

    assert "enqueued" == fates["siem"].fate
    assert (3, 1) == (len(telemetry.of(Failed)), len(telemetry.of(Discarded)))
