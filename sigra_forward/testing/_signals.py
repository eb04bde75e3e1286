"""Keep tests from hearing each other: the signals are global to the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sigra_forward import signals


@contextmanager
def isolated_signals() -> Iterator[None]:
    """Run the ``with`` block with no subscriber on any signal of the library, and bring back those that were there."""
    ours = [getattr(signals, name) for name in signals.__all__]
    before = [vars(signal) for signal in ours]
    for signal in ours:
        signal.__dict__ = vars(type(signal)(signal.name, signal.__doc__))
    try:
        yield
    finally:
        for signal, state in zip(ours, before, strict=True):
            signal.__dict__ = state
