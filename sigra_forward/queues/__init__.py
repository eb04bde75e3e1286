"""Job queues that need no library."""

from __future__ import annotations

from sigra_forward.queues._in_process import InProcessQueue

__all__ = ["InProcessQueue"]
