"""
Oban for Python beside Oban for Elixir, on one table.

The table is as Elixir's migrations leave it at version 14, written by hand: Elixir itself is not run here.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("oban")

import psycopg
from oban.schema import install_sql

from sigra_forward import RetryPolicy, Route, SchemaMismatchError, SinkError
from sigra_forward.testing import RaisingForwarder, RecordingForwarder
from sigra_forward_oban import worker_settings
from tests.adapters.support_oban import execute, row, rows, shop, work

ELIXIR = """
CREATE TYPE oban_job_state AS ENUM (
  'available', 'suspended', 'scheduled', 'executing', 'retryable', 'completed', 'discarded', 'cancelled'
);
CREATE TABLE oban_jobs (
  id bigserial PRIMARY KEY,
  state oban_job_state NOT NULL DEFAULT 'available',
  queue text NOT NULL DEFAULT 'default',
  worker text NOT NULL,
  args jsonb NOT NULL DEFAULT '{}',
  errors jsonb[] NOT NULL DEFAULT ARRAY[]::jsonb[],
  attempt integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL DEFAULT 20,
  inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  scheduled_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
  attempted_at timestamp,
  completed_at timestamp,
  attempted_by text[],
  discarded_at timestamp,
  priority integer NOT NULL DEFAULT 0,
  tags varchar(255)[] DEFAULT ARRAY[]::varchar[],
  meta jsonb DEFAULT '{}',
  cancelled_at timestamp,
  CONSTRAINT attempt_range CHECK (attempt BETWEEN 0 AND max_attempts),
  CONSTRAINT positive_max_attempts CHECK (max_attempts > 0),
  CONSTRAINT non_negative_priority CHECK (priority >= 0),
  CONSTRAINT queue_length CHECK (char_length(queue) > 0 AND char_length(queue) < 128),
  CONSTRAINT worker_length CHECK (char_length(worker) > 0 AND char_length(worker) < 128)
);
CREATE UNLOGGED TABLE oban_peers (
  name text PRIMARY KEY, node text NOT NULL, started_at timestamp NOT NULL, expires_at timestamp NOT NULL
);
COMMENT ON TABLE oban_jobs IS '14';
"""

RUNNING = """
INSERT INTO oban_jobs (worker, queue, state, attempt, attempted_at)
VALUES ('MyApp.Mailer', %s, 'executing', 1, timezone('UTC', now()) - make_interval(mins => %s))
"""

DISCARDED = """
INSERT INTO oban_jobs (worker, queue, state, discarded_at)
VALUES ('MyApp.Mailer', %s, 'discarded', timezone('UTC', now()) - make_interval(days => %s))
"""

OBANS_DEFAULTS: dict[str, dict[str, float]] = {"lifeline": {}, "pruner": {}}
SHARED = worker_settings(rescue_after=3600)
"""As Elixir's lifeline has it: 60 minutes. Its pruner is to have the same `max_age` as ours."""


VERSION = "SELECT obj_description('oban_jobs'::regclass)"
"""What Elixir's nodes read when they start; without it they take the migrations for not run."""

ERRORS = (
    "SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'oban_jobs'::regclass AND attname = 'errors'"
)


@pytest.fixture(name="empty")
def _empty(postgres_server: tuple[str, int], postgres_database: str) -> str:
    """Return the DSN of a database without tables."""
    host, port = postgres_server
    return f"postgresql://postgres@{host}:{port}/{postgres_database}"


@pytest.fixture(name="dsn")
def _dsn(empty: str) -> str:
    """Return the DSN of a database that Elixir has migrated, and Python after it."""
    execute(empty, ELIXIR)
    execute(empty, install_sql())
    return empty


def read(dsn: str, query: str) -> Any:
    """Return the one value that *query* gives."""
    with psycopg.connect(dsn) as db:
        return db.execute(query).fetchone()[0]


def states(dsn: str) -> dict[str, str]:
    """Return the state of each job by its queue, which tells the jobs apart."""
    return {job["queue"]: job["state"] for job in rows(dsn)}


def lead(dsn: str, done: Any, settings: dict[str, dict[str, float]]) -> None:
    """Run the leader of Python's nodes, which runs no jobs, until *done*; it looks round more often than usual."""
    often = {name: {**options, "interval": 0.1} for name, options in settings.items()}
    work(dsn, done, name="leader", leadership=True, **often)


def test_elixir_first_then_python(dsn: str) -> None:
    """In this order both have what they look for: the version, the array of errors, and the tables of Python's own."""
    tables = read(
        dsn, "SELECT array_agg(tablename::text ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'"
    )

    assert ("14", "jsonb[]") == (read(dsn, VERSION), read(dsn, ERRORS))
    assert ["oban_jobs", "oban_leaders", "oban_peers", "oban_producers"] == tables


def test_elixir_alone_is_refused_by_python(empty: str) -> None:
    """Without `oban install` no Python worker starts on Elixir's table, and it says what is missing."""
    execute(empty, ELIXIR)

    with pytest.raises(RuntimeError, match="'oban_leaders' is missing"):
        work(empty, lambda: True, name="early", queues={"sigra_forward": 1})


def test_python_first_is_no_table_for_elixir(empty: str) -> None:
    """In the other order there is no version on the table, and its errors are no array."""
    execute(empty, install_sql())

    assert (None, "jsonb") == (read(empty, VERSION), read(empty, ERRORS))


@pytest.mark.parametrize(
    ("settings", "state"), [(OBANS_DEFAULTS, "available"), (SHARED, "executing")], ids=["defaults", "ours"]
)
def test_a_job_that_elixir_is_running_is_not_rescued(dsn: str, settings: dict[str, Any], state: str) -> None:
    """With our settings one that has run for 10 minutes is left alone; Oban's defaults would have it run twice at once."""
    execute(dsn, RUNNING, "ten minutes", 10)
    execute(dsn, RUNNING, "two hours", 120)

    lead(dsn, lambda: states(dsn)["two hours"] == "available", settings)

    assert state == states(dsn)["ten minutes"]


@pytest.mark.parametrize(("settings", "kept"), [(OBANS_DEFAULTS, False), (SHARED, True)], ids=["defaults", "ours"])
def test_a_dead_job_of_elixirs_is_not_pruned(dsn: str, settings: dict[str, Any], kept: bool) -> None:
    """With our settings one that was discarded two days ago is still there; Oban's defaults keep it for one."""
    execute(dsn, DISCARDED, "two days", 2)
    execute(dsn, DISCARDED, "eight days", 8)

    lead(dsn, lambda: "eight days" not in states(dsn), settings)

    assert kept == ("two days" in states(dsn))


@pytest.mark.parametrize(
    ("sink", "state", "reasons"),
    [
        pytest.param(RecordingForwarder(), "completed", [], id="ok"),
        pytest.param(
            RaisingForwarder(SchemaMismatchError("no such field")),
            "cancelled",
            ["cancelled: schema_mismatch: no such field"],
            id="cancel",
        ),
        pytest.param(
            RaisingForwarder(SinkError("http_500")), "discarded", ["http_500", "discarded: http_500"], id="error"
        ),
    ],
)
def test_our_jobs_end_on_elixirs_table(dsn: str, sink: Any, state: str, reasons: list[str]) -> None:
    """A job is upstream's three keys, and each way to end is written into Elixir's array of errors."""
    route = Route(sink, policy=RetryPolicy(2, backoff=lambda _: 0))
    with shop(dsn, siem=route) as host:
        event = host.enqueue("siem")
        args = {"forwarder": "siem", "audit_event_id": event.id, "occurred_at": "2026-01-31T09:30:00+00:00"}
        assert args == row(dsn, event.id)["args"]
        job = host.end_of(event)

    assert (state, len(reasons)) == (job["state"], len(job["errors"]))
    for number, (reason, error) in enumerate(zip(reasons, job["errors"], strict=True), 1):
        assert (number, True) == (error["attempt"], error["error"].rstrip().endswith(reason))
