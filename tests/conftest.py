"""What every test has."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

from sigra_forward.testing import isolate_signals

__all__ = ["isolate_signals"]

# The proofs say all that they do to a database by way of SQLAlchemy.
collect_ignore = [] if find_spec("sqlalchemy") else ["proof"]

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True)
def _isolated(isolate_signals: None) -> None:
    """Let no test hear the signals of another."""
