"""The example of docs/sqlalchemy.md runs as it stands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "sqlalchemy.md"


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    """What it writes reaches the sink, and comes out."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "example.py").write_text(example, encoding="utf-8")

    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ("", 0) == (done.stderr, done.returncode)
    event = json.loads(done.stdout)
    assert ("session.create", {"method": "otp"}) == (event["action"], event["metadata"])
