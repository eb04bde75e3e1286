"""`ProcrastinateQueue` on PostgreSQL, with real workers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("procrastinate")

import psycopg
from procrastinate import App, SyncPsycopgConnector
from psycopg.types.json import Jsonb

from sigra_forward.queues.adapter import TASK_NAME
from sigra_forward.testing import QueueWorkerContract
from sigra_forward.testing.contracts import Ended, Rig
from sigra_forward_procrastinate import ProcrastinateQueue
from tests.adapters.workers.procrastinate_worker import make_app, make_queue

ENDS = {"succeeded": "succeeded", "failed": "failed", "aborted": "failed"}


def apply_schema(conninfo: str) -> None:
    """Make Procrastinate's tables."""
    with App(connector=SyncPsycopgConnector(conninfo=conninfo)).open() as app:
        app.schema_manager.apply_schema()


class TestProcrastinate(QueueWorkerContract):
    """Procrastinate, its workers started by its own command."""

    library = "Procrastinate, PostgreSQL"
    visibility = "status `failed`; the reason in the worker's log"
    recovery = "30 to 92, and the backoff"
    is_transactional = True

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, postgres_server: tuple[str, int], postgres_database: str) -> Iterator[tuple[str, int]]:
        cls.database = postgres_database
        apply_schema(cls.conninfo(*postgres_server))
        with psycopg.connect(cls.conninfo(*postgres_server), autocommit=True) as cls.db:
            yield postgres_server

    @classmethod
    def conninfo(cls, host: str, port: int) -> str:
        return f"postgresql://postgres@{host}:{port}/{cls.database}"

    @classmethod
    def environment(cls) -> dict[str, str]:
        conninfo = psycopg.conninfo.make_conninfo(**cls.db.info.get_parameters())
        return {"BENCH_CONNINFO": conninfo, "PYTHONPATH": str(Path(__file__).parent / "workers")}

    @classmethod
    def job_queue(cls, host: str, port: int, prefix: str) -> ProcrastinateQueue:
        return make_queue(make_app(cls.conninfo(host, port)), prefix)

    @classmethod
    def worker(cls, queues: Sequence[str], *, unbound: bool = False, old: bool = False) -> list[str]:
        kind = "unbound" if unbound else "old" if old else "bound"
        command = [sys.executable, "-m", "procrastinate", "--app=procrastinate_worker.app", "worker"]
        return ["env", f"BENCH_KIND={kind}", *command, "-q", ",".join(queues)]

    @classmethod
    def ended(cls, rig: Rig, audit_event_id: str, log: str) -> Ended | None:
        query = "SELECT id, status::text FROM procrastinate_jobs WHERE args ->> 'audit_event_id' = %s"
        number, status = cls.db.execute(query, (audit_event_id,)).fetchone() or (0, "")
        return Ended(ENDS[status], _told(log, number)) if status in ENDS else None

    @classmethod
    def put(cls, rig: Rig, job: Any) -> None:
        statement = "INSERT INTO procrastinate_jobs (task_name, queue_name, args) VALUES (%s, %s, %s)"
        cls.db.execute(statement, (TASK_NAME, rig.prefix, Jsonb(job)))


def _told(log: str, number: int) -> str:
    """Return what the worker has said at ERROR of a job, traceback included."""
    told = rf"^ERROR:.*(?:\[{number}\]\(.*ended with status: Error|job {number}, whose worker was lost)"
    return "".join(re.findall(rf"{told}.*\n(?:(?!DEBUG:|INFO:|WARNING:|ERROR:).*\n)*", log, re.MULTILINE))
