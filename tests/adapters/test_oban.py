"""`ObanQueue` on PostgreSQL, with real workers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from traceback import format_exception
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("oban")

import psycopg
from oban import Job, Oban
from oban.schema import install_sql
from psycopg_pool import AsyncConnectionPool

from sigra_forward import (
    AuditEvent,
    AuditForward,
    ConfigurationError,
    EnqueueError,
    JobArgs,
    RetryPolicy,
    Route,
    SinkError,
)
from sigra_forward.queues.adapter import DEFAULT_QUEUE, TASK_NAME
from sigra_forward.stores import InMemoryAuditRepository
from sigra_forward.telemetry import Discarded
from sigra_forward.testing import (
    FlakyForwarder,
    QueueWorkerContract,
    RaisingForwarder,
    RecordingForwarder,
    RecordingTelemetry,
    make_event,
)
from sigra_forward.testing.contracts import Ended, Rig
from sigra_forward_oban import ObanQueue, worker_settings
from tests.adapters.support_oban import PATIENCE, awork, execute, row, rows, shop
from tests.adapters.support_overrunning import OverrunningForwarder
from tests.adapters.workers.oban_worker import PREFIX, RESCUE_AFTER, make_queue

ENDS = {"completed": "succeeded", "cancelled": "failed", "discarded": "failed"}


class TestOban(QueueWorkerContract):
    """Oban, in a schema of its own, its workers started by its own command."""

    library = "Oban, PostgreSQL"
    visibility = "`oban_jobs`: state `cancelled` or `discarded`, the reason in `errors`"
    recovery = "`rescue_after` (300 s) + 10 s, from the start of the run"
    is_transactional = True
    rescue = 100.0

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
        # Those that kill themselves must not lead: where the leader dies, another asks to be it every 30 seconds.
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

    @pytest.mark.xfail(
        strict=True,
        reason="Oban's command reads args by orjson, and a row that orjson refuses stops the queue for good",
    )
    def test_29_args_nested_deep_do_not_stop_the_queue(self, rig: Rig) -> None:
        """A job whose args are nested deeper than Oban can read ends, and those after it are run."""
        deep = json.dumps(None)
        for _ in range(1025):
            deep = f"[{deep}]"
        statement = f"INSERT INTO {PREFIX}.oban_jobs (worker, queue, args) VALUES ('sigra_forward.perform', %s, %s)"
        self.db.execute(statement, (f"{rig.prefix}_spare", deep))
        event = self.enqueue(rig, "accepting.spare")

        with self.started(rig, "spare") as worker:
            self.wait_for(
                lambda: self.ended(rig, event.id, "") or worker.log().count("Error in producer for queue") > 2,
                self.patience,
            )

        assert self.ended(rig, event.id, "") is not None


class TestRow:
    """What stands in the table."""

    def test_it_is_what_oban_itself_would_write(self, dsn: str) -> None:
        """Every column but the id and the times is as Oban's own enqueue sets it."""
        with shop(dsn, siem=RecordingForwarder()) as host:
            event = host.enqueue("siem")
        args = {"forwarder": "siem", "audit_event_id": event.id, "occurred_at": "2026-01-31T09:30:00+00:00"}
        asyncio.run(enqueue_with_oban(dsn, Job(TASK_NAME, queue=DEFAULT_QUEUE, args=args, max_attempts=5)))
        ours, obans = rows(dsn)
        own = {"id", "inserted_at", "scheduled_at"}

        assert args == ours["args"]
        assert {key: ours[key] for key in ours.keys() - own} == {key: obans[key] for key in obans.keys() - own}

    def test_oban_is_told_of_it(self, dsn: str) -> None:
        """Workers hear of a job at once, as of one of Oban's own."""
        with psycopg.connect(dsn, autocommit=True) as db, shop(dsn, siem=RecordingForwarder()) as host:
            db.execute('LISTEN "public.oban_insert"')
            host.enqueue("siem")
            (told,) = db.notifies(timeout=PATIENCE, stop_after=1)

        assert {"queue": "sigra_forward"} == json.loads(told.payload)

    def test_a_route_has_a_queue_and_attempts_of_its_own(self, dsn: str) -> None:
        """The route's queue and policy are the row's; what a smallint cannot hold is cut."""
        policy = RetryPolicy(10**6)
        route = Route(RecordingForwarder(), queue="urgent", policy=policy)
        with shop(dsn, route=route) as host:
            job = row(dsn, host.enqueue("route").id)

        assert ("urgent", 32767) == (job["queue"], job["max_attempts"])

    def test_obans_own_configuration_says_where(
        self, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without arguments, the database and the schema are those of oban.toml, and the environment goes before it."""
        (tmp_path / "oban.toml").write_text(f'dsn = "{dsn}"\nprefix = "nowhere"\n', encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        queue = ObanQueue(oban="from oban.toml")
        monkeypatch.setenv("OBAN_PREFIX", "public")
        other = ObanQueue(oban="from the environment")

        with shop(dsn, queue, siem=RecordingForwarder()) as host, pytest.raises(EnqueueError, match="UndefinedTable"):
            host.enqueue("siem")
        with shop(dsn, other, siem=RecordingForwarder()) as host:
            assert "available" == row(dsn, host.enqueue("siem").id)["state"]


@pytest.fixture(scope="class", name="dsn")
def _dsn(postgres_server: tuple[str, int], postgres_database: str) -> str:
    """Return the DSN of a database with Oban's tables."""
    host, port = postgres_server
    dsn = f"postgresql://postgres@{host}:{port}/{postgres_database}"
    execute(dsn, install_sql())
    return dsn


class TestWorker:
    """How what perform comes to stands in the table, where the row and the policy say different things, or are hostile."""

    def test_the_policy_ends_a_job_whose_row_allows_more(self, dsn: str) -> None:
        """At the policy's last attempt the job is discarded with its reason, whatever its row allows."""
        failing = Route(RaisingForwarder(SinkError("http_500")), policy=RetryPolicy(1))
        with shop(dsn, siem=failing) as host:
            event = host.enqueue("siem")
            execute(dsn, "UPDATE oban_jobs SET max_attempts = 20")
            job = host.end_of(event)

        assert ("discarded", 1) == (job["state"], job["attempt"])
        assert "discarded: http_500" in job["errors"][0]["error"]

    @pytest.mark.parametrize(("failures", "state"), [(2, "completed"), (9, "discarded")])
    def test_a_policy_that_has_grown_counts(self, dsn: str, failures: int, state: str) -> None:
        """A job enqueued when fewer attempts were allowed gets those that are allowed now, and the row says why it waits."""
        flaky = FlakyForwarder(failures)
        told = RecordingTelemetry()
        with shop(dsn, siem=Route(flaky, policy=RetryPolicy(3, backoff=lambda _: 0))) as host:
            host.queue._binding.host.telemetry = told
            event = host.enqueue("siem")
            execute(dsn, "UPDATE oban_jobs SET max_attempts = 1 WHERE state = 'available'")
            job = host.end_of(event)

        assert (state, {"snoozed": 2, "last_error": "flaky"}) == (job["state"], job["meta"])
        assert [1, 2, 3] == [told_of.attempt for told_of in told.events if not isinstance(told_of, Discarded)]

    def test_a_delay_beyond_the_database_does_not_stop_the_queue(self, dsn: str) -> None:
        """A delay that the column cannot hold is cut: Oban would send what the database refuses over and over."""
        policy = RetryPolicy(backoff=lambda _: 10**12, max_delay=10**12)
        with shop(dsn, slow=Route(FlakyForwarder(1), policy=policy), siem=RecordingForwarder()) as host:
            waiting = host.enqueue("slow")
            host.work(lambda: row(dsn, waiting.id)["state"] == "retryable")
            job = host.end_of(host.enqueue("siem"))
            waiting_job = row(dsn, waiting.id)

        assert "completed" == job["state"]
        assert timedelta(days=20_000) < waiting_job["scheduled_at"] - waiting_job["inserted_at"]

    def test_a_sinks_words_do_not_stop_the_queue(self, dsn: str) -> None:
        """Characters that PostgreSQL's JSON refuses are gone before Oban writes the reason down."""
        hostile = RaisingForwarder(SinkError("http_\x00500", detail="\0\ud800\x1b[31m"))
        with shop(dsn, siem=Route(hostile, policy=RetryPolicy(1))) as host:
            job = host.end_of(host.enqueue("siem"))

        assert "discarded" == job["state"]
        assert "discarded: http_\ufffd500: " in job["errors"][0]["error"]

    @pytest.mark.parametrize(
        "worker", ["os.system", "subprocess.Popen", "sigra_forward.AuditForward", "no.such.module"]
    )
    @pytest.mark.parametrize(
        "args", [{"args": "touch TARGET"}, ["touch TARGET"], "touch TARGET"], ids=["object", "list", "text"]
    )
    def test_a_row_written_by_hand_runs_nothing(self, dsn: str, tmp_path: Path, worker: str, args: Any) -> None:
        """A dotted path is no job: Oban may import it, and calls it with nothing; the row says why it failed."""
        target = tmp_path / "touched"
        job = json.dumps(args).replace("TARGET", str(target))
        with shop(dsn, siem=RecordingForwarder()) as host:
            statement = "INSERT INTO oban_jobs (worker, args, queue, max_attempts) VALUES (%s, %s, 'sigra_forward', 1)"
            execute(dsn, statement, worker, job)
            host.work(lambda: rows(dsn)[-1]["state"] == "discarded")

        assert not target.exists()
        assert "Error" in rows(dsn)[-1]["errors"][0]["error"]

    @pytest.mark.parametrize("meta", [[], "text", {"snoozed": "many"}, {"snoozed": 10**9}], ids=str)
    def test_a_meta_written_by_hand_is_no_harm(self, dsn: str, meta: Any) -> None:
        """What stands where Oban counts snoozes can make a job end early, and nothing else."""
        with shop(dsn, siem=RecordingForwarder()) as host:
            event = host.repository.add(make_event())
            args = json.dumps({"forwarder": "siem", "audit_event_id": event.id})
            statement = "INSERT INTO oban_jobs (worker, queue, args, meta) VALUES (%s, 'sigra_forward', %s, %s)"
            execute(dsn, statement, TASK_NAME, args, json.dumps(meta))

            assert "completed" == host.end_of(event)["state"]

    def test_a_stop_that_does_not_wait_is_no_success(self, dsn: str) -> None:
        """A run that Oban cancels when it stops leaves the job as it is, for the lifeline to rescue."""
        began = Event()

        class Waiting:
            async def forward(self, event: AuditEvent) -> None:
                began.set()
                await asyncio.sleep(PATIENCE)

        with shop(dsn, siem=Waiting()) as host:
            event = host.enqueue("siem")
            host.work(began.is_set, shutdown_grace_period=0.1)

        assert ("executing", []) == (row(dsn, event.id)["state"], row(dsn, event.id)["errors"])

    @pytest.mark.xfail(strict=True, reason="nothing breaks into a thread: a sync call that is given up on goes on")
    def test_a_run_that_is_given_up_on_is_over_before_the_next(self, dsn: str) -> None:
        """A sync forwarder that takes more than twice its deadline is not at work twice at once."""
        sink = OverrunningForwarder()
        with shop(dsn, siem=Route(sink, policy=RetryPolicy(2, backoff=lambda _: 0))) as host:
            job = host.end_of(host.enqueue("siem"))

        assert ("completed", 1) == (job["state"], sink.most_at_once)

    def test_each_instance_runs_the_jobs_of_its_own_host(self, dsn: str) -> None:
        """Where a process has several Obans, each one's jobs go to the AuditForward that is bound to its name."""
        sinks = [RecordingForwarder(), RecordingForwarder()]
        queues = [ObanQueue(dsn, queue=name, oban=name) for name in ("left", "right")]
        with shop(dsn, queues[0], siem=sinks[0]) as left, shop(dsn, queues[1], siem=sinks[1]) as right:
            events = [left.enqueue("siem"), right.enqueue("siem")]
            settings = [{"name": name, "queues": {name: 1}} for name in ("right", "left")]
            asyncio.run(awork(dsn, lambda: all(sink.events for sink in sinks), *settings))

        assert [[event.id] for event in events] == [sink.ids for sink in sinks]

    def test_an_instance_that_nobody_is_bound_to_does_not_succeed(self, dsn: str) -> None:
        """Several hosts are bound, none to the Oban that runs the job: it waits, and its row says why."""
        sink = RecordingForwarder()
        with shop(dsn, siem=sink) as host, shop(dsn, siem=sink):
            event = host.enqueue("siem")
            host.work(lambda: row(dsn, event.id)["errors"], name="another")
        job = row(dsn, event.id)

        assert ("retryable", []) == (job["state"], sink.events)
        assert "none to the Oban instance that runs this job" in job["errors"][0]["error"]


# What needs no database.


@pytest.fixture(name="no_configuration")
def _no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have no oban.toml in the current folder, and nothing in the environment."""
    for name in [name for name in os.environ if name.startswith("OBAN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "oban.toml"


def make(**options: Any) -> ObanQueue:
    """Return an ObanQueue, of an instance of its own, that nobody connects with."""
    return ObanQueue(**{"dsn": "postgresql://127.0.0.1:1/shop", "oban": str(uuid4()), **options})


def bind(queue: ObanQueue, *, deadline: float = 30.0) -> AuditForward:
    """Bind *queue* to an AuditForward with one forwarder."""
    sink = RecordingForwarder()
    sink.deadline = deadline
    return AuditForward(InMemoryAuditRepository(), {"siem": sink}, queue=queue)


def test_a_database_is_needed(no_configuration: Path) -> None:
    """Where nobody says which database, the message says how to."""
    with pytest.raises(ConfigurationError, match=r"pass dsn=\.\.\., or set OBAN_DSN, or dsn in oban\.toml$"):
        ObanQueue()


@pytest.mark.parametrize("dsn", ["postgresql+psycopg://u:secret@h/d", "secret", 5, b"\xff"])
def test_a_dsn_is_psycopgs_and_is_not_quoted(dsn: Any) -> None:
    """What psycopg cannot read is refused, and the password in it is told nowhere."""
    with pytest.raises(ConfigurationError, match=r"must be a DSN as psycopg takes it") as raised:
        make(dsn=dsn)

    assert "secret" not in "".join(format_exception(raised.value))


@pytest.mark.parametrize("prefix", ["", "my-schema", 'x"; DROP TABLE users; --', "Public", "1st", "a" * 52, "é", 5])
def test_a_prefix_needs_no_quotes(prefix: Any) -> None:
    """Oban puts the prefix into its SQL as it stands, so that one that needs quotes would work nowhere."""
    with pytest.raises(ConfigurationError, match=r"^ObanQueue\(prefix=\.\.\.\) must name a schema without quotes"):
        make(prefix=prefix)


@pytest.mark.parametrize("after", [0, -1, float("nan"), float("inf"), True, "300"])
def test_a_rescue_time_is_a_number(after: Any) -> None:
    """What is no number of seconds above 0 is refused."""
    with pytest.raises(ConfigurationError, match=r"^ObanQueue\(rescue_after=\.\.\.\) must be a finite number"):
        make(rescue_after=after)


def test_an_instance_has_a_name() -> None:
    """An Oban is not what is asked for, but its name."""
    with pytest.raises(ConfigurationError, match=r"takes the name of an Oban instance; got a list$"):
        make(oban=[])


def test_a_configuration_that_cannot_be_read_is_told(no_configuration: Path) -> None:
    """A broken oban.toml is an error of ours that names it."""
    no_configuration.write_text("dsn = ", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"oban\.toml or OBAN_\*, cannot be read: TOMLDecodeError$"):
        ObanQueue()


def test_what_is_given_needs_no_configuration(no_configuration: Path) -> None:
    """Given all three, what Oban's own configuration holds is not even read."""
    no_configuration.write_text("dsn = ", encoding="utf-8")

    bind(make(prefix="jobs", rescue_after=300))


def test_a_job_is_not_started_twice_at_once(no_configuration: Path) -> None:
    """A job that may outlast the lifeline's patience is refused at construction, and the queue stays free."""
    queue = make()

    with pytest.raises(ConfigurationError, match=r"lifeline and of ObanQueue, is 300 s, and a job may take 302 s"):
        bind(queue, deadline=150)
    bind(queue, deadline=149)


def test_the_lifelines_patience_is_read(no_configuration: Path) -> None:
    """The rescue time of Oban's own configuration is the one that counts, where none is given."""
    no_configuration.write_text("[lifeline]\nrescue_after = 61\n", encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"is 61 s, and a job may take 62 s"):
        bind(make())
    bind(make(rescue_after=62))


def test_one_instance_is_bound_once() -> None:
    """A second ObanQueue of one Oban instance cannot take over the jobs of the first, and stays free."""
    name = str(uuid4())
    queue = make(oban=name)
    host = bind(make(oban=name))

    with pytest.raises(ConfigurationError, match=rf"^an ObanQueue of the Oban instance '{name}' is bound"):
        bind(queue)
    assert "siem" in host.routes
    assert not queue._binding.is_bound


def test_of_two_threads_the_first_binds(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread binds, another that would bind the same instance waits, and is refused."""
    name = str(uuid4())
    first, second = make(oban=name), make(oban=name)
    refused: list[str] = []

    def bind_second() -> None:
        try:
            bind(second)
        except ConfigurationError as exc:
            refused.append(str(exc))

    other = Thread(target=bind_second)

    def meanwhile(*_: object) -> None:
        other.start()
        other.join(0.2)

    monkeypatch.setattr(first._binding, "require_rescue_after", meanwhile)
    bind(first)
    other.join(10)

    assert (1, False) == (len(refused), second._binding.is_bound)


def test_unbound_it_takes_no_job() -> None:
    """Nobody would run it."""
    with pytest.raises(EnqueueError, match="bound to no AuditForward"):
        make().enqueue(JobArgs("siem", "1"))


def test_a_forwarder_that_is_not_registered_gets_no_job() -> None:
    """A name that the worker would not know is refused before it is sent."""
    queue = make()
    bind(queue)

    with pytest.raises(EnqueueError, match=r"^nobody would run the job"):
        queue.enqueue(JobArgs("os.system", "1"))


def test_the_workers_settings_are_obans() -> None:
    """Oban takes them as they are, and keeps what has ended for a week."""
    Oban(pool=AsyncConnectionPool("postgresql://127.0.0.1:1/shop", open=False), name="settings", **worker_settings())

    assert {"rescue_after": 3600, "interval": 10} == worker_settings(3600)["lifeline"]
    assert {"max_age": 604_800} == worker_settings()["pruner"]


async def enqueue_with_oban(dsn: str, job: Job) -> None:
    """Put a job into the table by Oban's own means."""
    pool = AsyncConnectionPool(dsn, open=False)
    await pool.open()
    try:
        await Oban(pool=pool, name="by itself").enqueue(job)
    finally:
        await pool.close()
