"""`BoundedCaller`: calls that may hang, on threads that keep neither their callers nor the process from going on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import SimpleQueue
from threading import Lock, RLock, Thread
from typing import Any, TypeVar

from sigra_forward._fork import forget_after_fork

MAX_THREADS = 32
"""Calls of one caller that are under way at once, those that hang included; further ones wait for one to end."""

T = TypeVar("T")


class BoundedCaller:
    """
    Makes calls on threads of its own, each waited for no longer than its caller will.

    No socket timeout covers a name that does not resolve, so a thread is what bounds a connect. A call that is given
    up on goes on in its thread to its own end, and one that had not begun yet is never made. The thread used last is
    used first, with what it keeps for itself. No thread keeps the process from ending, which the pools of
    `concurrent.futures` do. After a fork the child opens its own threads; after `close` the next call does.
    """

    def __init__(self) -> None:
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Start anew, with no threads."""
        self._pool = _Pool()

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """
        Call *function*, in the caller's context, and return what it returns.

        Raises:
            TimeoutError: It was not back after *seconds*.
            RuntimeError: The process can start no more threads.
            BaseException: What *function* raised.
        """
        done = Lock()
        done.acquire()
        call, pool = _Call(function, done.release), self._pool
        pool.begin(call)
        if not done.acquire(timeout=seconds):
            has_begun = pool.give_up(call)
            msg = f"it was not back after {seconds:g} s" if has_begun else f"{MAX_THREADS} calls hang already"
            raise TimeoutError(msg)
        return call.result()  # type: ignore[no-any-return]

    async def acall(self, function: Callable[[], T]) -> T:
        """Call *function* as `call` does, from an event loop. Cancelling gives it up."""
        from asyncio import get_running_loop

        loop = get_running_loop()
        done = loop.create_future()

        def wake() -> None:
            if not done.done():  # it is, where the caller was cancelled
                done.set_result(None)

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(wake)

        call, pool = _Call(function, tell), self._pool
        pool.begin(call)
        try:
            await done
        except BaseException:
            pool.give_up(call)
            raise
        return call.result()  # type: ignore[no-any-return]

    def close(self) -> None:
        """Let the threads end, each when it has nothing more to do."""
        pool, self._pool = self._pool, _Pool()
        pool.close()


class _Pool:
    """The threads of a caller between two of its forks or closes."""

    def __init__(self) -> None:
        self._lock = RLock()  # a signal handler may come back in the midst of it
        self._idle: list[SimpleQueue[_Call | None]] = []
        self._waiting: dict[_Call, None] = {}
        self._threads = 0
        self._is_closed = False

    def begin(self, call: _Call) -> None:
        """Have a thread make *call*, now or when one is free."""
        with self._lock:
            with suppress(IndexError):
                self._idle.pop().put(call)
                return
            if self._threads >= MAX_THREADS:
                self._waiting[call] = None
                return
            Thread(target=self._serve, args=(call,), name="sigra-forward-call", daemon=True).start()
            self._threads += 1

    def give_up(self, call: _Call) -> bool:
        """See that *call* is not begun any more, and tell whether it had been."""
        with self._lock:
            return self._waiting.pop(call, call) is call

    def close(self) -> None:
        """Let the threads end, each when it has nothing more to do."""
        with self._lock:
            self._is_closed = True
            while self._idle:
                self._idle.pop().put(None)

    def _serve(self, call: _Call | None) -> None:
        calls: SimpleQueue[_Call | None] = SimpleQueue()
        while call is not None:
            call.make()
            tell = call.tell
            del call  # a thread that idles must not hold on to what it was given
            self._offer(calls)
            tell()
            del tell
            call = calls.get()

    def _offer(self, calls: SimpleQueue[_Call | None]) -> None:
        """See that what is to be done next is, or will be, in *calls*: a call that waits, or the end."""
        with self._lock:
            if self._waiting:
                call = next(iter(self._waiting))
                del self._waiting[call]
                calls.put(call)
            elif self._is_closed:
                calls.put(None)
            else:
                self._idle.append(calls)


class _Call:
    def __init__(self, function: Callable[[], Any], tell: Callable[[], Any]) -> None:
        self._function = function
        self._context = copy_context()
        self._ended: tuple[bool, Any] = (True, None)
        self.tell = tell

    def make(self) -> None:
        self._ended = _tried(self._context, self._function)

    def result(self) -> Any:
        """Return what was returned, or raise what was raised; once, so that no exception is held by its own frames."""
        (raised, answer), self._ended = self._ended, (True, None)
        try:
            if raised:
                raise answer
            return answer
        finally:
            del answer


def _tried(context: Context, function: Callable[[], Any]) -> tuple[bool, Any]:
    """Return whether *function* raised, and what."""
    try:
        return False, context.run(function)
    except BaseException as exc:  # noqa: BLE001 - raised again by the caller
        return True, exc
