"""`WORKER_OPTIONS`: how RQ's workers are started so that no job is lost with one; and whether they are there."""

from __future__ import annotations

from collections.abc import Sequence

import redis
from rq import Queue, Worker
from rq.scheduler import RQScheduler

WORKER_OPTIONS = (
    "--with-scheduler",
    "--serializer",
    "rq.serializers.JSONSerializer",
    "--job-class",
    "sigra_forward_rq.PerformOnlyJob",
    "--worker-ttl",
    "30",
    "--maintenance-interval",
    "15",
)
"""
What to start each worker with: ``rq worker`` and these, and the names of the queues.

Retries wait for a scheduler. Jobs are JSON, and run nothing but ours. A job whose own process was killed runs again
within a second. One whose whole worker was killed is given up on by RQ after up to 90 seconds (60, and the
``--job-monitoring-interval`` of 30 or the job's time limit, whichever is less), and runs again when a worker next
looks: every 15 seconds with these options, every 10 minutes without.
"""


def problems(client: redis.Redis, queues: Sequence[str]) -> list[str]:
    """Return in plain words what keeps jobs on *queues*, or their retries, from being run."""
    return [problem for name in queues for problem in _problems_of(client, name)]


def _problems_of(client: redis.Redis, name: str) -> list[str]:
    workers = Worker.all_keys(queue=Queue(name, connection=client))
    if not workers or not client.exists(*workers):
        return [f"no worker listens on queue {name!r}, so its jobs wait: start one, rq worker {name}"]
    if not client.exists(RQScheduler.get_locking_key(name)):
        return [f"no scheduler runs for queue {name!r}, so retries wait for ever: start a worker --with-scheduler"]
    return []
