"""`CeleryQueue` on Redis and on RabbitMQ, with real workers."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("celery")

from sigra_forward.testing import QueueWorkerContract
from sigra_forward.testing.contracts import Ended, Rig
from sigra_forward_celery import CeleryQueue
from tests.adapters.workers.celery_worker import make_app


class CeleryContract(QueueWorkerContract):
    """What is the same on both brokers."""

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
    def worker(cls, queues: Sequence[str], *, unbound: bool = False, old: bool = False) -> list[str]:
        kind = "unbound" if unbound else "old" if old else "bound"
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


class TestCeleryOnRedis(CeleryContract):
    """Celery on Redis."""

    library = "Celery, Redis"

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

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, rabbitmq_server: tuple[str, int], rabbitmq_vhost: str) -> tuple[str, int]:
        cls.vhost = rabbitmq_vhost
        cls.broker = cls.url(*rabbitmq_server)
        return rabbitmq_server

    @classmethod
    def url(cls, host: str, port: int) -> str:
        return f"amqp://guest:guest@{host}:{port}/{cls.vhost.replace('/', '%2F')}"
