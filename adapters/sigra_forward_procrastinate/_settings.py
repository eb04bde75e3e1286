"""`WORKER_DEFAULTS`, which workers of our queues should have, and the figures of Procrastinate's own."""

from __future__ import annotations

from procrastinate.app import WorkerOptions

WORKER_DEFAULTS: WorkerOptions = {"concurrency": 10, "fetch_job_polling_interval": 1.0}
"""
For ``App(connector=…, worker_defaults=WORKER_DEFAULTS)``: ten jobs at once, and at most a second late.

PostgreSQL tells Procrastinate's workers of a new job, and of none that is to be tried again or that was rescued: such a
job waits for the next poll, 5 seconds by default. One job at a time, as is the default, a sink that hangs holds up all.
"""

LOST_RETRY_IN = 30
"""Seconds after which a job is tried again whose run was broken off, or that a worker has nobody to run for."""

RESCUE_AFTER = 30
"""Seconds without a heartbeat. Source: procrastinate.worker.Worker, stalled_worker_timeout, Procrastinate 3.10."""

RESCUE_CRON = "* * * * *"
"""Every minute, as cron has it. A sixth field, of seconds, comes last."""

HEARTBEAT_INTERVAL = 10.0
"""Seconds. Source: procrastinate.worker.Worker, update_heartbeat_interval, Procrastinate 3.10."""

MAX_QUEUE_NAME = 40
"""Characters: PostgreSQL takes 63 as the name of a channel, and Procrastinate's is the queue's after 23 of its own."""
