"""Procrastinate: a task written by hand, and ours, on one app. Run by ``procrastinate worker``."""

from __future__ import annotations

import psycopg
from common import PREFIX, SERVER, audit_forward, hand_written
from procrastinate import App, PsycopgConnector, RetryStrategy, SyncPsycopgConnector

from sigra_forward_procrastinate import WORKER_DEFAULTS, ProcrastinateQueue

app = App(connector=PsycopgConnector(conninfo=SERVER), worker_defaults={**WORKER_DEFAULTS, "concurrency": 1})
host = audit_forward(ProcrastinateQueue(app, queue=PREFIX))
client = App(connector=SyncPsycopgConnector(conninfo=SERVER, min_size=1, max_size=4))


@app.task(name="by_hand", queue=PREFIX, retry=RetryStrategy(max_attempts=5, exponential_wait=3))
def by_hand(audit_event_id: str) -> None:
    hand_written(audit_event_id)


@app.task(name="same", queue=PREFIX)
def same(forwarder: str, audit_event_id: str, occurred_at: str) -> None:
    """Take what our job takes; it is enqueued, and never run."""


def enqueue_by_hand(audit_event_id: str) -> None:
    """Enqueue as people do, on an app that is open."""
    client.configure_task("by_hand", queue=PREFIX).defer(audit_event_id=audit_event_id)


def enqueue_same(job: dict[str, str]) -> None:
    """Enqueue a job of the same three texts by the library's own call."""
    client.configure_task("same", queue=PREFIX).defer(**job)


def prepare() -> None:
    """Make the tables, and open the app, where it is not a worker that imports this."""
    with psycopg.connect(SERVER, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone() == (None,):
            client.open()
            client.schema_manager.apply_schema()


def worker_command(python: str) -> list[str]:
    """Return how a worker is started, with one job at a time."""
    return [python, "-m", "procrastinate", "--app=procrastinate_app.app", "worker", "-q", PREFIX]


def clean() -> None:
    """Leave no threads behind."""
    client.close()


prepare()
