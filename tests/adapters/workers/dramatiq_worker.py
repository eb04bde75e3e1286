"""What a Dramatiq worker of the contract imports: the adapter bound, unbound, or not there at all."""

from __future__ import annotations

import logging
import os
from typing import Any

from dramatiq import Broker, Middleware
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from sigra_forward.testing import workbench
from sigra_forward_dramatiq import REDIS_BROKER_OPTIONS, DramatiqQueue

RESCUE_AFTER = 5_000
"""Milliseconds: a job may take 2 seconds."""


def make_broker(url: str) -> Broker:
    """Return a broker that finds the jobs of a worker that was killed soon."""
    if url.startswith("amqp:"):
        return RabbitmqBroker(url=url)
    soon = {"heartbeat_timeout": RESCUE_AFTER, "maintenance_chance": 1_000_000}
    return RedisBroker(url=url, **{**REDIS_BROKER_OPTIONS, **soon})


class Telling(Middleware):
    """Logs how each job has ended; a print would get between the bytes of Dramatiq's log lines."""

    def after_process_message(self, broker: Broker, message: Any, *, result: Any = None, exception: Any = None) -> None:
        if exception is None or message.failed:
            state = "failed" if message.failed else "succeeded"
            event = str(message.kwargs.get("audit_event_id"))[:100]
            logging.getLogger("bench").info("ENDED %s %s %s", state, event, message.queue_name)


if "BENCH_PREFIX" in os.environ:
    broker = make_broker(os.environ["BENCH_BROKER"])
    broker.middleware.insert(0, Telling())  # the last to hear
    lane, kind = os.environ["BENCH_QUEUE"], os.environ["BENCH_KIND"]
    if kind == "old":
        broker.declare_queue(lane)
    if kind == "unbound":
        DramatiqQueue(broker, queue=lane)
    if kind == "bound":
        queue = DramatiqQueue(broker, queue=os.environ["BENCH_PREFIX"], interrupted_retry_in=1)
        audit_forward = workbench.audit_forward(queue, os.environ["BENCH_PREFIX"])
