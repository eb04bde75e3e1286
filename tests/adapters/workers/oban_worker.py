"""What an Oban worker of the contract imports: the adapter bound, or unbound."""

from __future__ import annotations

import asyncio
import os
import time
from itertools import count
from typing import Any

from sigra_forward import AuditEvent, SinkError
from sigra_forward.testing import workbench
from sigra_forward_oban import ObanQueue

RESCUE_AFTER = 4
"""Seconds: a job may take 2, and be written down in 2 more."""

HANGS_FOR = 12.0
"""Seconds: the bench's deadline is one."""

PREFIX = "bench"

_numbers = count()


def make_queue(dsn: str, queue: str) -> ObanQueue:
    """Return an ObanQueue for an Oban instance of its own, since a test binds several in one process."""
    return ObanQueue(dsn, prefix=PREFIX, queue=queue, rescue_after=RESCUE_AFTER, oban=f"Oban {next(_numbers)}")


def _hang(bench: workbench.Workbench, event: AuditEvent, run: int) -> None:
    """Hang, but not for as long as the bench does: the thread holds up the end of its process."""
    time.sleep(HANGS_FOR)
    reason = "hung"
    raise SinkError(reason)


async def _forward(sink: Any, event: AuditEvent) -> None:
    """Hang as an async forwarder does, which awaits: one that blocks would block Oban itself, like any async job."""
    await asyncio.sleep(HANGS_FOR if sink._behave is _hang else 0)
    workbench._Sink.forward(sink, event)


if "BENCH_PREFIX" in os.environ:
    workbench._AsyncSink.forward = _forward
    workbench._BEHAVIOURS["slow"] = _hang
    queue = make_queue(os.environ["BENCH_OBAN_DSN"], os.environ["BENCH_PREFIX"])
    if os.environ["BENCH_KIND"] == "bound":
        audit_forward = workbench.audit_forward(queue, os.environ["BENCH_PREFIX"])
