"""`Places`: how many connections an adapter has open at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from sigra_forward._fork import forget_after_fork

MAX_CONNECTIONS = 16
"""Connections that one adapter has open in a process; enqueues that find all in use wait for one, in their own time."""


class Places:
    """
    One place for each connection that may be in use.

    A signal handler may come back in the midst of taking one. After a fork the child has all of them free.
    """

    def __init__(self) -> None:
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Start anew: no connection is in use."""
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(MAX_CONNECTIONS):
            self._free.put(None)

    @property
    def free(self) -> int:
        """Return how many are free."""
        return self._free.qsize()

    @contextmanager
    def one(self, seconds: float) -> Iterator[None]:
        """
        Have one place, waiting *seconds* for it at most.

        Raises:
            TimeoutError: All were in use for so long.
        """
        free = self._free
        try:
            free.get(timeout=max(seconds, 0))
        except Empty:
            msg = f"all {MAX_CONNECTIONS} connections are in use"
            raise TimeoutError(msg) from None
        try:
            yield
        finally:
            free.put(None)
