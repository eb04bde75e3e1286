"""
The whole job, live: a sign-in application commits audit rows while they go out to a sink that misbehaves.

Run it by ``make demo``, or ``python -m examples.demo --help``. It exits with 1 when a committed row reached neither
the sink nor an end that was told.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from examples.demo.application import SignInApplication
from examples.demo.board import Board
from examples.demo.proof import Proof, prove
from examples.demo.sink import MisbehavingForwarder
from sigra_forward import AuditForward
from sigra_forward.queues import InProcessQueue
from sigra_forward.sinks import JSONLForwarder
from sigra_forward.stores import SQLiteAuditRepository
from sigra_forward.testing import ScaledClock

VISITORS = 4
"""Threads that sign in at once."""

LONGEST_BACKOFF = 514
"""Seconds, on the scaled clock, between the first attempt and the fifth, at most."""

SLOWEST_SINK = 60
"""Real seconds in which even a slow machine has made all first attempts."""


def main() -> int:
    """Run the demo and return the exit status."""
    options = read_options()
    console = Console()
    with TemporaryDirectory(prefix="sigra-forward-demo-") as folder:
        proof = run(Path(folder), options.rows, options.speed, console, tamper=options.tamper)
    console.print(proof.table())
    console.print(proof.verdict())
    return 0 if proof.holds else 1


def run(folder: Path, rows: int, speed: float, console: Console, *, tamper: bool) -> Proof:
    """Commit *rows* audit rows, forward them, stop, and prove what became of each."""
    database, file = folder / "application.db", folder / "siem.jsonl"
    application = SignInApplication(database)
    drain_timeout = LONGEST_BACKOFF + SLOWEST_SINK * speed
    audit_forward = AuditForward(
        repository=SQLiteAuditRepository(database),
        forwarders={"siem": MisbehavingForwarder(JSONLForwarder(file))},
        queue=InProcessQueue(workers=4, drain_timeout=drain_timeout, clock=ScaledClock(speed)),
    )
    audit_forward.attach(sender=application)
    with Board(rows, console) as board:
        with ThreadPoolExecutor(VISITORS) as visitors:
            list(visitors.map(application.sign_in, range(rows)))
        board.say("all committed; draining what backs off")
        audit_forward.close()
    if tamper:
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[3:]))
    return prove(database, file, board)


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    rows = "audit rows to commit (default: %(default)s)"
    speed = "how much faster than real the backoff's clock runs (default: %(default)g)"
    tamper = "take three lines out of the sink's file before the check, to see it fail"
    parser.add_argument("--rows", type=int, default=2000, help=rows)
    parser.add_argument("--speed", type=float, default=100, help=speed)
    parser.add_argument("--tamper", action="store_true", help=tamper)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
