"""After a fork the child starts anew: it owns none of its parent's threads, connections or jobs in memory."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class _Forkable(Protocol):
    def forget(self) -> None:
        """Let go of what belongs to the parent process, taking no lock and closing nothing of it."""


class _Closable(Protocol):
    def close(self) -> None:
        """Let go of what is idle. What is asked of it later it opens anew."""


_alive: WeakSet[_Forkable] = WeakSet()
_closed: WeakSet[_Closable] = WeakSet()


def forget_after_fork(owner: _Forkable) -> None:
    """Call ``owner.forget()`` in each child process, as long as *owner* lives."""
    _alive.add(owner)


def close_before_fork(owner: _Closable) -> None:
    """Call ``owner.close()`` before each fork of this process, as long as *owner* lives."""
    _closed.add(owner)


def _close_all() -> None:
    for owner in list(_closed):
        owner.close()


def _forget_all() -> None:
    for owner in list(_alive):
        owner.forget()


# Windows has no fork, and no such function.
getattr(os, "register_at_fork", dict)(before=_close_all, after_in_child=_forget_all)
