"""`CeleryQueue` on Redis and on RabbitMQ, with real workers."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("celery")

from celery import Celery

from sigra_forward import AuditForward, ConfigurationError, EnqueueError, JobArgs, RetryPolicy, Route
from sigra_forward.queues.adapter import TASK_NAME
from sigra_forward.testing import (
    InMemoryAuditRepository,
    QueueWorkerContract,
    RecordingForwarder,
    SupervisedProcess,
    make_event,
)
from sigra_forward.testing.contracts import Ended, Rig, within
from sigra_forward.testing.workbench import audit_forward
from sigra_forward_celery import CeleryQueue, worker_settings
from tests.adapters.workers.celery_worker import make_app


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

    def test_27_a_retry_that_cannot_be_published_is_not_lost(self, rig: Rig) -> None:
        """Where the broker takes no retry, the job goes back to it, and is run again."""
        with self.started(rig, "spare", kind="unpublished") as worker:
            event = self.enqueue(rig, "flaky.spare")

            assert "succeeded" == self.end_of(rig, event, worker).state
            assert [1, 1] == self.attempts(rig, event)
            assert "the retry could not be published" in worker.log()

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

    def test_32_the_next_broker_is_tried(self, rig: Rig, shared: SupervisedProcess) -> None:
        """Of several brokers in the app's URL, one that refuses is passed over, in time."""
        app = make_app(f"{self.url('127.0.0.1', 1)};{self.broker}")
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
        ("redis://h", {}, {"unacked_restore_interval": 5, "unacked_restore_throttle": 1}),
        (
            "redis://h",
            {"unacked_restore_interval": 9, "visibility_timeout": 7200},
            {"unacked_restore_interval": 9, "unacked_restore_throttle": 1, "visibility_timeout": 7200},
        ),
        ("amqp://h", {}, {"confirm_publish": True}),
        ("memory://", {"polling_interval": 1}, {"polling_interval": 1}),
    ],
)
def test_the_workers_settings_keep_the_hosts(broker: str, options: dict[str, Any], expected: dict[str, Any]) -> None:
    """What the host has set for its broker stays, and what we need is added."""
    settings = worker_settings(app(broker_url=broker, broker_transport_options=options))

    assert {"worker_prefetch_multiplier": 1, "broker_transport_options": expected} == settings


def test_the_task_is_set_for_at_least_once() -> None:
    """Late acknowledgement, a bounded retry after a lost worker, no result: whatever the app's defaults are."""
    shop = app(task_acks_late=False, task_ignore_result=False)
    bind(CeleryQueue(shop, lost_retry_in=7), siem=Route(RecordingForwarder(), policy=RetryPolicy(6)))
    task = shop.tasks[TASK_NAME]

    assert (True, True, True) == (task.acks_late, task.retry_on_worker_lost, task.ignore_result)
    assert (5, 7) == (task.max_retries, task.default_retry_delay)
