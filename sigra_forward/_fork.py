"""After a fork the child starts anew: it owns none of its parent's threads, connections or jobs in memory."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class _Forkable(Protocol):
    def forget(self) -> None:
        """Let go of what belongs to the parent process, taking no lock and closing nothing of it."""


_alive: WeakSet[_Forkable] = WeakSet()


def forget_after_fork(owner: _Forkable) -> None:
    """Call ``owner.forget()`` in each child process, as long as *owner* lives."""
    _alive.add(owner)


def _forget_all() -> None:
    for owner in list(_alive):
        owner.forget()


# Windows has no fork, and no such function.
getattr(os, "register_at_fork", dict)(after_in_child=_forget_all)
