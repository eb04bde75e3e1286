"""`SupervisedProcess`: a worker as a host runs it, started again when it dies, which a test may kill."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from time import monotonic, sleep, time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

STOP_TIMEOUT = 30.0
"""Seconds that a worker has to stop when it is asked to."""


class SupervisedProcess:
    """
    A process that is started again whenever it ends by itself, with its output in a file.

    Args:
        command: The program and its arguments.
        folder: Its working directory, where its log is too.
        environment: Added to this process's own.
        log: The log's name.

    Attributes:
        starts: How often it was started.
        killed_at: The moment (`time.time`) of the last `kill`.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: str = "worker.log"
    ) -> None:
        self._command = list(command)
        self._folder = folder
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._log = folder / log
        self._stopping = False
        self._starting = Lock()
        self.starts = 0
        self.killed_at = 0.0
        self._process = self._start()
        self._supervisor = Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    @property
    def pid(self) -> int:
        """Return the process id of the worker that runs now."""
        return self._process.pid

    def log(self) -> str:
        """Return what all its processes have printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """Kill the worker and every process of it at once, as the kernel does when memory is short."""
        pids = [self.pid, *_descendants(self.pid)]
        self.killed_at = time()
        for pid in pids:
            _signal(pid, signal.SIGKILL)

    def ask_to_stop(self) -> None:
        """Ask the worker to stop, wait until it has taken notice, and start no other."""
        with self._starting:
            self._stopping = True
        self._process.terminate()
        until = monotonic() + STOP_TIMEOUT
        while _has_pending(self.pid, signal.SIGTERM) and monotonic() < until:
            sleep(0.001)

    def stop(self) -> None:
        """Ask the worker to stop, if it was not asked yet, and wait until it has."""
        pids = _descendants(self.pid)
        if not self._stopping:
            self.ask_to_stop()
        try:
            self._process.wait(STOP_TIMEOUT)
        finally:
            self.end(pids)

    def end(self, pids: Sequence[int] = ()) -> None:
        """Leave nothing of it behind."""
        with self._starting:
            self._stopping = True
        for pid in [self.pid, *_descendants(self.pid), *pids]:
            _signal(pid, signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT)
        self._supervisor.join(STOP_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the command is the test's own
                self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def _supervise(self) -> None:
        while True:
            self._process.wait()
            with self._starting:
                if self._stopping:
                    return
                self._process = self._start()


def _descendants(pid: int) -> list[int]:
    children = []
    with suppress(OSError):  # it is gone
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return [found for child in children for found in (child, *_descendants(child))]


def _has_pending(pid: int, number: int) -> bool:
    """Tell whether the kernel has yet to hand a signal over."""
    with suppress(OSError):  # it is gone
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        pending = next(line for line in status.splitlines() if line.startswith("ShdPnd:"))
        return bool(int(pending.split()[1], 16) >> (number - 1) & 1)
    return False


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
