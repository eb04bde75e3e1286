"""What an Oban worker of the contract imports: the adapter bound, or unbound."""

from __future__ import annotations

import os
from itertools import count

from sigra_forward.testing import workbench
from sigra_forward_oban import ObanQueue

RESCUE_AFTER = 4
"""Seconds: a job may take 2, and be written down in 2 more."""

PREFIX = "bench"

_numbers = count()


def make_queue(dsn: str, queue: str) -> ObanQueue:
    """Return an ObanQueue for an Oban instance of its own, since a test binds several in one process."""
    return ObanQueue(dsn, prefix=PREFIX, queue=queue, rescue_after=RESCUE_AFTER, oban=f"Oban {next(_numbers)}")


if "BENCH_PREFIX" in os.environ:
    queue = make_queue(os.environ["BENCH_OBAN_DSN"], os.environ["BENCH_PREFIX"])
    if os.environ["BENCH_KIND"] == "bound":
        audit_forward = workbench.audit_forward(queue, os.environ["BENCH_PREFIX"])
