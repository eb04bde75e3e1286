"""`SupervisedProcess`: started again when it dies, killed with all its children, stopped when it is asked."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from sigra_forward.testing import SupervisedProcess
from sigra_forward.testing._processes import _has_pending
from tests.support_parts import PATIENCE

PARENT = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("started", os.getpid(), child.pid, os.environ["GREETING"], flush=True)
{}
time.sleep(600)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    until = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < until, "it never came about"
        sleep(0.005)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that waits for its parent to notice its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids(process: SupervisedProcess) -> list[int]:
    """Return the ids of the parents and children that it has had."""
    return [int(word) for line in process.log().splitlines() if "started" in line for word in line.split()[1:3]]


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], SupervisedProcess]:
    """Return what starts a process with a child, and runs a statement of its own."""
    if not os.path.isdir("/proc/self/task"):  # noqa: PTH112 - the plainest question
        pytest.skip("needs Linux's /proc to find the children of a process")

    def begin(statement: str) -> SupervisedProcess:
        command = [sys.executable, "-c", PARENT.format(statement)]
        return SupervisedProcess(command, tmp_path, {"GREETING": "hello"}, "its.log")

    return begin


def test_runs_with_its_environment(start: Callable[[str], SupervisedProcess]) -> None:
    """It has what the environment says, and its output is in the log."""
    with start("") as process:
        wait_for(lambda: "hello" in process.log())

        assert (process.pid, 1) == (pids(process)[0], process.starts)


def test_is_started_again_when_it_ends(start: Callable[[str], SupervisedProcess]) -> None:
    """As a supervisor does, it starts another when one ends by itself, whatever the exit code."""
    with start("os.kill(child.pid, signal.SIGKILL); os._exit(0)") as process:
        wait_for(lambda: process.starts >= 3)


def test_kill_takes_the_children_along(start: Callable[[str], SupervisedProcess]) -> None:
    """Kill -9 reaches every process of the worker, and then another worker is started."""
    with start("") as process:
        wait_for(lambda: len(pids(process)) == 2)
        process.kill()
        wait_for(lambda: len(pids(process)) == 4)

        wait_for(lambda: [False, False, True, True] == [is_alive(pid) for pid in pids(process)])
        assert process.killed_at > 0


def test_stop_is_a_terminate(start: Callable[[str], SupervisedProcess]) -> None:
    """It is asked to stop, may finish what it does, and is not started again; its children do not outlive it."""
    finish = "signal.signal(signal.SIGTERM, lambda *_: (print('finished', flush=True), os._exit(0)))"
    with start(f"{finish}; print('ready', flush=True)") as process:
        wait_for(lambda: "ready" in process.log())

        process.stop()

        assert ("finished", 1) == (process.log().split()[-1], process.starts)
        wait_for(lambda: not any(map(is_alive, pids(process))))


def test_asked_to_stop_it_has_taken_notice(start: Callable[[str], SupervisedProcess]) -> None:
    """A process is asked once, goes on with what it does until then, and is waited for by `stop`."""
    note = "signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))"
    wait = "[time.sleep(0.001) for _ in iter(lambda: os.path.exists('go'), True)]; os._exit(0)"
    with start(f"{note}; print('ready', flush=True); {wait}") as process:
        wait_for(lambda: "ready" in process.log())

        process.ask_to_stop()
        wait_for(lambda: "asked" in process.log())
        assert is_alive(process.pid)
        process._log.with_name("go").touch()
        process.stop()

        assert (1, 1, False) == (process.log().count("asked"), process.starts, is_alive(process.pid))


def test_a_process_that_is_busy_is_waited_for(start: Callable[[str], SupervisedProcess]) -> None:
    """As long as the kernel has not handed the request over, nobody has taken notice."""
    block, unblock = (f"signal.pthread_sigmask(signal.SIG_{how}, [signal.SIGTERM])" for how in ("BLOCK", "UNBLOCK"))
    note = "signal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), os._exit(0)))"
    with start(f"{note}; {block}; print('ready', flush=True); time.sleep(0.1); {unblock}") as process:
        wait_for(lambda: "ready" in process.log())

        process.ask_to_stop()
        process.stop()

        assert 1 == process.log().count("asked")


def test_a_process_that_is_gone_has_nothing_pending() -> None:
    """There is nobody to take notice."""
    assert not _has_pending(2**22 + 1, signal.SIGTERM)


def test_nothing_is_left_behind(start: Callable[[str], SupervisedProcess]) -> None:
    """At the end of the block it is gone, and so are its children."""
    with start("") as process:
        wait_for(lambda: len(pids(process)) == 2)

    wait_for(lambda: not any(map(is_alive, pids(process))))
