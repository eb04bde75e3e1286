"""
What the processes of a `QueueWorkerContract` share: an audit table, forwarders that behave by name, and who did what.

A worker's module builds its queue and hands it to `audit_forward`; the suite tells it where the bench is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sigra_forward._audit_forward import AuditForward
from sigra_forward._event import AuditEvent
from sigra_forward._job_args import JobArgs
from sigra_forward._route import Dispatch, Route
from sigra_forward._settle import RetryPolicy
from sigra_forward.errors import SchemaMismatchError, SinkError
from sigra_forward.stores import SQLiteAuditRepository
from sigra_forward.testing._events import make_event

if TYPE_CHECKING:
    from sigra_forward._outcome import Result
    from sigra_forward.ports import JobQueue
    from sigra_forward.telemetry import TelemetryEvent

VARIABLE = "SIGRA_FORWARD_WORKBENCH"
"""The environment variable that tells a worker process where the bench is."""

MAX_ATTEMPTS = 3

POISON_ATTEMPTS = 2
"""The attempts of the lane ``poison``, which must be bounded by its own policy and not by its neighbours'."""

LANES = ("restart", "graceful", "task", "worker", "poison", "yes", "old", "unbound", "spare")
"""Queues besides the shared one, each for one scenario with workers of its own."""

PATIENCE = 120.0
"""Seconds for which a forwarder that waits for the test does so at most."""


class Run(NamedTuple):
    """One run of a job: that it began, on whose attempt and in which process."""

    attempt: int
    pid: int
    moment: float


class Told(NamedTuple):
    """One telemetry event."""

    kind: str
    attempt: int
    reason: str | None


class Workbench:
    """
    A folder that several processes work on.

    Args:
        folder: Where; it exists.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._database = self.folder / "bench.db"

    def create(self) -> None:
        """Make the tables."""
        with closing(self._connect()) as db:
            db.executescript(
                """
                PRAGMA journal_mode = WAL;
                CREATE TABLE audit_events (id TEXT PRIMARY KEY, action TEXT, occurred_at TEXT);
                CREATE TABLE runs (event TEXT, attempt INTEGER, pid INTEGER, moment REAL);
                CREATE TABLE sent (event TEXT, key TEXT, moment REAL);
                CREATE TABLE told (event TEXT, kind TEXT, attempt INTEGER, reason TEXT);
                """
            )

    def commit(self, event: AuditEvent | None = None) -> AuditEvent:
        """Commit an audit row."""
        event = event or make_event()
        self._write("INSERT INTO audit_events VALUES (?, ?, ?)", event.id, event.action, event.occurred_at.isoformat())
        return event

    def runs(self, audit_event_id: str) -> list[Run]:
        """Return the runs of an event's jobs so far."""
        query = "SELECT attempt, pid, moment FROM runs WHERE event = ? ORDER BY rowid"
        return [Run(*row) for row in self._read(query, audit_event_id)]

    def sent(self, audit_event_id: str) -> list[str]:
        """Return the idempotency key of each time that an event reached a sink."""
        return [key for (key,) in self._read("SELECT key FROM sent WHERE event = ? ORDER BY rowid", audit_event_id)]

    def all_sent(self) -> list[str]:
        """Return the id of every event that reached a sink, as often as it did."""
        return [event for (event,) in self._read("SELECT event FROM sent")]

    def told(self, audit_event_id: str) -> list[Told]:
        """Return what telemetry told of an event."""
        query = "SELECT kind, attempt, reason FROM told WHERE event = ? ORDER BY rowid"
        return [Told(*row) for row in self._read(query, audit_event_id)]

    def release(self, audit_event_id: str) -> None:
        """Let a held forwarder go on."""
        self._gate(audit_event_id).touch()

    def wait_for_release(self, audit_event_id: str) -> bool:
        """Wait for `release`, in a forwarder; tell whether it came."""
        until = time.monotonic() + PATIENCE
        while not self._gate(audit_event_id).exists():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def record_run(self, audit_event_id: str, attempt: int) -> None:
        """Keep that a run begins in this process."""
        self._write("INSERT INTO runs VALUES (?, ?, ?, ?)", audit_event_id, attempt, os.getpid(), time.time())

    def record_sent(self, event: AuditEvent) -> None:
        """Keep that *event* has reached the sink."""
        self._write("INSERT INTO sent VALUES (?, ?, ?)", event.id, event.idempotency_key, time.time())

    def record_told(self, event: TelemetryEvent) -> None:
        """Keep what telemetry told."""
        reason = getattr(event, "reason", None)
        text = None if reason is None else str(getattr(reason, "value", reason))
        row = (event.audit_event_id, type(event).__name__, event.attempt, text)
        self._write("INSERT INTO told VALUES (?, ?, ?, ?)", *row)

    def repository(self) -> SQLiteAuditRepository:
        """Return a repository of the bench's audit table."""
        return SQLiteAuditRepository(self._database, timeout=30)

    def _gate(self, audit_event_id: str) -> Path:
        return self.folder / f"release-{audit_event_id}"

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=30, isolation_level=None)

    def _write(self, statement: str, *values: object) -> None:
        with closing(self._connect()) as db:
            db.execute(statement, values)

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(self._connect()) as db:
            return db.execute(query, values).fetchall()


def audit_forward(queue: JobQueue, prefix: str = "bench", *, wait: int = 1, folder: str | None = None) -> AuditForward:
    """
    Return an `AuditForward` over the bench, bound to *queue*.

    Args:
        queue: The queue under test.
        prefix: Begins the name of every queue: jobs of the shared lane go onto the queue ``prefix``.
        wait: Seconds of backoff after the first attempt, twice that after the second.
        folder: Where the bench is; in a worker the environment says it.
    """
    return _BenchForward(Workbench(folder or os.environ[VARIABLE]), queue, prefix, wait)


def queue_name(prefix: str, lane: str | None = None) -> str:
    """Return the queue of *lane*, or the shared one."""
    return f"{prefix}_{lane}" if lane else prefix


class _BenchForward(AuditForward):
    """Keeps which attempt each run was, and has a bug of its own for the forwarder that asks for it."""

    def __init__(self, bench: Workbench, queue: JobQueue, prefix: str, wait: int) -> None:
        self._bench = bench
        sinks: dict[str, Route] = {}
        for lane in (None, *LANES):
            attempts = POISON_ATTEMPTS if lane == "poison" else MAX_ATTEMPTS
            for kind, behave in _BEHAVIOURS.items():
                name = f"{kind}.{lane}" if lane else kind
                sinks[name] = _route(_Sink(bench, behave), queue_name(prefix, lane), wait, attempts)
        for kind in ("flaky", "slow"):
            sinks[f"async-{kind}"] = _route(_AsyncSink(bench, _BEHAVIOURS[kind]), prefix, wait, MAX_ATTEMPTS)
        telemetry = _BenchTelemetry(bench)
        super().__init__(bench.repository(), sinks, queue=queue, telemetry=telemetry)

    def perform(self, args: JobArgs | Mapping[str, object], attempt: int = 1) -> Result:
        self._record(args, attempt)
        return super().perform(args, attempt)

    async def aperform(self, args: JobArgs | Mapping[str, object], attempt: int = 1, **options: Any) -> Result:
        self._record(args, attempt)
        return await super().aperform(args, attempt, **options)

    def _record(self, args: JobArgs | Mapping[str, object], attempt: int) -> None:
        job = args.to_dict() if isinstance(args, JobArgs) else args
        self._bench.record_run(str(job.get("audit_event_id"))[:255], attempt)
        if job.get("forwarder") == "buggy":
            msg = "a bug of perform's own"
            raise RuntimeError(msg)


class _BenchTelemetry:
    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def emit(self, event: TelemetryEvent) -> None:
        self._bench.record_told(event)


class _Sink:
    deadline = 1.0

    def __init__(self, bench: Workbench, behave: Callable[[Workbench, AuditEvent, int], None]) -> None:
        self._bench = bench
        self._behave = behave

    def forward(self, event: AuditEvent) -> None:
        self._behave(self._bench, event, len(self._bench.runs(event.id)))
        self._bench.record_sent(event)


class _AsyncSink(_Sink):
    async def forward(self, event: AuditEvent) -> None:  # type: ignore[override]
        await asyncio.sleep(PATIENCE if self._behave is _take_too_long else 0)
        super().forward(event)


def _route(sink: _Sink, queue: str, wait: int, attempts: int) -> Route:
    policy = RetryPolicy(attempts, backoff=lambda attempt: attempt * wait, max_retry_after=5, not_found_grace=3600)
    return Route(sink, dispatch=Dispatch.ASYNC, actions=("*",), where=_is_wanted, policy=policy, queue=queue)


def _is_wanted(event: AuditEvent) -> bool:
    return event.action != "unwanted"


def _accept(bench: Workbench, event: AuditEvent, run: int) -> None:
    """Say yes."""


def _refuse(bench: Workbench, event: AuditEvent, run: int) -> None:
    msg = "no such field"
    raise SchemaMismatchError(msg)


def _fail_once(bench: Workbench, event: AuditEvent, run: int) -> None:
    if run == 1:
        reason = "http_503"
        raise SinkError(reason)


def _fail(bench: Workbench, event: AuditEvent, run: int) -> None:
    reason = "http_500"
    raise SinkError(reason, detail="out of order")


def _hold(bench: Workbench, event: AuditEvent, run: int) -> None:
    if not bench.wait_for_release(event.id):
        reason = "never_released"
        raise SinkError(reason)


def _take_too_long(bench: Workbench, event: AuditEvent, run: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        time.sleep(0.02)


def _exit(bench: Workbench, event: AuditEvent, run: int) -> None:
    raise SystemExit(3)


def _die(bench: Workbench, event: AuditEvent, run: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_once(bench: Workbench, event: AuditEvent, run: int) -> None:
    if run == 1:
        _die(bench, event, run)


def _die_after_yes(bench: Workbench, event: AuditEvent, run: int) -> None:
    if run == 1:
        bench.record_sent(event)
        _die(bench, event, run)


_BEHAVIOURS: dict[str, Callable[[Workbench, AuditEvent, int], None]] = {
    "accepting": _accept,
    "buggy": _accept,
    "refusing": _refuse,
    "flaky": _fail_once,
    "failing": _fail,
    "held": _hold,
    "slow": _take_too_long,
    "exiting": _exit,
    "dying": _die,
    "dying-once": _die_once,
    "dying-after-yes": _die_after_yes,
}
