"""The README's example runs as it stands, and its commands exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    """The first Python block, run in an empty folder, prints the event that it committed."""
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]

    run = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ("", 0) == (run.stderr, run.returncode)
    assert "session.create" == json.loads(run.stdout)["action"]


@pytest.mark.parametrize("page", ["relay.md"])
def test_the_example_of_a_page_runs_as_it_stands(page: str, tmp_path: Path) -> None:
    """The first Python block of a page prints the event that it committed."""
    path = ROOT / "docs" / page
    if not path.exists():  # run against the wheel, the sources out of reach
        return
    example = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)[0]

    run = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ("", 0) == (run.stderr, run.returncode)
    assert "session.create" == json.loads(run.stdout)["action"]


def test_the_example_is_about_twenty_lines() -> None:
    """The example's body, its imports aside, is short enough to be read."""
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]

    lines = [line for line in example.splitlines() if line.strip()]

    assert len(lines) <= 21


@pytest.mark.parametrize("command", ["demo", "test"])
def test_the_commands_are_targets(command: str) -> None:
    """`make demo` and `make test` stand in the README as they do in the Makefile."""
    makefile = ROOT / "Makefile"
    if not makefile.exists():  # run against the wheel, the sources out of reach
        return

    assert f"make {command} " in README
    assert re.search(rf"^{command}:", makefile.read_text(encoding="utf-8"), re.MULTILINE)
