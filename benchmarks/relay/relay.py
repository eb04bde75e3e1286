"""One relay in a process of its own: it says when it is ready, and how long it took."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from http.client import HTTPConnection
from threading import Event
from time import perf_counter, process_time
from typing import Any

from sqlalchemy import create_engine

from sigra_forward import AuditEvent, AuditForward, Relay, Route, SinkError
from sigra_forward.__main__ import collecting_seldom
from sigra_forward.sinks import json_texts
from sigra_forward.telemetry import Delivered
from sigra_forward_sqlalchemy import SQLAlchemyAuditRepository, SQLAlchemyLedger

LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)


class HTTPBatchForwarder:
    """Posts JSON, on one connection that is kept."""

    max_events = 2000

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def forward(self, event: AuditEvent) -> None:
        self.forward_batch([event])

    def forward_batch(self, events: Sequence[AuditEvent]) -> None:
        body = f"[{','.join(json_texts(events))}]".encode()
        self._connection.request("POST", "/events", body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        response.read()
        if response.status != 200:
            msg = f"http_{response.status}"
            raise SinkError(msg)


class Counter:
    """Tells when so many were delivered."""

    def __init__(self) -> None:
        self.goal, self.count = 0, 0
        self.is_reached = Event()

    def emit(self, event: object) -> None:
        self.count += type(event) is Delivered
        if self.count == self.goal:
            self.is_reached.set()


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    dsn, port, events = (
        sys.argv[1].replace("postgresql://", "postgresql+psycopg://"),
        int(sys.argv[2]),
        int(sys.argv[3]),
    )
    engine = create_engine(dsn)
    ledger = SQLAlchemyLedger(engine)
    ledger.create()
    ledger.lane("audit_events", "siem", LONG_AGO)
    say("there")
    sys.stdin.readline()
    counter = Counter()
    host = AuditForward(
        repository=SQLAlchemyAuditRepository(engine),
        ledger=ledger,
        forwarders={"siem": Route(HTTPBatchForwarder(port), since=LONG_AGO)},
        telemetry=counter,
    )
    options: dict[str, Any] = {"poll": 0.005, "rereads": (), "lease": 600}
    counter.goal = -1
    began = perf_counter()
    Relay(host, **options).run_once()  # the daily sweep
    if ledger.page(1, "", 2)[1:]:
        say({"seconds": perf_counter() - began})
    counter.goal, counter.count = events, 0
    relay = Relay(host, **options, daily=1e9).start()
    while not ledger.lanes()[0].leased_until:
        pass
    say("looks")
    sys.stdin.readline()
    began, cpu = perf_counter(), process_time()
    counter.is_reached.wait()
    seconds, cpu = perf_counter() - began, process_time() - cpu
    relay.stop()
    say({"seconds": seconds, "cpu": cpu, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})
    host.close()


if __name__ == "__main__":
    with collecting_seldom():  # as `python -m sigra_forward relay` does
        main()
