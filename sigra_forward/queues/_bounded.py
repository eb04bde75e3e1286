"""`BoundedCaller`: calls that may hang, each waited for no longer than its caller may wait."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread
from time import monotonic
from typing import Any, TypeVar

from sigra_forward._fork import forget_after_fork

MAX_THREADS = 32
"""Calls of one caller that are under way at once, those that hang included; further ones wait for one to end."""

T = TypeVar("T")


class BoundedCaller:
    """
    Makes calls on threads of its own, and gives up waiting for one that does not come back in time.

    No socket timeout covers a name that does not resolve, so a thread is what bounds a connect. A call that is given
    up on goes on in its thread to its own end. The thread used last is used first, with what it keeps for itself.
    After a fork the child opens its own threads; after `close` the next call does.
    """

    def __init__(self) -> None:
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Start anew, with no threads."""
        self._idle: list[SimpleQueue[_Call | None]] = []
        self._slots = Semaphore(MAX_THREADS)

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """
        Call *function*, in the caller's context, and return what it returns.

        Raises:
            TimeoutError: It was not back after *seconds*.
            BaseException: What *function* raised.
        """
        until = monotonic() + seconds
        slots = self._slots
        if not slots.acquire(timeout=seconds):
            msg = f"{MAX_THREADS} calls hang already"
            raise TimeoutError(msg)
        call = _Call(function)
        try:
            self._thread().put(call)
        except BaseException:  # the process can start no more threads
            slots.release()
            raise
        if not call.done.acquire(timeout=max(until - monotonic(), 0)):
            msg = f"it was not back after {seconds:g} s"
            raise TimeoutError(msg)
        if call.raised is not None:
            raise call.raised
        return call.answer  # type: ignore[no-any-return]

    def close(self) -> None:
        """Let the idle threads end."""
        while self._idle:
            self._idle.pop().put(None)

    def _thread(self) -> SimpleQueue[_Call | None]:
        try:
            return self._idle.pop()
        except IndexError:
            calls: SimpleQueue[_Call | None] = SimpleQueue()
            Thread(target=_serve, args=(calls, self._idle, self._slots), name="sigra-forward-call", daemon=True).start()
            return calls


class _Call:
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.context = copy_context()
        self.answer: Any = None
        self.raised: BaseException | None = None
        self.done = Lock()
        self.done.acquire()

    def make(self) -> None:
        try:
            self.answer = self.context.run(self.function)
        except BaseException as exc:  # noqa: BLE001 - raised again by the caller
            self.raised = exc


def _serve(calls: SimpleQueue[_Call | None], idle: list[SimpleQueue[_Call | None]], slots: Semaphore) -> None:
    while (call := calls.get()) is not None:
        call.make()
        done = call.done
        del call  # a thread that idles must not hold on to what it was given
        idle.append(calls)
        slots.release()
        done.release()
