"""Optional means optional: what is missing or too old is told with its extra, and nobody loads what it does not use."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

LIBRARIES = {
    "celery": "celery",
    "dramatiq": "dramatiq",
    "oban": "oban",
    "procrastinate": "procrastinate",
    "psycopg": "psycopg",
    "redis": "redis",
    "rq": "rq",
    "sqlalchemy": "sqlalchemy",
}
"""The library of each adapter, by its extra."""

WITHOUT = """
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {library!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""

OLD = """
import importlib.metadata
version = importlib.metadata.version
importlib.metadata.version = lambda name: "0.0.1" if name == {library!r} else version(name)
"""

TELL = """
from sigra_forward import MissingDependencyError
try:
    import sigra_forward_{extra}
except MissingDependencyError as exc:
    print(type(exc).__name__, exc.name, exc)
"""


def run(code: str) -> str:
    """Run *code* in a Python of its own, and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout


@pytest.mark.parametrize(("extra", "library"), LIBRARIES.items(), ids=LIBRARIES)
def test_a_missing_library_is_told_with_its_extra(extra: str, library: str) -> None:
    """Importing an adapter without its library raises an ImportError that says what to install."""
    told = run(WITHOUT.format(library=library) + TELL.format(extra=extra))

    assert told.startswith(f"MissingDependencyError {library} sigra_forward_{extra} needs {library} ")
    assert f"pip install 'sigra-forward[{extra}]'" in told


@pytest.mark.parametrize(("extra", "library"), LIBRARIES.items(), ids=LIBRARIES)
def test_a_library_that_is_too_old_is_told_with_its_extra(extra: str, library: str) -> None:
    """Importing an adapter with an old library raises an ImportError that says what is there and what is needed."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")

    told = run(OLD.format(library=library) + TELL.format(extra=extra))

    assert told.startswith(f"MissingDependencyError {library} sigra_forward_{extra} needs {library} ")
    assert "and 0.0.1 is installed: pip install" in told


def test_the_core_loads_no_queue_library() -> None:
    """Neither ``import sigra_forward`` nor its queues load one, even where all are installed."""
    code = "import sys, sigra_forward.queues, sigra_forward.queues.adapter; print(*sys.modules)"

    assert set() == set(LIBRARIES.values()) & set(run(code).split())


@pytest.mark.parametrize("extra", sorted(LIBRARIES))
def test_an_adapter_loads_no_other_adapters_library(extra: str) -> None:
    """Importing one adapter loads its own library, and no other queue library."""
    if find_spec(LIBRARIES[extra]) is None:
        pytest.skip(f"{LIBRARIES[extra]} is not installed")

    loaded = set(run(f"import sys, sigra_forward_{extra}; print(*sys.modules)").split())

    queues = set(LIBRARIES.values()) - {"psycopg", "redis"}
    assert queues & {LIBRARIES[extra]} == queues & loaded
