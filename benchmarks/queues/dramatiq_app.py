"""Dramatiq: an actor written by hand, and ours, on one broker. Run by ``dramatiq dramatiq_app``."""

from __future__ import annotations

import dramatiq
from common import PREFIX, SERVER, audit_forward, hand_written
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from sigra_forward_dramatiq import REDIS_BROKER_OPTIONS, DramatiqQueue

ON_REDIS = SERVER.startswith("redis")
if ON_REDIS:
    broker = RedisBroker(url=SERVER, **REDIS_BROKER_OPTIONS)
else:
    broker = RabbitmqBroker(url=SERVER, confirm_delivery=True)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=PREFIX, max_retries=4)
def by_hand(audit_event_id: str) -> None:
    hand_written(audit_event_id)


@dramatiq.actor(queue_name=PREFIX)
def same(forwarder: str, audit_event_id: str, occurred_at: str) -> None:
    """Take what our job takes; it is enqueued, and never run."""


host = audit_forward(DramatiqQueue(broker, queue=PREFIX))


def enqueue_by_hand(audit_event_id: str) -> None:
    """Enqueue as people do."""
    by_hand.send(audit_event_id)


def enqueue_same(job: dict[str, str]) -> None:
    """Enqueue a job of the same three texts by the library's own call."""
    same.send(**job)


def worker_command(python: str) -> list[str]:
    """Return how a worker is started, with one thread."""
    return [python, "-m", "dramatiq", "dramatiq_app", "--processes", "1", "--threads", "1", "--queues", PREFIX]


def clean() -> None:
    """Leave nothing behind."""
    if ON_REDIS:
        broker.client.flushdb()
        return
    for name in (PREFIX, f"{PREFIX}.DQ", f"{PREFIX}.XQ"):
        broker.channel.queue_delete(name)
