"""How a value is spelled in the name of a test."""

from __future__ import annotations

import re


def spelled(value: object) -> str:
    """Return its ``repr`` without an address, which is another one in each process that runs a share of the tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
