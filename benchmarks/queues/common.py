"""The same work for both sides: reload a row from PostgreSQL, and POST it to a sink. Every worker imports it."""

from __future__ import annotations

import json
import os
from http.client import HTTPConnection
from threading import local
from typing import Any

import psycopg

from sigra_forward import AuditEvent, AuditForward, Dispatch, Route, SinkError
from sigra_forward.ports import JobQueue

DSN = os.environ.get("BENCH_DSN", "")
SINK = os.environ.get("BENCH_SINK", "")
PREFIX = os.environ.get("BENCH_PREFIX", "bench")
SERVER = os.environ.get("BENCH_SERVER", "")

COLUMNS = ("id", "action", "occurred_at", "actor_id", "ip_address", "metadata")
QUERY = f"SELECT {', '.join(COLUMNS)} FROM audit_events WHERE id = %s"

_kept = local()


def reload(audit_event_id: str) -> dict[str, Any]:
    """Read one row, on a connection that its thread keeps."""
    if not hasattr(_kept, "database"):
        _kept.database = psycopg.connect(DSN, autocommit=True)
    row = _kept.database.execute(QUERY, (audit_event_id,)).fetchone()
    return dict(zip(COLUMNS, row, strict=True))


def post(event: dict[str, Any]) -> int:
    """POST *event*, on a connection that its thread keeps, and return the status."""
    if not hasattr(_kept, "sink"):
        host, _, port = SINK.partition(":")
        _kept.sink = HTTPConnection(host, int(port), timeout=10)
    body = json.dumps(event, default=str)
    _kept.sink.request("POST", "/", body, {"Content-Type": "application/json", "Idempotency-Key": event["id"]})
    answer = _kept.sink.getresponse()
    answer.read()
    status: int = answer.status
    return status


def hand_written(audit_event_id: str) -> None:
    """Do what the body of a task does that people write by hand."""
    status = post(reload(audit_event_id))
    if status != 200:
        raise RuntimeError(status)


class Repository:
    """Our half of the same: the row as an `AuditEvent`."""

    def get(self, audit_event_id: str, /) -> AuditEvent | None:
        return AuditEvent(**reload(audit_event_id))


class Sink:
    """Our half of the same: what of the event is the row, posted by the same function."""

    deadline = 10.0

    def forward(self, event: AuditEvent) -> None:
        status = post({name: getattr(event, name) for name in COLUMNS})
        if status != 200:
            reason = f"http_{status}"
            raise SinkError(reason)


def audit_forward(queue: JobQueue) -> AuditForward:
    """Bind *queue* as a host would."""
    return AuditForward(Repository(), {"siem": Route(Sink(), dispatch=Dispatch.ASYNC)}, queue=queue)
