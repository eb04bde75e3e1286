"""Celery: a task written by hand, and ours, on one app. Run by ``celery -A celery_app worker``."""

from __future__ import annotations

from celery import Celery
from common import PREFIX, SERVER, audit_forward, hand_written

from sigra_forward_celery import CeleryQueue, worker_settings

app = Celery("bench", broker=SERVER)
app.conf.update(worker_settings(app))


@app.task(bind=True, name="by_hand", acks_late=True, ignore_result=True, max_retries=4)
def by_hand(self, audit_event_id: str) -> None:
    try:
        hand_written(audit_event_id)
    except Exception as exc:
        raise self.retry(exc=exc, countdown=self.request.retries**4 + 15) from exc


@app.task(name="same", acks_late=True, ignore_result=True)
def same(forwarder: str, audit_event_id: str, occurred_at: str) -> None:
    """Take what our job takes; it is enqueued, and never run."""


host = audit_forward(CeleryQueue(app, queue=PREFIX))


def enqueue_by_hand(audit_event_id: str) -> None:
    """Enqueue as people do."""
    by_hand.apply_async((audit_event_id,), queue=PREFIX)


def enqueue_same(job: dict[str, str]) -> None:
    """Enqueue a job of the same three texts by the library's own call."""
    same.apply_async(kwargs=job, queue=PREFIX)


def worker_command(python: str) -> list[str]:
    """Return how a worker is started, with one process."""
    return [python, "-m", "celery", "-A", "celery_app", "worker", "-Q", PREFIX, "-c", "1", "-l", "WARNING"]


def clean() -> None:
    """Leave no queue behind; the Redis database is the benchmark's own."""
    with app.connection() as connection:
        channel = connection.default_channel
        if SERVER.startswith("redis"):
            channel.client.flushdb()
        else:
            channel.queue_delete(PREFIX)
