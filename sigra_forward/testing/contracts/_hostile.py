"""What has broken adapters before: odd text, several threads at once, and calls that do not come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

HOSTILE_TEXTS = {
    "empty": "",
    "long": "x" * 100_000,
    "newline": 'a\n{"id":"forged"}\r\n',
    "separators": "a\u2028b\u2029c\x85d",
    "nul": "a\x00b",
    "escape": "\x1b[31mred\x1b[0m",
    "quotes": "'; DROP TABLE audit_events; -- \" ` \\",
    "braces": "%s %(x)s {0} ${x} {{x}}",
    "wildcard": "%",
    "surrogate": "a\ud800b",
    "astral": "🔐 ḿ̃ ﷽ مرحبا",
    "uuid_braces": "{7d44e1e5-6f3c-4e2f-8f0a-9d6d8a1b2c3d}",
    "huge_number": "9" * 400,
    "wide_digits": "\u0663\u0664",
}
"""Texts by name."""


def run_in_threads(functions: Sequence[Callable[[], object]]) -> None:
    """Call all *functions* at once, each in a thread of its own, and raise the first error."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(function) for function in functions]:
            future.result()


def within(seconds: float, function: Callable[..., object], *arguments: object) -> object:
    """
    Call *function*, and return what it returns or raise what it raises.

    Raises:
        AssertionError: It is not back after *seconds*; it is left to itself then.
    """
    from concurrent.futures import Future, wait
    from threading import Thread

    future: Future[object] = Future()

    def call() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as exc:  # noqa: BLE001 - raised again by the caller
            future.set_exception(exc)

    Thread(target=call, daemon=True).start()
    in_time, _ = wait([future], seconds)
    assert in_time, f"it took longer than {seconds:g} s"
    return future.result()
