"""`BoundedCaller`: calls that may hang, on threads that keep neither their callers nor the process from going on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from queue import SimpleQueue
from threading import Lock, RLock, Thread
from typing import Any, TypeVar

from sigra_forward._fork import forget_after_fork

MAX_THREADS = 128
"""Calls of one caller that are under way at once and waited for; further ones wait for one to end."""

MAX_HANGING = 32
"""Calls that were given up on and go on all the same; with so many of them, further ones wait for one to end."""

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
            TimeoutError: It was not back after *seconds*, or has not even begun, for too many others are under way.
            RuntimeError: The process can start no more threads.
            BaseException: What *function* raised.
        """
        if seconds <= 0:
            msg = "no time was left for it"
            raise TimeoutError(msg)
        done = Lock()
        done.acquire()
        call, pool = _Call(function, done.release), self._pool
        pool.begin(call)
        try:
            is_back = done.acquire(timeout=seconds)
        except BaseException:
            pool.give_up(call)
            raise
        if not is_back:
            has_begun = pool.give_up(call)
            msg = f"it was not back after {seconds:g} s" if has_begun else "too many calls are under way, or hang"
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

    def __del__(self) -> None:
        self._pool.close()


class _Pool:
    """The threads of a caller between two of its forks or closes."""

    def __init__(self) -> None:
        self._lock = RLock()  # a signal handler may come back in the midst of it
        self._idle: list[SimpleQueue[_Call | None]] = []
        self._waiting: dict[_Call, None] = {}
        self._live = 0
        self._hanging = 0
        self._is_closed = False

    def begin(self, call: _Call) -> None:
        """Have a thread make *call*, now or when there is room."""
        with self._lock:
            if self._waiting or not self._has_room():
                self._waiting[call] = None
            else:
                self._make(call)

    def give_up(self, call: _Call) -> bool:
        """See that *call* is not begun any more, and tell whether it had been. If it goes on, it takes no room."""
        with self._lock:
            if call in self._waiting:
                del self._waiting[call]
                return False
            if not call.is_over:
                call.is_hanging = True
                self._hanging += 1
                self._live -= 1
                self._go_on()
            return True

    def close(self) -> None:
        """Let the threads end, each when it has nothing more to do."""
        with self._lock:
            self._is_closed = True
            self._end_idle()

    def _has_room(self) -> bool:
        return self._live < MAX_THREADS and self._hanging < MAX_HANGING

    def _go_on(self) -> None:
        """Make the calls that wait, as far as there is room."""
        with suppress(RuntimeError):  # no thread is to be had: they wait on
            while self._waiting and self._has_room():
                call = next(iter(self._waiting))
                self._make(call)
                del self._waiting[call]

    def _end_idle(self) -> None:
        while self._idle:
            self._idle.pop().put(None)

    def _make(self, call: _Call) -> None:
        self._live += 1
        try:
            self._idle.pop().put(call)
        except IndexError:
            try:
                Thread(target=self._serve, args=(call,), name="sigra-forward-call", daemon=True).start()
            except BaseException:
                self._live -= 1
                raise

    def _serve(self, call: _Call | None) -> None:
        calls: SimpleQueue[_Call | None] = SimpleQueue()
        while call is not None:
            call.make()
            self._end(call, calls)
            tell = call.tell
            del call  # a thread that idles must not hold on to what it was given
            tell()
            del tell
            call = calls.get()

    def _end(self, call: _Call, calls: SimpleQueue[_Call | None]) -> None:
        """Take the thread of *call* for idle, whose next call is, or will be, in *calls*; or its end."""
        with self._lock:
            call.is_over = True
            if call.is_hanging:
                self._hanging -= 1
            else:
                self._live -= 1
            self._idle.append(calls)
            self._go_on()
            if self._is_closed:
                self._end_idle()


class _Call:
    def __init__(self, function: Callable[[], Any], tell: Callable[[], Any]) -> None:
        self._function = function
        self._context = copy_context()
        self._ended: tuple[bool, Any] = (True, None)
        self.tell = tell
        self.is_over = False
        self.is_hanging = False

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
