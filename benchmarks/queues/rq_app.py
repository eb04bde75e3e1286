"""RQ: a job function written by hand, and ours. Run by ``rq worker``."""

from __future__ import annotations

import os

from common import PREFIX, SERVER, audit_forward, hand_written
from redis import Redis
from rq import Queue, Retry
from rq.serializers import JSONSerializer

from sigra_forward_rq import WORKER_OPTIONS, RQQueue

os.environ["SIGRA_FORWARD_RQ"] = "rq_app:host"

connection = Redis.from_url(SERVER)
queue = Queue(PREFIX, connection=connection, serializer=JSONSerializer)
host = audit_forward(RQQueue(connection, queue=PREFIX))


def by_hand(audit_event_id: str) -> None:
    hand_written(audit_event_id)


def enqueue_by_hand(audit_event_id: str) -> None:
    """Enqueue as people do."""
    queue.enqueue("rq_app.by_hand", audit_event_id, retry=Retry(max=4, interval=[17, 37, 105, 280]), result_ttl=60)


def same(forwarder: str, audit_event_id: str, occurred_at: str) -> None:
    """Take what our job takes; it is enqueued, and never run."""


def enqueue_same(job: dict[str, str]) -> None:
    """Enqueue a job of the same three texts by the library's own call."""
    queue.enqueue("rq_app.same", kwargs=job, retry=Retry(max=4, interval=[17, 37, 105, 280]), result_ttl=60)


def worker_command(python: str) -> list[str]:
    """Return how a worker is started; the class that allows only our job is left out, for the sake of the other."""
    options = [option for option in WORKER_OPTIONS if option not in {"--job-class", "sigra_forward_rq.PerformOnlyJob"}]
    return [python, "-m", "rq.cli", "worker", "--url", SERVER, *options, PREFIX]


def clean() -> None:
    """Leave nothing behind."""
    connection.flushdb()
