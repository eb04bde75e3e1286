"""
The scenarios of upstream's worker, `Sigra.Workers.AuditForward`, by their codes.

W2 to W4, W9, W10, W33 and W34 are about the retry curve: they stand with the tests of `backoff` and `settle`.

Not translated:

* W12 to W15: the worker that purges old audit rows. This library never deletes a row of the host's.
* W17: the error of a worker whose queue library is missing. The core has no such worker; each adapter raises
  `MissingDependencyError` when it is imported, and is tested with the adapter.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from sigra_forward import (
    Ack,
    AuditForward,
    CancelReason,
    Dispatch,
    JobArgs,
    Outcome,
    Result,
    Route,
    SchemaMismatchError,
    SinkError,
    State,
    aperform,
    perform,
)
from sigra_forward.sinks import NoopForwarder
from sigra_forward.stores import SQLiteAuditRepository
from sigra_forward.telemetry import Failed
from sigra_forward.testing import (
    InMemoryAuditRepository,
    RaisingForwarder,
    RecordingForwarder,
    RecordingQueue,
    RecordingTelemetry,
    make_event,
)

EVENT = make_event()


class Job:
    """One job for `EVENT`, run by one of the two ways."""

    def __init__(self, run: Callable[..., Result]) -> None:
        self._run = run
        self.telemetry = RecordingTelemetry()

    def __call__(self, forwarder: Any = None, *, args: Any = None, repository: Any = None, attempt: int = 1) -> Result:
        """Run it, for *forwarder*."""
        return self._run(
            {"forwarder": "siem", "audit_event_id": EVENT.id, "occurred_at": None} if args is None else args,
            repository=InMemoryAuditRepository([EVENT]) if repository is None else repository,
            forwarders={"siem": RecordingForwarder() if forwarder is None else forwarder},
            telemetry=self.telemetry,
            attempt=attempt,
        )

    @property
    def told(self) -> list[Any]:
        """What was told."""
        return self.telemetry.events


@pytest.fixture(
    name="job",
    params=[perform, lambda *args, **ports: asyncio.run(aperform(*args, **ports))],
    ids=["perform", "aperform"],
)
def _job(request: pytest.FixtureRequest) -> Job:
    return Job(request.param)


def test_W1_a_job_goes_to_the_queues_own_queue() -> None:
    """
    Without being told otherwise a job goes to the default queue of the host's `JobQueue`.

    Differs: upstream's queue is ``sigra_audit_forward``, which nobody runs unless the host configures it. Here the
    queue's name is the queue's own, and no job carries one.
    """
    queue = RecordingQueue()

    with AuditForward(InMemoryAuditRepository([EVENT]), {"siem": RecordingForwarder()}, queue) as audit_forward:
        audit_forward.dispatch(EVENT)

    assert None is audit_forward.routes["siem"].queue
    assert [{"forwarder", "audit_event_id", "occurred_at"}] == [set(args.to_dict()) for args in queue.jobs]


def test_W5_missing_row_is_cancelled(job: Job) -> None:
    """An id with no row cancels the job."""
    result = job(args=JobArgs("siem", "missing-uuid"))

    assert (Outcome.CANCEL, CancelReason.AUDIT_EVENT_NOT_FOUND) == (result.outcome, result.reason)
    assert "audit_event_not_found" == result.reason.value


def test_W6_unknown_forwarder_is_cancelled(job: Job) -> None:
    """An unknown forwarder's name cancels the job."""
    result = job(args=JobArgs("Elixir.Nobody", EVENT.id))

    assert (Outcome.CANCEL, CancelReason.UNKNOWN_FORWARDER) == (result.outcome, result.reason)
    assert "unknown_forwarder" == result.reason.value


def test_W7_forwarder_without_forward_is_cancelled(job: Job) -> None:
    """
    A row that is there and a forwarder that cannot forward: nothing is raised, and the job is cancelled.

    Differs: upstream's Noop is such a forwarder. Here it is a forwarder like others, which accepts everything, and an
    `AuditForward` refuses an object without ``forward`` when it is made.
    """
    result = job(object())

    assert (Outcome.CANCEL, CancelReason.UNKNOWN_FORWARDER) == (result.outcome, result.reason)


def test_W7_noop_accepts(job: Job) -> None:
    """Noop accepts everything; differs, see above."""
    assert Outcome.OK is job(NoopForwarder()).outcome


def test_W8_only_three_keys_are_read(job: Job) -> None:
    """Only forwarder and audit_event_id are read from a job, and occurred_at where it matters; nothing of the event."""
    read = []

    class Reading(dict[str, object]):
        def __getitem__(self, key: str) -> object:
            read.append(key)
            return super().__getitem__(key)

    thin = JobArgs("siem", EVENT.id, EVENT.occurred_at).to_dict()
    forwarder = RecordingForwarder()

    job(forwarder, args=Reading({**thin, "action": "forged", "actor_id": "forged"}))

    assert {"forwarder", "audit_event_id"} == set(read) - {"occurred_at"}
    assert [EVENT] == forwarder.events


def test_W11_a_route_may_name_a_queue() -> None:
    """A host may name another queue: in the route, where the `JobQueue` finds it."""
    route = Route(RecordingForwarder(), queue="sigra_audit_forward")

    with AuditForward(InMemoryAuditRepository(), {"siem": route}, RecordingQueue()) as audit_forward:
        assert "sigra_audit_forward" == audit_forward.routes["siem"].queue


def test_W16_stands_without_any_queue_library() -> None:
    """The job runs where no queue library can be imported."""
    script = """
import sys
sys.modules.update(dict.fromkeys(["celery", "rq", "dramatiq", "procrastinate", "oban", "redis"]))
from sigra_forward import perform
from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder, make_event
event = make_event()
args = {"forwarder": "siem", "audit_event_id": event.id}
ports = {"repository": InMemoryAuditRepository([event]), "forwarders": {"siem": RecordingForwarder()}}
print(perform(args, **ports).outcome.name)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)

    assert "OK\n" == done.stdout


@pytest.mark.parametrize("args", [{"forwarder": None}, {}], ids=["None", "missing"])
def test_W18_no_forwarder_is_invalid(args: dict[str, object], job: Job) -> None:
    """
    A job without a forwarder's name is cancelled.

    Differs: upstream says `unknown_forwarder`; here it is `invalid_job_args`, which names the key.
    """
    result = job(args={**args, "audit_event_id": EVENT.id})

    assert (Outcome.CANCEL, CancelReason.INVALID_JOB_ARGS) == (result.outcome, result.reason)
    assert "'forwarder'" in result.detail


def test_W19_ok_is_success(job: Job) -> None:
    """A forwarder that returns nothing has said yes."""
    assert (Outcome.OK, State.COMPLETED) == (job().outcome, job().settlement.state)


def test_W20_ok_with_a_value_is_success(job: Job) -> None:
    """A forwarder may say yes with the sink's receipt: an `Ack`."""
    result = job(RecordingForwarder(Ack("17")))

    assert (Outcome.OK, Ack("17")) == (result.outcome, result.ack)


def assert_mismatch(job: Job, why: str) -> None:
    """Assert that a sink that can never accept the event, for *why*, cancels the job."""
    result = job(RaisingForwarder(SchemaMismatchError(why)))

    assert (Outcome.CANCEL, CancelReason.SCHEMA_MISMATCH, why) == (result.outcome, result.reason, result.detail)
    assert "schema_mismatch" == result.reason.value


def test_W21_schema_mismatch_is_cancelled(job: Job) -> None:
    """A sink whose schema does not take the event cancels the job."""
    assert_mismatch(job, "schema_mismatch")


def test_W22_missing_actor_is_cancelled(job: Job) -> None:
    """So does one that asks for an actor where there is none."""
    assert_mismatch(job, "missing_actor")


def test_W23_invalid_actor_ref_is_cancelled(job: Job) -> None:
    """So does one that does not take the actor."""
    assert_mismatch(job, "invalid_actor_ref")


def test_W24_missing_repo_is_cancelled(job: Job) -> None:
    """So does a forwarder that has nowhere to write to, where it says so by `SchemaMismatchError`."""
    assert_mismatch(job, "missing_repo")


def test_W25_any_other_reason_is_retried(job: Job) -> None:
    """Any other reason of the sink's is kept, and tried again."""
    result = job(RaisingForwarder(SinkError("econnrefused")))

    assert (Outcome.ERROR, "econnrefused", State.RETRYABLE) == (result.outcome, result.reason, result.settlement.state)


def test_W26_unexpected_value_is_retried(job: Job) -> None:
    """A forwarder that returns anything else is tried again, for that reason."""
    result = job(RecordingForwarder(("ok", "value")))  # type: ignore[arg-type]

    assert (Outcome.ERROR, "unexpected_return") == (result.outcome, result.reason)
    assert State.RETRYABLE is result.settlement.state


def test_W27_raise_is_retried(job: Job) -> None:
    """A forwarder that raises is tried again, with one error event that says what, which attempt, and of which event."""
    result = job(RaisingForwarder(RuntimeError("boom")), attempt=2)

    assert State.RETRYABLE is result.settlement.state
    assert [("RuntimeError", 2, EVENT.id, EVENT.action)] == [
        (told.kind, told.attempt, told.audit_event_id, told.action) for told in job.told
    ]


def test_W28_exit_is_told_and_raised_again(job: Job) -> None:
    """
    A forwarder that exits fires one error event.

    Differs: upstream takes it as a failed job. In Python it is an order to the process, and is raised again.
    """
    with pytest.raises(SystemExit):
        job(RaisingForwarder(SystemExit("boom")), attempt=2)

    assert [("SystemExit", 2, EVENT.id, EVENT.action)] == [
        (told.kind, told.attempt, told.audit_event_id, told.action) for told in job.told
    ]


def test_W29_throw_is_retried(job: Job) -> None:
    """What is thrown past the forwarder without being an error of it is tried again too, with one error event."""
    result = job(RaisingForwarder(StopAsyncIteration("value")))

    assert State.RETRYABLE is result.settlement.state
    assert [Failed] == [type(told) for told in job.told]


def test_W30_lookup_that_fails_is_retried(job: Job) -> None:
    """A table that cannot be read never cancels: tried again, with one error event whose action is not known."""

    class Unreadable:
        def get(self, audit_event_id: str) -> None:
            raise sqlite3.OperationalError("database is locked")

    result = job(repository=Unreadable())

    assert (Outcome.ERROR, State.RETRYABLE) == (result.outcome, result.settlement.state)
    assert [("OperationalError", None)] == [(told.kind, told.action) for told in job.told]


def test_W31_the_whole_row_is_handed_over(job: Job) -> None:
    """
    What the forwarder gets is the row's, never the job's.

    Differs: upstream hands over five fields of it. Here it is the whole row.
    """
    forwarder = RecordingForwarder()

    job(forwarder, args=JobArgs("siem", EVENT.id, EVENT.occurred_at.replace(1999)))

    assert [EVENT.to_dict()] == [event.to_dict() for event in forwarder.events]


@pytest.mark.parametrize("dispatch", list(Dispatch), ids=lambda dispatch: dispatch.name)
def test_W32_a_job_forwards_and_never_enqueues(dispatch: Dispatch) -> None:
    """A job forwards, however its route is dispatched: it enqueues no further one."""
    queue, forwarder = RecordingQueue(), RecordingForwarder()

    with AuditForward(InMemoryAuditRepository([EVENT]), {"siem": Route(forwarder, dispatch)}, queue) as audit_forward:
        audit_forward.perform(JobArgs("siem", EVENT.id))

    assert ([EVENT], []) == (forwarder.events, queue.jobs)


def test_W35_no_id_is_invalid(job: Job) -> None:
    """
    A job without an event's id is cancelled, for a reason that names the key.

    Differs: upstream tries it five times.
    """
    result = job(args={"forwarder": "siem"})

    assert (Outcome.CANCEL, CancelReason.INVALID_JOB_ARGS) == (result.outcome, result.reason)
    assert "job args key 'audit_event_id' is missing" == result.detail


def test_W36_malformed_id_is_not_found(job: Job, tmp_path: Path) -> None:
    """
    An id that cannot be one of the table's is not found, and cancels.

    Differs: upstream's look-up raises, and is tried again in vain.
    """
    database = tmp_path / "audit.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE audit_events (id TEXT PRIMARY KEY, action TEXT, occurred_at TEXT)")
    with closing(SQLiteAuditRepository(database, id_type=UUID)) as repository:
        result = job(args=JobArgs("siem", "not-a-uuid"), repository=repository)

    assert (Outcome.CANCEL, CancelReason.AUDIT_EVENT_NOT_FOUND) == (result.outcome, result.reason)
