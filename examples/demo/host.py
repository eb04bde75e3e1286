"""
The process that is killed: a sign-in application, with its relay on a thread beside it.

Run as ``python -m examples.demo.host FOLDER ROWS``. It commits until there are so many rows, then one now and then, as
an application at night, and ends on SIGTERM.
"""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from examples.demo.application import SignInApplication
from examples.demo.sink import MisbehavingForwarder
from sigra_forward import AuditForward, Relay, RetryPolicy, Route
from sigra_forward.sinks import JSONLForwarder
from sigra_forward.stores import SQLiteAuditRepository, SQLiteLedger

VISITORS = 4
"""Threads that sign in at once."""

PATIENT_FOR = RetryPolicy(max_attempts=5, max_delay=1, horizon=2)
"""A second between two attempts, and two until an event is given up; by default it is minutes, and three days."""


def audit_forward(folder: Path) -> AuditForward:
    """Bind the application's audit table, the sink and the ledger. Nothing else connects them."""
    ledger = SQLiteLedger(folder / "ledger.db")
    ledger.create()
    siem = MisbehavingForwarder(JSONLForwarder(folder / "siem.jsonl"))
    repository = SQLiteAuditRepository(folder / "application.db")
    return AuditForward(repository, {"siem": Route(siem, policy=PATIENT_FOR)}, ledger=ledger)


def main() -> None:
    """Commit, and relay what is committed."""
    folder, rows = Path(sys.argv[1]), int(sys.argv[2])
    is_over = Event()
    signal.signal(signal.SIGTERM, lambda *_: is_over.set())
    application = SignInApplication(folder / "application.db")
    with audit_forward(folder) as host:
        # A killed relay's lane is free after two seconds, and rows that come before all others are swept up in five.
        relay = Relay(host, poll=0.1, lease=2, probe_interval=0.5, daily=5)
        with relay, ThreadPoolExecutor(VISITORS) as visitors:
            list(visitors.map(application.sign_in, sorted(set(range(rows)) - application.visits())))
            while not is_over.wait(0.5):
                application.sign_in(rows)
        relay.run_once()  # what was committed last


if __name__ == "__main__":
    main()
