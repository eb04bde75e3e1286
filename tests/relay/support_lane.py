"""A lane on a fake clock: an audit table, a ledger, a sink that does as it is told, and the worker between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

from sigra_forward import AuditEvent, AuditForward, RetryPolicy, Route, State
from sigra_forward._ledger import Receipt
from sigra_forward._source import Found
from sigra_forward.errors import UnreadableRowError
from sigra_forward.relay._lane import LaneWorker, LeaseLostError, Options
from sigra_forward.relay._readings import Pace
from sigra_forward.stores import SQLiteLedger
from sigra_forward.testing import FakeClock, InMemoryAuditRepository, RecordingTelemetry, make_event

UNREADABLE = UnreadableRowError("metadata is no JSON")

BEGIN = datetime(2026, 1, 31, 9, 0, tzinfo=timezone.utc)
"""Where the clock begins."""

POLICY = RetryPolicy(max_attempts=3, backoff=lambda _: 60, horizon=3600)

Rule = Callable[[AuditEvent], Any]
"""What the sink says of one event: nothing or an Ack is yes; an exception is returned, or raised where it is one."""


class Sink:
    """
    Takes batches, and says of each event what *rule* says; an `OSError` or a `SinkError` fails the whole call.

    Attributes:
        calls: The ids of each call, and when it came.
        ids: Those that it has taken.
    """

    def __init__(self, clock: FakeClock, rule: Rule = lambda _: None, *, max_events: int = 100) -> None:
        self._clock = clock
        self.rule = rule
        self.max_events = max_events
        self.calls: list[tuple[float, list[str]]] = []
        self.ids: list[str] = []
        self.deadline = 10.0

    def forward(self, event: AuditEvent) -> Any:
        """Take one, as a job does."""
        return self.forward_batch([event])

    def forward_batch(self, events: Sequence[AuditEvent]) -> Any:
        """Take several."""
        self.calls.append((self._clock.monotonic(), [event.id for event in events]))
        answers = [self.rule(event) for event in events]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        self.ids += [event.id for event in events]
        return None

    def calls_since(self, moment: float) -> list[list[str]]:
        """Return the calls since *moment*."""
        return [ids for at, ids in self.calls if at >= moment]


class Table(InMemoryAuditRepository):
    """A table in which a row may have its place before anybody can see it."""

    def __init__(self) -> None:
        super().__init__()
        self._hidden: set[str] = set()
        self.unreadable: set[str] = set()

    def drawn(self, event: AuditEvent) -> AuditEvent:
        """Give *event* its place in the order."""
        self._hidden.add(event.id)
        return self.add(event)

    def show(self, event: AuditEvent) -> None:
        """Commit it."""
        self._hidden.discard(event.id)

    def scan(self, *arguments: Any, **options: Any) -> Any:
        """Return what can be seen."""
        rows = [row for row in super().scan(*arguments, **options) if row.audit_event_id not in self._hidden]
        return [self._told(row) for row in rows]

    def get_many(self, audit_event_ids: Any) -> Any:
        """Return what can be seen."""
        found = super().get_many([name for name in audit_event_ids if name not in self._hidden])
        return {name: UNREADABLE if name in self.unreadable else event for name, event in found.items()}

    def delete(self, audit_event_id: str) -> None:
        """Delete a row."""
        self._hidden.add(audit_event_id)

    def _told(self, row: Found) -> Found:
        return (
            Found(row.audit_event_id, row.position, error=UNREADABLE) if row.audit_event_id in self.unreadable else row
        )


class HastyLedger(SQLiteLedger):
    """Does not wait for the disk: a simulated day writes a thousand times, and no power fails in it."""

    def _set_up(self, connection: Any) -> None:
        super()._set_up(connection)
        connection.execute("PRAGMA synchronous = OFF")


class World:
    """One lane, all of it in this process, on a clock that moves when it is told to."""

    def __init__(self, folder: Path, *, policy: RetryPolicy = POLICY, sink: Any = None, **options: Any) -> None:
        self.clock = FakeClock()
        self.table = Table()
        self.ledger = HastyLedger(folder / "ledger.db", now=self.now)
        self.ledger.create()
        self.telemetry = RecordingTelemetry()
        self.sink: Any = Sink(self.clock) if sink is None else sink
        self.options = options
        self.policy = policy
        self.host = self.bound()
        self.worker = self.another()

    def bound(self, **route: Any) -> AuditForward:
        """Return an AuditForward over these ports."""
        routed = Route(self.sink, since=BEGIN, **route)
        return AuditForward(
            self.table,
            {"siem": routed},
            ledger=self.ledger,
            telemetry=self.telemetry,
            policy=self.policy,
            clock=self.clock,
        )

    def rebind(self, **route: Any) -> None:
        """Go on with a route of other options."""
        self.worker.let_go()
        self.host = self.bound(**route)
        self.worker = self.another()

    def another(self, owner: str = "first", host: AuditForward | None = None, **others: Any) -> LaneWorker:
        """Return another worker of the lane."""
        options = {"pace": Pace(poll=5), "recovery_rate": None, **self.options}
        return LaneWorker(host or self.host, "siem", Options(owner, **options), self.clock, random=Random(1), **others)

    def now(self) -> datetime:
        """Return the time by the ledger's clock."""
        return BEGIN + timedelta(seconds=self.clock.monotonic())

    def commit(self, *ids: str, **fields: Any) -> list[AuditEvent]:
        """Commit rows."""
        return [self.table.add(event) for event in self.made(*ids, **fields)]

    def made(self, *ids: str, **fields: Any) -> list[AuditEvent]:
        """Return events of now."""
        return [make_event(id=name, **{"occurred_at": self.now(), **fields}) for name in ids]

    def run(self, seconds: float, worker: LaneWorker | None = None) -> None:
        """Work for so long."""
        worker = worker or self.worker
        until = self.clock.monotonic() + seconds
        while True:
            try:
                wait = worker.step()
            except LeaseLostError:
                worker.doubt()
                continue
            now = self.clock.monotonic()
            if now + wait > until:
                break
            self.clock.advance(wait)
        self.clock.advance(until - now)

    @property
    def lane(self) -> Any:
        """The lane, as it stands in the ledger."""
        return self.ledger.lanes()[0]

    def receipt(self, audit_event_id: str) -> Receipt | None:
        """Return the receipt of an event."""
        return self.ledger.receipts(self.lane.number, [audit_event_id]).get(audit_event_id)

    def states(self) -> dict[str, State]:
        """Return the state of every receipt."""
        return {receipt.audit_event_id: receipt.state for receipt in self.ledger.page(self.lane.number, "", 10**6)}
