"""What a job written by hand may name: a worker that calls it, or only imports it, leaves a trace."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from sigra_forward.testing.workbench import VARIABLE


def leave_trace(*_: object) -> None:
    """Make a file for the test to find."""
    (Path(os.environ[VARIABLE]) / f"trace-{uuid4()}").touch()


leave_trace()
