"""
The whole job, live: a sign-in application commits audit rows, and a relay hands them to a sink that misbehaves.

Half-way the process that does both is killed with SIGKILL, and started again. Run it by ``make demo``, or
``python -m examples.demo --help``. It exits with 1 when a committed row is neither in the sink nor a dead letter.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

from rich.console import Console

from examples.demo.board import Board
from examples.demo.proof import Proof, ids_in, prove

PATIENCE = 300.0
"""Seconds in which even a slow machine is done."""


def main() -> int:
    """Run the demo and return the exit status."""
    options = read_options()
    console = Console()
    with TemporaryDirectory(prefix="sigra-forward-demo-") as folder:
        proof = run(Path(folder), options.rows, console, tamper=options.tamper)
    console.print(proof.table())
    console.print(proof.verdict())
    return 0 if proof.holds else 1


def run(folder: Path, rows: int, console: Console, *, tamper: bool) -> Proof:
    """Have *rows* audit rows committed and forwarded, with a kill half-way, and prove what became of each."""
    with Board(folder, rows, console) as board:
        host = start(folder, rows)
        try:
            wait_until(lambda: board.look().committed >= rows // 2, host)
            host.kill()
            host.wait()
            left = board.look()
            board.say(
                f"killed: {left.committed} rows committed, {left.in_file} of them in the sink's file; starting again"
            )
            host = start(folder, rows)
            wait_until(lambda: board.look().committed >= rows and board.has_settled(), host)
            board.say("all is settled: stopping")
            host.send_signal(signal.SIGTERM)
            host.wait(PATIENCE)
        finally:
            host.kill()
            host.wait()
    if tamper:
        lose_three(folder / "siem.jsonl")
    return prove(folder)


def lose_three(file: Path) -> None:
    """Take three events out of the sink's file."""
    lost = list(dict.fromkeys(ids_in(file)))[:3]
    lines = file.read_text(encoding="ascii").splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not any(id_ in line for id_ in lost)), encoding="ascii")


def start(folder: Path, rows: int) -> subprocess.Popen[bytes]:
    """Start the process that is killed later."""
    command = [sys.executable, "-m", "examples.demo.host", str(folder), str(rows)]
    return subprocess.Popen(command)  # noqa: S603 - our own program


def wait_until(condition: Callable[[], bool], host: subprocess.Popen[bytes]) -> None:
    """Look twenty times a second whether it has come to that."""
    until = monotonic() + PATIENCE
    while not condition():
        if host.poll() is not None or monotonic() > until:
            msg = f"the demo's host has ended ({host.returncode}), or is not done after {PATIENCE:g} s"
            raise RuntimeError(msg)
        sleep(0.05)


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    rows = "audit rows to commit (default: %(default)s)"
    tamper = "take three events out of the sink's file before the check, to see it fail"
    parser.add_argument("--rows", type=int, default=2000, help=rows)
    parser.add_argument("--tamper", action="store_true", help=tamper)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
