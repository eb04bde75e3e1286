"""What every test has."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from sigra_forward.testing import isolate_signals

__all__ = ["isolate_signals"]

# They kill and freeze processes for minutes: `make proof` runs them.
collect_ignore = [] if os.environ.get("SIGRA_FORWARD_PROOF") else ["proof"]

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True)
def _isolated(isolate_signals: None) -> None:
    """Let no test hear the signals of another."""
