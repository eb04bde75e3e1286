"""What the processes of a proof have in common: the audit table, its ledger, and the way to the sink."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import sqlalchemy
from attrs import asdict, field, frozen
from sqlalchemy import JSON, BigInteger, Column, DateTime, Engine, MetaData, String, Table
from sqlalchemy.dialects.mysql import DATETIME

from sigra_forward import AuditEvent, SchemaMismatchError, SinkError
from sigra_forward.stores import SQLiteAuditRepository, SQLiteLedger
from sigra_forward_sqlalchemy import SQLAlchemyAuditRepository, SQLAlchemyLedger

LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)
"""Before any event of these tests."""

DEADLINE = 2.0
"""Seconds for one call to the sink, so that leases can be short."""

MOMENT = DateTime(timezone=True).with_variant(DATETIME(fsp=6), "mysql", "mariadb")

audit_events = Table(
    "audit_events",
    MetaData(),
    Column("id", String(64), primary_key=True),
    Column("number", BigInteger, nullable=False, index=True),
    Column("action", String(64), nullable=False),
    Column("occurred_at", MOMENT, nullable=False, index=True),
    Column("metadata", JSON, nullable=False),
)


@frozen
class Setting:
    """
    Where everything is, for one relay and its host.

    Args:
        url: SQLAlchemy's, of the database of the audit table.
        ledger: The path of a SQLite ledger; ``""``: the ledger is in the database of the audit table.
        port: The sink's.
        position: The column in whose order the relay reads.
        relay: Options of the `Relay`.
        max_events: Events that go out in one call.
        ledger_timeout: Seconds for which a SQLite ledger waits for a lock.
        user: The number of the user as whom the relay works; 0: as whoever started it.
    """

    url: str
    ledger: str
    port: int
    position: str = "occurred_at"
    relay: Mapping[str, Any] = field(factory=dict)
    max_events: int = 50
    ledger_timeout: float = 5.0
    user: int = 0

    @classmethod
    def read(cls, text: str) -> Setting:
        """Return the setting that `told` has written."""
        return cls(**json.loads(text))

    def told(self) -> str:
        """Return it as text, for the command line of a process."""
        return json.dumps(asdict(self))

    def engine(self, **options: Any) -> Engine:
        """Return an engine of the host's."""
        return sqlalchemy.create_engine(self.url, **options)

    def the_ledger(self, engine: Engine | None = None) -> Any:
        """Return the ledger, by *engine* where it is in the database."""
        if self.ledger:
            return SQLiteLedger(self.ledger, timeout=self.ledger_timeout)
        return SQLAlchemyLedger(engine or self.engine())

    def repository(self) -> Any:
        """Return the audit table as the relay reads it."""
        options: dict[str, Any] = {"position": self.position, "tz": timezone.utc}
        path = sqlalchemy.make_url(self.url).database
        if self.url.startswith("sqlite") and path is not None:
            return SQLiteAuditRepository(Path(path), **options)
        return SQLAlchemyAuditRepository(self.engine(), **options)

    def create(self) -> None:
        """Make the tables."""
        engine = self.engine()
        audit_events.metadata.create_all(engine)
        if engine.dialect.name == "sqlite":
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        self.the_ledger(engine).create()
        engine.dispose()

    def committed(self) -> set[str]:
        """Return the ids of the rows that are there."""
        engine = self.engine()
        with engine.connect() as connection:
            found = set(connection.scalars(sqlalchemy.select(audit_events.c.id)))
        engine.dispose()
        return found


def row(
    audit_event_id: str,
    number: int,
    *,
    occurred_at: datetime | None = None,
    action: str = "session.create",
    **details: object,
) -> dict[str, object]:
    """Return an audit row."""
    return {
        "id": audit_event_id,
        "number": number,
        "action": action,
        "occurred_at": occurred_at or datetime.now(timezone.utc),
        "metadata": details,
    }


class Collector:
    """
    Hands events to the sink over HTTP, each with the reading of the table that has found it.

    Args:
        port: The sink's, on loopback.
        readings: The name of the reading that has found an event, by the event's id.
        max_events: Events in one call.
    """

    deadline = DEADLINE

    def __init__(self, port: int, readings: Mapping[str, str], *, max_events: int = 50) -> None:
        self.max_events = max_events
        self._port = port
        self._readings = readings

    def forward(self, event: AuditEvent) -> None:
        """Hand over one."""
        self.forward_batch([event])

    def forward_batch(self, events: Sequence[AuditEvent]) -> None:
        """Hand over several, all or none."""
        lines = [[event.idempotency_key, self._readings.get(event.id, ""), event.metadata] for event in events]
        body = json.dumps(lines).encode()
        connection = HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
        try:
            connection.request("POST", "/events", body)
            response = connection.getresponse()
            words = response.read().decode()
        except HTTPException as exc:
            raise SinkError("unreadable_answer") from exc
        finally:
            connection.close()
        if response.status in {400, 413, 422}:
            raise SchemaMismatchError(words)
        if response.status != 200:
            raise SinkError(f"http_{response.status}")


def keys_of(ids: Iterable[str]) -> set[str]:
    """Return the idempotency keys of events of the table."""
    return {AuditEvent(id=name, action="-", occurred_at=LONG_AGO).idempotency_key for name in ids}
