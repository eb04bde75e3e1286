"""`ObanQueue` on PostgreSQL, with real workers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("oban")

import psycopg
from oban.schema import install_sql

from sigra_forward.testing import QueueWorkerContract
from sigra_forward.testing.contracts import Ended, Rig
from sigra_forward_oban import ObanQueue
from tests.adapters.workers.oban_worker import PREFIX, RESCUE_AFTER, make_queue

ENDS = {"completed": "succeeded", "cancelled": "failed", "discarded": "failed"}


class TestOban(QueueWorkerContract):
    """Oban, in a schema of its own, its workers started by its own command."""

    library = "Oban, PostgreSQL"
    is_transactional = True
    rescue = 100.0  # a leader that is killed holds its lease for 30 seconds, and others look every 30

    @pytest.fixture(scope="class")
    @classmethod
    def server(
        cls, postgres_server: tuple[str, int], postgres_database: str, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[tuple[str, int]]:
        cls.database = postgres_database
        cls.folder = tmp_path_factory.mktemp("oban")
        for name, leadership in (("leader", "true"), ("follower", "false")):
            cls.configuration(name).write_text(
                f"leadership = {leadership}\n[lifeline]\nrescue_after = {RESCUE_AFTER}\ninterval = 1\n[stager]\ninterval = 0.2\n"
            )
        with psycopg.connect(cls.dsn(*postgres_server), autocommit=True) as cls.db:
            cls.db.execute(f"CREATE SCHEMA {PREFIX}")
            cls.db.execute(install_sql(PREFIX))
            yield postgres_server

    @classmethod
    def dsn(cls, host: str, port: int) -> str:
        return f"postgresql://postgres@{host}:{port}/{cls.database}"

    @classmethod
    def configuration(cls, name: str) -> Path:
        return cls.folder / f"{name}.toml"

    @classmethod
    def environment(cls) -> dict[str, str]:
        dsn = psycopg.conninfo.make_conninfo(**cls.db.info.get_parameters())
        return {"BENCH_OBAN_DSN": dsn, "PYTHONPATH": str(Path(__file__).parent / "workers")}

    @classmethod
    def job_queue(cls, host: str, port: int, prefix: str) -> ObanQueue:
        return make_queue(cls.dsn(host, port), prefix)

    @classmethod
    def worker(cls, queues: Sequence[str], *, unbound: bool = False, old: bool = False) -> list[str]:
        # Those that kill themselves again and again must not lead, or each time would cost the 30 seconds of the lease.
        dies = queues[0].endswith(("_task", "_poison", "_yes"))
        command = ["env", f"BENCH_KIND={'unbound' if unbound else 'bound'}", sys.executable, "-m", "oban", "start"]
        command += ["--config", str(cls.configuration("follower" if dies else "leader"))]
        command += ["--dsn", cls.environment()["BENCH_OBAN_DSN"], "--prefix", PREFIX]
        command += ["--queues", ",".join(f"{queue}:10" for queue in queues)]
        return command if old else [*command, "--cron-modules", "oban_worker"]

    @classmethod
    def row(cls, audit_event_id: str) -> tuple[str, list[dict[str, Any]]]:
        """Return the state and the errors of an event's job."""
        query = f"SELECT state::text, errors FROM {PREFIX}.oban_jobs WHERE args ->> 'audit_event_id' = %s"
        return cls.db.execute(query, (audit_event_id,)).fetchone() or ("", [])

    @classmethod
    def ended(cls, rig: Rig, audit_event_id: str, log: str) -> Ended | None:
        state, errors = cls.row(audit_event_id)
        return Ended(ENDS[state], " ".join(error["error"] for error in errors)) if state in ENDS else None

    @classmethod
    def put(cls, rig: Rig, job: dict[str, Any]) -> None:
        statement = f"INSERT INTO {PREFIX}.oban_jobs (worker, queue, args) VALUES ('sigra_forward.perform', %s, %s)"
        cls.db.execute(statement, (rig.prefix, json.dumps(job)))

    @classmethod
    def noticed(cls, rig: Rig, event: Any, log: str) -> bool:
        return "WorkerResolutionError" in json.dumps(cls.row(event.id))

    @classmethod
    def refused(cls, rig: Rig) -> int:
        query = f"SELECT count(*) FROM {PREFIX}.oban_jobs WHERE state = 'cancelled' AND errors::text LIKE %s"
        return cls.db.execute(query, ("%invalid_job_args%",)).fetchone()[0]
