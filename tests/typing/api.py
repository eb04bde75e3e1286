"""The public calls as a user's type checker sees them. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from uuid import UUID

from sqlalchemy import MetaData, create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, sessionmaker
from typing_extensions import assert_type

from sigra_forward import (
    Ack,
    AsyncForwarder,
    AuditEvent,
    AuditForward,
    AuditRepository,
    BatchForwarder,
    CancelReason,
    Dispatch,
    Dispatched,
    Fault,
    Forwarder,
    JobArgs,
    JobQueue,
    Outcome,
    Result,
    RetryPolicy,
    Route,
    SchemaMismatchError,
    Settlement,
    SinkError,
    State,
    Telemetry,
    aperform,
    backoff,
    perform,
    settle,
    signals,
    telemetry,
)
from sigra_forward.operations import (
    DifferenceKind,
    LaneStatus,
    Replayed,
    backfill,
    enable,
    excuse,
    reconcile,
    replay,
    safe_to_purge_before,
    status,
)
from sigra_forward.ports import AsyncAuditRepository, AuditSource, Ledger
from sigra_forward.queues import InProcessQueue
from sigra_forward.sinks import JSONLForwarder, NoopForwarder, json_texts
from sigra_forward.stores import InMemoryAuditRepository, SQLiteAuditRepository
from sigra_forward.testing import FlakyForwarder, RecordingForwarder, RecordingQueue, RecordingTelemetry, RefusingQueue
from sigra_forward_http import DatadogForwarder, OTLPForwarder, SplunkHECForwarder, WebhookForwarder
from sigra_forward_sqlalchemy import (
    AsyncSQLAlchemyAuditRepository,
    AsyncSQLAlchemyLedger,
    CommitHook,
    SQLAlchemyAuditRepository,
    SQLAlchemyLedger,
    dispatch_on_commit,
)


class MyForwarder:
    """A user's forwarder fits the port without inheriting from it."""

    deadline = 5.0

    def forward(self, event: AuditEvent) -> Ack | None:
        """Accept."""
        if event.action == "":
            msg = "never"
            raise SchemaMismatchError(msg)
        if event.outcome is None:
            reason = "http_503"
            raise SinkError(reason, retry_after=1.5, detail="busy")
        return Ack(ref=event.id, status="202", digest=None)


class MyAsyncForwarder:
    """A user's async forwarder fits too."""

    async def forward(self, event: AuditEvent) -> None:
        """Accept."""


class MyRepository:
    """A user's repository."""

    def get(self, audit_event_id: str, /) -> AuditEvent | None:
        """Find."""
        return None


class MyTelemetry:
    """A user's telemetry can tell the events apart."""

    def emit(self, event: telemetry.TelemetryEvent, /) -> None:
        """Hear."""
        assert_type(event.forwarder, str)
        if isinstance(event, telemetry.Failed):
            assert_type(event.retry_in, int | None)
            assert_type(event.reason, CancelReason | str | None)


def ports() -> None:
    """Stock parts and a user's fit the ports."""
    forwarders: list[Forwarder] = [MyForwarder(), JSONLForwarder("x"), NoopForwarder(), RecordingForwarder()]
    batches: list[BatchForwarder] = [JSONLForwarder("x"), RecordingForwarder(), FlakyForwarder(1)]
    asynchronous: AsyncForwarder = MyAsyncForwarder()
    repositories: list[AuditRepository] = [
        MyRepository(),
        InMemoryAuditRepository(),
        SQLiteAuditRepository("x", id_type=UUID, columns={"id": "key"}, tz=timezone.utc),
    ]
    queues: list[JobQueue] = [InProcessQueue(workers=2), RecordingQueue(), RefusingQueue()]
    hears: list[Telemetry] = [
        MyTelemetry(),
        telemetry.SignalTelemetry(),
        telemetry.LoggingTelemetry(),
        RecordingTelemetry(),
    ]
    AuditForward(repositories[0], {"a": forwarders[0], "b": asynchronous}, queues[0], None, hears[0], RetryPolicy())
    batch: Sequence[Ack | Exception | None] | None = batches[0].forward_batch([])
    del batch


def values(event: AuditEvent) -> None:
    """The values and the pure decisions."""
    args = JobArgs("siem", event.id, datetime.now(timezone.utc))
    assert_type(args.to_dict(), dict[str, str | None])
    assert_type(JobArgs.from_dict({"forwarder": "siem"}), JobArgs)
    assert_type(event.idempotency_key, str)
    assert_type(event.metadata, dict[str, object])
    assert_type(backoff(1, jitter=3), int)
    result = Result(Outcome.ERROR, "http_503", fault=Fault.SINK)
    assert_type(settle(result, 1, RetryPolicy(max_attempts=3)), Settlement)
    assert_type(settle(result, 1, RetryPolicy()).state, State)
    AuditEvent(id="1", action="a.b", occurred_at=datetime.now(timezone.utc), actor_id="7", metadata={"a": 1})


async def calls(event: AuditEvent, host: AuditForward) -> None:
    """Perform and dispatch, sync and async."""
    route = Route(MyForwarder(), Dispatch.ASYNC, actions=("auth.*",), where=lambda e: e.outcome == "failure")
    assert_type(perform({}, repository=MyRepository(), forwarders={"siem": route}), Result)
    assert_type(await aperform({}, repository=MyRepository(), forwarders={"siem": MyAsyncForwarder()}), Result)
    assert_type(host.perform({}, 2), Result)
    assert_type(await host.aperform({}, 2), Result)
    assert_type(host.dispatch(event), Mapping[str, Dispatched])
    assert_type(await host.adispatch(event), Mapping[str, Dispatched])
    host.attach(sender=object())
    host.detach()
    with host as same:
        assert_type(same, AuditForward)
    signals.audit_log.send(None, event=event)


def operations(audit_forward: AuditForward) -> None:
    """What an operator does."""
    moment = datetime.now(timezone.utc)
    assert_type(status(audit_forward), tuple[LaneStatus, ...])
    reconciliation = reconcile(audit_forward, "siem", moment, until=moment, make_due=True)
    assert_type([difference.kind for difference in reconciliation], list[DifferenceKind])
    assert_type(reconcile(audit_forward, "siem").finish().is_balanced, bool)
    assert_type(replay(audit_forward, "siem", states=[State.DISCARDED], actions=("auth.*",), rate=5), Replayed)
    assert_type(excuse(audit_forward, "siem", "42", "agreed"), bool)
    assert_type(backfill(audit_forward, "siem", moment), bool)
    assert_type(enable(audit_forward, "siem"), bool)
    assert_type(safe_to_purge_before(audit_forward), datetime | None)


def http(event: AuditEvent) -> None:
    """Forwarders over HTTP."""
    webhook: Forwarder = WebhookForwarder(
        "https://siem.example", ["whsec_x"], format="cloudevents", batch=True, deadline=5, allow=("10.0.0.0/8",)
    )
    splunk: BatchForwarder = SplunkHECForwarder("https://siem.example", "x", acknowledge=True, ca="ca.pem")
    otlp: BatchForwarder = OTLPForwarder("http://localhost:4318", headers={"X-Tenant": "7"}, certificate=("a", "b"))
    datadog: BatchForwarder = DatadogForwarder("x", site="datadoghq.eu", tags={"env": "prod"}, read_timeout=None)
    assert_type(SplunkHECForwarder("https://siem.example", "x").forward(event), Ack)
    assert_type(json_texts([event]), list[str])
    AuditForward(MyRepository(), {"webhook": webhook, "splunk": splunk, "otlp": otlp, "datadog": datadog})


class MyModel(DeclarativeBase):
    """A user's mapped class."""


async def sqlalchemy(audit_forward: AuditForward) -> None:
    """A ledger, a repository and a hook by SQLAlchemy, sync and async."""
    engine, async_engine = create_engine("sqlite:///x"), create_async_engine("sqlite+aiosqlite:///x")
    ledger: Ledger = SQLAlchemyLedger(engine, schema="x", metadata=MetaData())
    source: AuditSource = SQLAlchemyAuditRepository(engine, MyModel, id_type=UUID, tz=timezone.utc, extra=("region",))
    repository: AsyncAuditRepository = AsyncSQLAlchemyAuditRepository(async_engine, "audit_events")
    assert_type(await AsyncSQLAlchemyLedger(async_engine).create(), None)
    AuditForward(source, {"siem": MyForwarder()}, ledger=ledger)
    AuditForward(repository, {"siem": MyForwarder()})
    assert_type(dispatch_on_commit(sessionmaker(engine), audit_forward, MyModel), CommitHook)
    dispatch_on_commit(async_sessionmaker(async_engine), audit_forward, MyModel).detach()
