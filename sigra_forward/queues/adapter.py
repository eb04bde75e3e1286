"""
What a queue adapter is made of: for those who write one. A queue's users need nothing of it.

An adapter registers one task with its library, `TASK_NAME`, whose body is `Binding.perform` and a translation of
``result.settlement`` into the library's own words. See docs/adapters.md.
"""

from __future__ import annotations

from sigra_forward._bounded import BoundedCaller
from sigra_forward._dependencies import require
from sigra_forward._fork import forget_after_fork
from sigra_forward._settle import seconds
from sigra_forward.queues._binding import (
    BIND_LOCK,
    DEFAULT_QUEUE,
    ENQUEUE_TIMEOUT,
    TASK_NAME,
    Binding,
    ending,
    not_enqueued,
    why,
)
from sigra_forward.queues._places import MAX_CONNECTIONS, Places

__all__ = [
    "BIND_LOCK",
    "DEFAULT_QUEUE",
    "ENQUEUE_TIMEOUT",
    "MAX_CONNECTIONS",
    "TASK_NAME",
    "Binding",
    "BoundedCaller",
    "Places",
    "ending",
    "forget_after_fork",
    "not_enqueued",
    "require",
    "seconds",
    "why",
]
