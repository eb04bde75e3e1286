"""Helpers for the tests of the stock parts: other Python processes, and waiting for what they do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from textwrap import dedent
from threading import Event, Thread
from time import monotonic

PATIENCE = 30.0
"""Seconds after which a test gives up on another process or thread."""


def python(code: str, *arguments: object, is_ok: bool = True) -> str:
    """Run *code* in a Python of its own, where warnings are errors, and return what it printed."""
    done = subprocess.run(_command(code, arguments), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert is_ok == (done.returncode == 0), done.stdout + done.stderr
    return done.stdout + ("" if is_ok else done.stderr)


def python_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start *code* in a Python of its own, with pipes to its input and from its output."""
    return subprocess.Popen(_command(code, arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _command(code: str, arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-W", "error", "-c", dedent(code), *map(str, arguments)]


class InThread:
    """Calls *function* in a thread, at once; `result` waits for what it returns or raises."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._function = function
        self._arguments = arguments
        self._returned: object = None
        self._raised: BaseException | None = None
        self._done = Event()
        Thread(target=self._call, daemon=True).start()

    def _call(self) -> None:
        try:
            self._returned = self._function(*self._arguments)
        except BaseException as exc:
            self._raised = exc
        finally:
            self._done.set()

    @property
    def is_done(self) -> bool:
        """Tell whether it has returned or raised."""
        return self._done.is_set()

    def wait(self, seconds: float) -> None:
        """Wait for it, but no longer than so many *seconds*."""
        self._done.wait(seconds)

    def result(self) -> object:
        """Wait, and return or raise."""
        assert self._done.wait(PATIENCE), "it is not back"
        if self._raised is not None:
            raise self._raised
        return self._returned


def wait_until(fits: Callable[[], object]) -> None:
    """Wait until *fits* says yes."""
    tick = Event()
    until = monotonic() + PATIENCE
    while not fits():
        assert monotonic() < until, "it never came to that"
        tick.wait(0.001)
