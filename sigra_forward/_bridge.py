"""`Bridge`: async ports for sync callers, and sync ports for async callers, on threads of the library's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from threading import RLock, Thread, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from sigra_forward._awaitables import close_if_awaitable, is_awaitable
from sigra_forward._fork import forget_after_fork
from sigra_forward.errors import ConfigurationError, SinkError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

    from sigra_forward._bounded import BoundedCaller
    from sigra_forward._steps import ACall

T = TypeVar("T")

STOP_TIMEOUT = 5.0
"""Seconds that `Bridge.close` waits for a coroutine that does not heed its cancellation."""


class Bridge:
    """
    A loop thread, and threads for each port, opened with its first use.

    After a fork the child opens its own. After `close` the next use opens them anew.

    Args:
        isolated: Whether each port has threads of its own, so that one that hangs takes no thread from the others.
            The ports must then live as long as the bridge.
    """

    def __init__(self, *, isolated: bool = False) -> None:
        self._isolated = isolated
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Start anew: nothing is open."""
        self._lock = RLock()  # a signal handler may come back in the midst of it, to close or to announce
        self._loop: AbstractEventLoop | None = None
        self._loop_thread: Thread | None = None
        self._callers: dict[int | None, BoundedCaller] = {}

    def call(self, port: Callable[[Any], Any], argument: Any, deadline: float | None) -> Any:
        """Call *port*; await what it gives on the loop thread, for *deadline* seconds at most."""
        answer = port(argument)
        return self._wait(answer, deadline) if answer is not None and is_awaitable(answer) else answer

    async def acall(self, port: Callable[[Any], Any], argument: Any, deadline: float | None = None) -> Any:
        """Await *port*, which keeps its own deadline; where it is sync, run it in a thread."""
        if iscoroutinefunction(port):
            return await port(argument)
        answer = await self._threads(port).acall(lambda: port(argument))
        return await answer if is_awaitable(answer) else answer

    def close(self) -> None:
        """Stop the threads. What runs on the loop is cancelled, what runs in a thread is left to end."""
        with self._lock:
            loop, thread, callers = self._loop, self._loop_thread, self._callers
            self._loop = self._loop_thread = None
            self._callers = {}
        for caller in callers.values():
            caller.close()
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            if thread.ident != get_ident():
                thread.join(STOP_TIMEOUT)

    def _wait(self, awaitable: Awaitable[Any], deadline: float | None) -> Any:
        from asyncio import CancelledError, run_coroutine_threadsafe

        thread = self._loop_thread
        if thread is not None and thread.ident == get_ident():
            close_if_awaitable(awaitable)
            msg = "a sync method was called on the library's own loop, and would wait for itself: use its async twin"
            raise ConfigurationError(msg)
        answering = _awaited(awaitable)
        try:
            with self._lock:  # so that `close` comes after it, and cancels it, or before it
                loop = self._running_loop()
                future = run_coroutine_threadsafe(answering, loop)
        except BaseException:  # no thread is to be had, or a signal handler has closed the loop just now
            answering.close()
            close_if_awaitable(awaitable)
            raise
        try:
            raised, answer = future.result(deadline)
        except BaseException:
            future.cancel()
            raise
        if raised and issubclass(type(answer), CancelledError) and loop is not self._loop:
            reason, why = "closed", "the AuditForward was closed before the answer came"
            raise SinkError(reason, detail=why)
        if raised:
            raise answer
        return answer

    def _running_loop(self) -> AbstractEventLoop:
        if self._loop is None:
            from asyncio import new_event_loop

            loop = new_event_loop()
            thread = Thread(target=_serve, args=(loop,), name="sigra-forward-loop", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process has too many, or is ending
                loop.close()
                raise
            self._loop, self._loop_thread = loop, thread
        return self._loop

    def _threads(self, port: object) -> BoundedCaller:
        key = id(getattr(port, "__self__", port)) if self._isolated else None
        with self._lock:
            if key not in self._callers:
                from sigra_forward._bounded import BoundedCaller

                self._callers[key] = BoundedCaller()
            return self._callers[key]


async def _awaited(awaitable: Awaitable[Any]) -> tuple[bool, Any]:
    """Return whether *awaitable* raised, and what. A `SystemExit` let through would end the loop for all others."""
    try:
        return False, await awaitable
    except BaseException as exc:  # noqa: BLE001 - raised again by the caller
        return True, exc


def _serve(loop: AbstractEventLoop) -> None:
    from asyncio import set_event_loop

    set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):  # of a task that a port started: who awaits it gets it too
            continue
        break
    loop.run_until_complete(_end())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _end() -> None:
    """Cancel all that runs on this loop, each of which has begun by now, and wait for it."""
    from asyncio import all_tasks, current_task, gather

    tasks = all_tasks() - {current_task()}
    for task in tasks:
        task.cancel()
    await gather(*tasks, return_exceptions=True)


def limited(acall: ACall, seconds: float) -> ACall:
    """Return *acall* whose calls are all over *seconds* from now: what is not back then is a `TimeoutError`."""
    until = monotonic() + seconds

    async def limited_acall(port: Callable[[Any], Any], argument: Any, deadline: float | None) -> Any:
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError
        return await within(acall(port, argument, deadline), left)

    return limited_acall


async def within(awaitable: Awaitable[T], seconds: float) -> T:
    """
    Return what *awaitable* gives.

    Raises:
        TimeoutError: It was not back after *seconds*. It is cancelled, and not waited for: an async port that does not
            heed that goes on, as a sync one does in its thread.
        BaseException: What it raised.
    """
    from asyncio import ensure_future, wait

    answering = ensure_future(_unless_ordered(awaitable))
    try:
        await wait([answering], timeout=seconds)
    finally:
        if not answering.done():
            _given_up.add(answering)
            answering.add_done_callback(_forget)
            answering.cancel()
    if not answering.done():
        raise TimeoutError
    order, answer = answering.result()
    if order is not None:
        raise order
    return answer  # type: ignore[no-any-return]


_given_up: set[Future[Any]] = set()
"""What nobody waits for any more: a loop holds its tasks weakly."""


def _forget(given_up: Future[Any]) -> None:
    _given_up.discard(given_up)
    if not given_up.cancelled():
        given_up.exception()  # or else the loop would log that nobody has asked


async def _unless_ordered(awaitable: Awaitable[Any]) -> tuple[BaseException | None, Any]:
    """Return an order to the process that *awaitable* raises: out of a task of its own, it would end the loop."""
    try:
        return None, await awaitable
    except (SystemExit, KeyboardInterrupt) as exc:
        return exc, None


_shared = Bridge()


async def acall(port: Callable[[Any], Any], argument: Any, deadline: float | None) -> Any:
    """Await *port* as the bare `aperform` does: on threads that the whole process shares."""
    return await _shared.acall(port, argument, deadline)
