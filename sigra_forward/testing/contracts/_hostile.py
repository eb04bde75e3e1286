"""Text that has broken adapters before."""

from __future__ import annotations

HOSTILE_TEXTS = {
    "empty": "",
    "long": "x" * 100_000,
    "newline": 'a\n{"id":"forged"}\r\n',
    "separators": "a\u2028b\u2029c\x85d",
    "nul": "a\x00b",
    "escape": "\x1b[31mred\x1b[0m",
    "quotes": "'; DROP TABLE audit_events; -- \" ` \\",
    "braces": "%s %(x)s {0} ${x} {{x}}",
    "surrogate": "a\ud800b",
    "astral": "🔐 ḿ̃ ﷽ مرحبا",
    "uuid_braces": "{7d44e1e5-6f3c-4e2f-8f0a-9d6d8a1b2c3d}",
    "huge_number": "9" * 400,
    "wide_digits": "\u0663\u0664",
}
"""Texts by name."""


def run_in_threads(functions: list[object]) -> None:
    """Call all *functions* at once, each in a thread of its own, and raise the first error."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(function) for function in functions]:  # type: ignore[arg-type]
            future.result()
