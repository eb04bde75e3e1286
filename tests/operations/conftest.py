"""The lane that an operator works at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operations.support_operations import OperatedWorld


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Give a lane that has begun, an hour ago."""
    world = OperatedWorld(tmp_path, is_async=request.param)
    world.run(0)
    world.clock.advance(3600)
    yield world
    world.operated.close()
