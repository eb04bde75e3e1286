"""Pytest fixtures. Import one into a ``conftest.py`` to have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sigra_forward.testing._signals import isolated_signals


@pytest.fixture
def isolate_signals() -> Iterator[None]:
    """Run the test with no subscriber on any signal of the library."""
    with isolated_signals():
        yield
