"""A host that commits a row, and is killed when it goes to put the job on the queue."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from sqlalchemy import insert

from sigra_forward import AuditForward, Route
from tests.proof.support_setting import LONG_AGO, Collector, Setting, audit_events, row


class Queue:
    """Nothing ever reaches it."""

    def bind(self, audit_forward: object) -> None:
        """Take note of nothing."""

    def enqueue(self, args: Any) -> None:
        """End the process, as the kernel does when memory is short."""
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Commit one row, and dispatch it."""
    setting = Setting.read(sys.argv[1])
    repository = setting.repository()
    forwarders = {"siem": Route(Collector(setting.port, {}), since=LONG_AGO)}
    host = AuditForward(repository=repository, ledger=setting.the_ledger(), forwarders=forwarders, queue=Queue())
    engine = setting.engine()
    with engine.begin() as connection:
        connection.execute(insert(audit_events).values(row("committed", 1)))
    host.dispatch(repository.get("committed"))


if __name__ == "__main__":
    main()
