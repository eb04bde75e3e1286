"""The demo does the whole job, and its check can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rich")

ROOT = Path(__file__).parent.parent.parent


def run_demo(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as its command does, with its clock fast."""
    command = [sys.executable, "-m", "examples.demo", "--rows", "200", "--speed", "2000", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)


def rows_of(output: str) -> dict[str, str]:
    """Return the lines of the final table by their first cell."""
    cells = (line.strip("│ \n").split("│") for line in output.splitlines() if "│" in line)
    return {name.strip(): value.strip() for name, value in cells}


def test_accounts_for_every_committed_row() -> None:
    """All rows are committed; 6 refused, 2 discarded, the rest delivered, none missing; and the exit status is 0."""
    run = run_demo()

    assert 0 == run.returncode, run.stderr
    rows = rows_of(run.stdout)
    assert "200" == rows["committed to the audit table"]
    assert "192" == rows["in the sink's file"]
    assert "6" == rows["cancelled: schema_mismatch"]
    assert "2" == rows["discarded: RuntimeError"]
    assert "0" == rows["missing"]
    assert "8" == rows["attempts tried again: RuntimeError"]


def test_fails_when_the_sink_lost_a_row() -> None:
    """With three lines taken out of the sink's file, the check names them missing and the exit status is 1."""
    run = run_demo("--tamper")

    assert 1 == run.returncode
    assert "3" == rows_of(run.stdout)["missing"]
    assert "NOT PROVEN" in run.stdout
