"""`Threads`: runs off the event loop, each awaited no longer than it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from sigra_forward.queues.adapter import forget_after_fork

MAX_HANGING = 32
"""Runs that were given up on and go on all the same; beyond that no other is begun."""

T = TypeVar("T")


class Threads:
    """
    Threads for calls from an event loop, whose heartbeat must go on whatever is called.

    A call that is given up on goes on in its thread to its own end, and does not keep the process from ending. The
    thread used last is used first, with what it keeps for itself. How many calls there are at once is the caller's
    affair; how many may hang is not.
    """

    def __init__(self) -> None:
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Start anew, with no threads."""
        self._idle: list[SimpleQueue[_Call]] = []
        self._hanging: set[_Call] = set()

    async def call(self, function: Callable[[], T], seconds: float) -> T:
        """
        Call *function*, in the caller's context, and return what it returns.

        Raises:
            TimeoutError: It was not back after *seconds*, or too many others never were.
            BaseException: What *function* raised.
        """
        if len(self._hanging) >= MAX_HANGING:
            msg = f"{MAX_HANGING} calls hang already"
            raise TimeoutError(msg)
        call = _Call(function)
        self._thread().put(call)
        try:
            await asyncio.wait([call.told], timeout=seconds)
        finally:
            if not call.told.done():
                self._give_up(call)
        if not call.told.done():
            msg = f"it was not back after {seconds:g} s"
            raise TimeoutError(msg)
        if call.raised is not None:
            raise call.raised
        return call.answer  # type: ignore[no-any-return]

    def _thread(self) -> SimpleQueue[_Call]:
        try:
            return self._idle.pop()
        except IndexError:
            calls: SimpleQueue[_Call] = SimpleQueue()
            Thread(target=self._serve, args=(calls, self._idle), name="sigra-forward-job", daemon=True).start()
            return calls

    def _give_up(self, call: _Call) -> None:
        self._hanging.add(call)
        if call.is_over:  # just now, and its thread may have been here before us
            self._hanging.discard(call)

    def _serve(self, calls: SimpleQueue[_Call], idle: list[SimpleQueue[_Call]]) -> None:
        while True:
            call = calls.get()
            call.make()
            self._hanging.discard(call)
            idle.append(calls)
            call.tell()
            del call  # a thread that idles must not hold on to what it was given


class _Call:
    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self.told: asyncio.Future[None] = self._loop.create_future()
        self.is_over = False
        self.answer: Any = None
        self.raised: BaseException | None = None

    def make(self) -> None:
        try:
            self.answer = self._context.run(self._function)
        except BaseException as exc:  # noqa: BLE001 - raised again by the caller
            self.raised = exc
        self.is_over = True

    def tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self.told.set_result(None)
