"""`BoundedCaller`: what hangs is given up on, and what it was called with comes back or is raised."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from time import monotonic
from typing import Any

import pytest

from sigra_forward._bounded import MAX_HANGING, MAX_THREADS, BoundedCaller, _Call, _Pool
from tests.support_parts import PATIENCE, InThread, python

SPAN: ContextVar[str] = ContextVar("span", default="none")

Call = Callable[[BoundedCaller, Callable[[], Any]], Any]


def _call(caller: BoundedCaller, function: Callable[[], Any]) -> Any:
    return caller.call(function, PATIENCE)


def _acall(caller: BoundedCaller, function: Callable[[], Any]) -> Any:
    async def main() -> Any:
        try:
            return False, await caller.acall(function)
        except BaseException as exc:  # out of a task it would end the loop
            return True, exc

    raised, answer = asyncio.run(main())
    if raised:
        raise answer
    return answer


@pytest.fixture(params=[_call, _acall], ids=["call", "acall"])
def call(request: pytest.FixtureRequest) -> Call:
    """Return either way to call."""
    return request.param  # type: ignore[no-any-return]


def test_returns_what_the_call_returns(call: Call) -> None:
    """The answer comes back."""
    assert 3 == call(BoundedCaller(), lambda: 1 + 2)


@pytest.mark.parametrize(
    "kind", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, StopAsyncIteration]
)
def test_raises_what_the_call_raises(call: Call, kind: type[BaseException]) -> None:
    """Whatever it raises comes out, the same object, and ends neither the thread nor a loop."""
    caller, error = BoundedCaller(), kind("why")

    def fail() -> None:
        raise error

    with pytest.raises(kind) as caught:
        call(caller, fail)

    assert (error, 42) == (caught.value, call(caller, lambda: 42))


def test_raises_what_no_coroutine_could() -> None:
    """A StopIteration comes out of the sync way as it is."""
    with pytest.raises(StopIteration):
        BoundedCaller().call(lambda: next(iter(())), PATIENCE)


@pytest.mark.parametrize("way", ["call", "acall"])
def test_an_exception_is_not_held(way: str) -> None:
    """What was raised, and all that its frames hold, is let go of at once, with no cycle for the collector to find."""
    caller = BoundedCaller()

    class Row:
        pass

    held: list[weakref.ref[Row]] = []

    def fail() -> None:
        row = Row()
        held.append(weakref.ref(row))
        raise ValueError

    async def main() -> object:
        with suppress(ValueError):
            await caller.acall(fail) if way == "acall" else caller.call(fail, PATIENCE)
        await caller.acall(int)  # its thread is at rest
        return held[0]()

    gc.disable()
    try:
        assert asyncio.run(main()) is None
    finally:
        gc.enable()


def test_gives_up_on_a_call_that_hangs() -> None:
    """It raises TimeoutError when the time is over, and the call goes on to its end."""
    go, ended = threading.Event(), threading.Event()

    def hang() -> None:
        go.wait(PATIENCE)
        ended.set()

    started = monotonic()
    with pytest.raises(TimeoutError, match=r"^it was not back after 0\.05 s$"):
        BoundedCaller().call(hang, 0.05)
    took = monotonic() - started
    go.set()

    assert (True, True) == (0.05 <= took, ended.wait(PATIENCE))


def test_the_same_thread_is_used_again(call: Call) -> None:
    """A caller that calls one thing after the other has one thread, so that a connection of that thread is reused."""
    caller = BoundedCaller()

    assert 1 == len({call(caller, threading.get_ident) for _ in range(20)})


def test_a_thread_that_hung_is_used_again_once_it_is_back() -> None:
    """What was given up on is no thread lost."""
    caller, go, back = BoundedCaller(), threading.Event(), threading.Event()
    with pytest.raises(TimeoutError):
        caller.call(partial(go.wait, PATIENCE), 0.01)
    go.set()
    while len(caller._pool._idle) < 1:
        back.wait(0.001)

    assert "sigra-forward-call" == caller.call(lambda: threading.current_thread().name, 1)
    assert 1 == len(caller._pool._idle)


def test_no_more_than_so_many_are_under_way() -> None:
    """When all threads are busy, the next call is given up on without ever being made, and works when one is back."""
    caller, go = BoundedCaller(), threading.Event()
    made: list[str] = []
    hanging = _all_threads_hang(caller, go)

    with pytest.raises(TimeoutError, match=r"^too many calls are under way, or hang$"):
        caller.call(lambda: made.append("late"), 0.05)
    go.set()

    assert [True] * MAX_THREADS == [hung.result() for hung in hanging]
    assert ([], 1) == (made, caller.call(lambda: 1, PATIENCE))


def test_calls_that_hang_take_no_room_until_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was given up on makes room for another, but only so many of them do."""
    monkeypatch.setattr("sigra_forward._bounded.MAX_THREADS", 1)
    caller, go = BoundedCaller(), threading.Event()
    for _ in range(MAX_HANGING):
        with pytest.raises(TimeoutError, match="not back after"):
            caller.call(partial(go.wait, PATIENCE), 0.001)

    with pytest.raises(TimeoutError, match="too many calls are under way, or hang"):
        caller.call(int, 0.05)
    go.set()

    assert 1 == caller.call(lambda: 1, PATIENCE)


def test_a_call_that_is_given_up_on_makes_room_for_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits does not wait for what hangs."""
    monkeypatch.setattr("sigra_forward._bounded.MAX_THREADS", 1)
    caller, go = BoundedCaller(), threading.Event()

    async def main() -> int:
        hanging, waiting = await _one_hangs_and_one_waits(caller, go)
        hanging.cancel()
        return await waiting

    answer = asyncio.run(main())
    go.set()

    assert 42 == answer


@pytest.mark.parametrize("seconds", [0, -1, -0.5])
def test_with_no_time_left_nothing_is_called(seconds: float) -> None:
    """It is given up on before it is begun."""
    made: list[int] = []

    with pytest.raises(TimeoutError, match=r"^no time was left for it$"):
        BoundedCaller().call(lambda: made.append(1), seconds)

    assert [] == made


def test_an_order_to_who_waits_gives_the_call_up() -> None:
    """A KeyboardInterrupt, or a task's time limit, that strikes while a call waits its turn: it is never made."""
    printed = python(
        """
        import os, signal, threading
        from sigra_forward import _bounded
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started without it
        _bounded.MAX_THREADS = 1
        caller, go, begun = _bounded.BoundedCaller(), threading.Event(), threading.Event()
        hanging = threading.Thread(target=caller.call, args=(lambda: (begun.set(), go.wait(30)), 30))
        hanging.start()
        begun.wait(30)

        class Waiting(dict):
            def __setitem__(self, *item):
                super().__setitem__(*item)
                threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

        pool = caller._pool
        pool._waiting = Waiting()
        try:
            caller.call(lambda: print("made"), 30)
        except KeyboardInterrupt:
            print("interrupted", len(pool._waiting))
        go.set()
        hanging.join()
        caller.call(int, 5)
        """
    )

    assert "interrupted 0" == printed.strip()


def test_a_caller_that_nobody_holds_leaves_no_thread() -> None:
    """Its threads end with it, though nobody has closed it."""
    caller = BoundedCaller()
    thread = caller.call(threading.current_thread, PATIENCE)

    del caller
    thread.join(PATIENCE)

    assert not thread.is_alive()


def test_a_call_begun_at_a_close_is_made(call: Call) -> None:
    """Whoever has taken the threads just before they were told to end still gets an answer."""
    caller = BoundedCaller()
    call(caller, int)
    pool = caller._pool
    pool.close()

    assert (42, pool) == (call(caller, lambda: 42), caller._pool)


def test_a_call_waits_on_where_no_thread_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the process can have no more threads, what waits is made by a thread that is back."""
    monkeypatch.setattr("sigra_forward._bounded.MAX_THREADS", 1)
    caller, go = BoundedCaller(), threading.Event()

    async def main() -> int:
        hanging, waiting = await _one_hangs_and_one_waits(caller, go)
        monkeypatch.setattr(threading.Thread, "start", _refuse)
        hanging.cancel()
        await asyncio.wait([hanging])
        go.set()
        return await waiting

    assert 42 == asyncio.run(main())


async def _one_hangs_and_one_waits(
    caller: BoundedCaller, go: threading.Event
) -> tuple[asyncio.Future[None], asyncio.Future[int]]:
    begun = threading.Event()

    def hang() -> None:
        begun.set()
        go.wait(PATIENCE)

    hanging = asyncio.ensure_future(caller.acall(hang))
    while not begun.is_set():
        await asyncio.sleep(0)
    waiting = asyncio.ensure_future(caller.acall(lambda: 42))
    await asyncio.sleep(0)
    return hanging, waiting


def _refuse(thread: threading.Thread) -> None:
    msg = "can't start new thread"
    raise RuntimeError(msg)


def test_a_call_that_waits_is_made_when_a_thread_is_back() -> None:
    """When all threads are busy, calls wait their turn, first come first served, and those cancelled are not made."""
    caller, go = BoundedCaller(), threading.Event()
    made: list[int] = []

    async def main() -> None:
        busy = [asyncio.ensure_future(caller.acall(partial(go.wait, PATIENCE))) for _ in range(MAX_THREADS - 1)]
        busy.append(asyncio.ensure_future(caller.acall(partial(last.wait, PATIENCE))))
        waiting = [asyncio.ensure_future(caller.acall(partial(made.append, number))) for number in range(5)]
        while len(caller._pool._waiting) < 5:
            await asyncio.sleep(0)
        waiting[2].cancel()
        await asyncio.wait([waiting[2]])
        last.set()
        await asyncio.wait(waiting)
        go.set()
        await asyncio.gather(*busy)

    last = threading.Event()
    asyncio.run(main())

    assert [0, 1, 3, 4] == made


def test_a_call_that_is_cancelled_goes_on_in_its_thread() -> None:
    """The loop does not wait for it, may be closed meanwhile, and the thread is used again."""
    caller, go, ended = BoundedCaller(), threading.Event(), threading.Event()

    def hang() -> None:
        go.wait(PATIENCE)
        ended.set()

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(caller.acall(hang), 0.01)

    asyncio.run(give_up())
    go.set()

    assert (True, 42) == (ended.wait(PATIENCE), caller.call(lambda: 42, PATIENCE))


def _all_threads_hang(caller: BoundedCaller, go: threading.Event) -> list[InThread]:
    begun = threading.Semaphore(0)

    def hang() -> bool:
        begun.release()
        return go.wait(PATIENCE)

    hanging = [InThread(caller.call, hang, PATIENCE) for _ in range(MAX_THREADS)]
    assert [True] * MAX_THREADS == [begun.acquire(timeout=PATIENCE) for _ in hanging]
    return hanging


def test_a_call_that_hangs_does_not_keep_the_process() -> None:
    """A process ends though calls hang in its threads, in either way."""
    printed = python(
        """
        import asyncio, time
        from sigra_forward._bounded import BoundedCaller
        caller = BoundedCaller()
        async def main():
            try:
                await asyncio.wait_for(caller.acall(lambda: time.sleep(3600)), 0.01)
            except asyncio.TimeoutError:
                print("given up", flush=True)
        asyncio.run(main())
        try:
            caller.call(lambda: time.sleep(3600), 0.01)
        except TimeoutError:
            print("given up")
        """
    )

    assert ["given up"] * 2 == printed.splitlines()


def test_the_call_sees_the_callers_context(call: Call) -> None:
    """Context variables, such as a tracer's span, are those of who calls."""
    token = SPAN.set("mine")
    try:
        assert "mine" == call(BoundedCaller(), SPAN.get)
    finally:
        SPAN.reset(token)


def test_close_ends_the_idle_threads() -> None:
    """After `close` no thread of it is left, and the next call starts one anew."""
    caller = BoundedCaller()
    thread = caller.call(threading.current_thread, 1)

    caller.close()
    thread.join(PATIENCE)

    assert (False, 1) == (thread.is_alive(), caller.call(lambda: 1, 1))


def test_close_ends_a_busy_thread_after_what_waits_for_it() -> None:
    """A thread that is busy at `close` ends when it is back, and makes first what was waiting for it."""
    caller, go = BoundedCaller(), threading.Event()
    hanging = _all_threads_hang(caller, go)
    waiting = InThread(caller.call, threading.current_thread, PATIENCE)
    pool = caller._pool
    while not pool._waiting:
        waiting.wait(0.001)

    caller.close()
    go.set()

    thread = waiting.result()
    thread.join(PATIENCE)
    assert (False, [True] * MAX_THREADS) == (thread.is_alive(), [hung.result() for hung in hanging])


def test_a_signal_handler_that_closes_in_the_midst_of_a_call_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it interrupts gets its answer."""
    caller = BoundedCaller()
    caller.call(int, PATIENCE)
    pool = caller._pool

    class Idle(list):  # type: ignore[type-arg]
        def pop(self, *_: Any) -> Any:
            caller.close()
            return super().pop()

    monkeypatch.setattr(pool, "_idle", Idle(pool._idle))

    assert 42 == caller.call(lambda: 42, PATIENCE)


def test_a_thread_that_cannot_start_takes_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process can have no more threads, each call says so, and the next one is not kept waiting for it."""
    caller = BoundedCaller()
    monkeypatch.setattr(threading.Thread, "start", _refuse)
    for _ in range(MAX_THREADS + 1):
        with pytest.raises(RuntimeError, match="start new thread"):
            caller.call(lambda: None, 0.01)


def test_a_child_process_has_threads_of_its_own() -> None:
    """After a fork the child calls on a thread that it has started itself."""
    printed = python(
        """
        import os, signal, warnings
        from sigra_forward._bounded import BoundedCaller
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: this process has a thread
        caller = BoundedCaller()
        caller.call(int, 1)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            print(caller.call(os.getpid, 5) == os.getpid(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        """
    )

    assert "True" == printed.strip()


def test_a_call_that_is_given_up_on_just_as_it_ends_leaves_the_count_as_it_is() -> None:
    """Its thread has been here before."""
    caller, pool = BoundedCaller(), _Pool()
    call = _Call(int, bool)
    pool.begin(call)
    until = monotonic() + PATIENCE
    while not call.is_over and monotonic() < until:
        caller.call(int, PATIENCE)

    assert (True, 0, 0) == (pool.give_up(call), pool._live, pool._hanging)
    pool.close()
