"""The demo does the whole job, and its check can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rich")

ROOT = Path(__file__).parent.parent.parent


def run_demo(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as its command does."""
    command = [sys.executable, "-m", "examples.demo", "--rows", "200", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


def rows_of(output: str) -> dict[str, int]:
    """Return the lines of the final table by their first cell."""
    return {name.strip(): int(count) for name, count in re.findall(r"│ ([a-z].*?) +│ +(\d+) │", output)}


def test_accounts_for_every_committed_row() -> None:
    """Though it is killed half-way: 6 are refused, 2 discarded, the rest delivered, none missing; the exit status is 0."""
    run = run_demo()

    assert 0 == run.returncode, run.stderr
    rows = rows_of(run.stdout)
    committed = rows["committed to the audit table"]
    assert committed >= 200
    assert (committed - 8, 6, 2, 0) == (
        rows["in the sink's file"],
        rows["cancelled: schema_mismatch"],
        rows["discarded: RuntimeError"],
        rows["missing"],
    )
    assert 10 == rows["attempts that failed: RuntimeError"]
    assert re.search(r"^killed: \d+ rows committed, \d+ of them in the sink's file; starting again$", run.stdout, re.M)
    assert f"reconcile: {committed} wanted = {committed - 8} completed + 6 cancelled + 2 discarded" in run.stdout


def test_fails_when_the_sink_lost_a_row() -> None:
    """With three events taken out of the sink's file, the check names them missing and the exit status is 1."""
    run = run_demo("--tamper")

    assert 1 == run.returncode
    assert 3 == rows_of(run.stdout)["missing"]
    assert "NOT PROVEN" in run.stdout
