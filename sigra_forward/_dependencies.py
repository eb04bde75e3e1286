"""`require`: an optional library is there and new enough, or the error says which extra to install."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from sigra_forward.errors import MissingDependencyError


def require(library: str, at_least: str, *, extra: str, python: str | None = None) -> None:
    """
    Import *library*, and see that it is not older than *at_least*.

    Args:
        library: The name both of the import package and of the distribution.
        at_least: The oldest version that works, such as ``"5.7"``.
        extra: The extra of sigra-forward that installs it.
        python: The oldest Python that the library itself runs on, where that is newer than ours.

    Raises:
        MissingDependencyError: It is missing or too old. The message says what to install.
    """
    remedy = f"pip install 'sigra-forward[{extra}]'" + (f", on Python {python} or newer" if python else "")
    try:
        import_module(library)
    except ImportError as exc:
        msg = f"sigra_forward_{extra} needs {library} {at_least} or newer, which cannot be imported: {remedy}"
        raise MissingDependencyError(msg, name=library) from exc
    try:
        found = version(library)
    except PackageNotFoundError:  # it was put there by other means, and tells no version
        return
    if _numbers(found) < _numbers(at_least):
        msg = f"sigra_forward_{extra} needs {library} {at_least} or newer, and {found} is installed: {remedy}"
        raise MissingDependencyError(msg, name=library)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:3]]
