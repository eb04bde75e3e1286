"""`BoundedCaller`: what hangs is given up on, and what it was called with comes back or is raised."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from functools import partial
from time import monotonic

import pytest

from sigra_forward.queues._bounded import MAX_THREADS, BoundedCaller
from tests.support_parts import PATIENCE, InThread, python

SPAN: ContextVar[str] = ContextVar("span", default="none")


def test_returns_what_the_call_returns() -> None:
    """The answer comes back."""
    assert 3 == BoundedCaller().call(lambda: 1 + 2, 1)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, StopIteration])
def test_raises_what_the_call_raises(kind: type[BaseException]) -> None:
    """Whatever it raises comes out of `call`, the same object."""
    error = kind("why")

    def fail() -> None:
        raise error

    with pytest.raises(kind) as caught:
        BoundedCaller().call(fail, 1)

    assert error is caught.value


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


def test_the_same_thread_is_used_again() -> None:
    """A caller that calls one thing after the other has one thread, so that a connection of that thread is reused."""
    caller = BoundedCaller()

    assert 1 == len({caller.call(threading.get_ident, 1) for _ in range(20)})


def test_a_thread_that_hung_is_used_again_once_it_is_back() -> None:
    """What was given up on is no thread lost."""
    caller, go, back = BoundedCaller(), threading.Event(), threading.Event()
    with pytest.raises(TimeoutError):
        caller.call(partial(go.wait, PATIENCE), 0.01)
    go.set()
    while len(caller._idle) < 1:
        back.wait(0.001)

    assert "sigra-forward-call" == caller.call(lambda: threading.current_thread().name, 1)
    assert 1 == len(caller._idle)


def test_no_more_than_so_many_hang() -> None:
    """When all threads hang, the next call is given up on without a thread, and works when one is back."""
    caller, go = BoundedCaller(), threading.Event()
    hanging = [InThread(caller.call, partial(go.wait, PATIENCE), PATIENCE) for _ in range(MAX_THREADS)]
    until = monotonic() + PATIENCE
    while caller._slots._value > 0 and monotonic() < until:  # type: ignore[attr-defined]
        hanging[0].wait(0.001)

    with pytest.raises(TimeoutError, match=rf"^{MAX_THREADS} calls hang already$"):
        caller.call(lambda: None, 0.05)
    go.set()

    assert [True] * MAX_THREADS == [hung.result() for hung in hanging]
    assert 1 == caller.call(lambda: 1, PATIENCE)


def test_the_call_sees_the_callers_context() -> None:
    """Context variables, such as a tracer's span, are those of who calls."""
    SPAN.set("mine")

    assert "mine" == BoundedCaller().call(SPAN.get, 1)


def test_close_ends_the_idle_threads() -> None:
    """After `close` no thread of it is left, and the next call starts one anew."""
    caller = BoundedCaller()
    thread = caller.call(threading.current_thread, 1)

    caller.close()
    thread.join(PATIENCE)

    assert (False, 1) == (thread.is_alive(), caller.call(lambda: 1, 1))


def test_a_thread_that_cannot_start_takes_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process can have no more threads, each call says so, and the next one is not kept waiting for it."""
    caller = BoundedCaller()

    def refuse(thread: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(MAX_THREADS + 1):
        with pytest.raises(RuntimeError, match="start new thread"):
            caller.call(lambda: None, 0.01)


def test_a_child_process_has_threads_of_its_own() -> None:
    """After a fork the child calls on a thread that it has started itself."""
    printed = python(
        """
        import os, signal, warnings
        from sigra_forward.queues._bounded import BoundedCaller
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
