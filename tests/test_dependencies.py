"""`require`: a library that is missing or too old is told with the extra that installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sigra_forward import MissingDependencyError
from sigra_forward.queues.adapter import require


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a library named ``acmequeue``, version 2.10.1, where Python finds it."""
    (tmp_path / "acmequeue.py").touch()
    info = tmp_path / "acmequeue-2.10.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acmequeue\nVersion: 2.10.1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "acmequeue", raising=False)
    return "acmequeue"


@pytest.mark.parametrize("at_least", ["2", "2.9", "2.10", "2.10.1"])
def test_a_library_that_is_new_enough(library: str, at_least: str) -> None:
    """Versions are compared by number, not by text."""
    require(library, at_least, extra="acme")

    assert library in sys.modules


@pytest.mark.parametrize("at_least", ["2.10.2", "2.11", "3", "11"])
def test_a_library_that_is_too_old(library: str, at_least: str) -> None:
    """The error says which version is there, which is needed, and what to install."""
    with pytest.raises(MissingDependencyError) as caught:
        require(library, at_least, extra="acme")

    expected = (
        f"sigra_forward_acme needs acmequeue {at_least} or newer, and 2.10.1 is installed: "
        "pip install 'sigra-forward[acme]'"
    )
    assert (expected, "acmequeue") == (str(caught.value), caught.value.name)


def test_a_library_that_is_missing() -> None:
    """The error is an ImportError that names the library and the extra."""
    with pytest.raises(ImportError) as caught:
        require("nosuchqueue", "1", extra="acme", python="3.12")

    expected = (
        "sigra_forward_acme needs nosuchqueue 1 or newer, which cannot be imported: "
        "pip install 'sigra-forward[acme]', on Python 3.12 or newer"
    )
    assert (expected, "nosuchqueue") == (str(caught.value), caught.value.name)  # type: ignore[attr-defined]


def test_a_library_that_tells_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was put there without its metadata is taken as it is."""
    (tmp_path / "bareacme.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))

    require("bareacme", "99", extra="acme")
