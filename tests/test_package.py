"""The package as a whole: its public names, and what importing it costs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files

import pytest

import sigra_forward

PUBLIC = [
    "JobArgs",
    "AuditEvent",
    "Outcome",
    "CancelReason",
    "Result",
    "Fault",
    "Ack",
    "State",
    "Settlement",
    "RetryPolicy",
    "backoff",
    "settle",
    "perform",
    "aperform",
    "AuditForward",
    "Route",
    "Dispatch",
    "Dispatched",
    "Forwarder",
    "AsyncForwarder",
    "BatchForwarder",
    "AuditRepository",
    "AuditSource",
    "Ledger",
    "Relay",
    "JobQueue",
    "Telemetry",
    "SigraForwardError",
    "InvalidJobArgsError",
    "SchemaMismatchError",
    "SinkError",
    "EnqueueError",
    "ConfigurationError",
    "MissingDependencyError",
    "signals",
    "telemetry",
    "testing",
]

HEAVY = {"asyncio", "logging", "concurrent.futures", "pytest", "sqlite3"}


def in_a_fresh_process(code: str, **environment: str) -> list[str]:
    """Run *code* in a process of its own, and return the words that it prints."""
    environment = environment or dict(os.environ)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def loaded_by(statement: str) -> set[str]:
    """Return the modules that *statement* loads in a fresh process, where coverage has not loaded any before."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    code = f"import sys; old = set(sys.modules); {statement}; print(*set(sys.modules) - old)"
    return set(in_a_fresh_process(code, **environment))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_importable(name: str) -> None:
    """Each name of the design is an attribute of the package, and in ``__all__``."""
    assert (True, True) == (hasattr(sigra_forward, name), name in sigra_forward.__all__)


def test_all_is_sorted_and_complete() -> None:
    """``__all__`` has the public names, sorted, and no others."""
    assert sorted(PUBLIC) == sigra_forward.__all__


def test_nothing_else_is_public() -> None:
    """Every name without a leading underscore is in ``__all__``, or a module that was loaded, or Python's own."""
    others = {name for name in vars(sigra_forward) if not name.startswith("_")} - set(sigra_forward.__all__)
    modules = {name.removeprefix("sigra_forward.") for name in sys.modules}

    assert set() == others - modules - {"annotations", "TYPE_CHECKING"}


def test_a_star_import_works() -> None:
    """Everything in ``__all__`` can be imported by a star, ``testing`` included."""
    assert ["module"] == in_a_fresh_process("from sigra_forward import *; print(type(testing).__name__)")


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    """A name that is not there is told as Python tells it."""
    with pytest.raises(AttributeError, match=r"^module 'sigra_forward' has no attribute 'sieve'$"):
        sigra_forward.sieve  # noqa: B018 - the point


def test_a_version_is_told() -> None:
    """The package tells its version, as a text that begins with a number."""
    assert sigra_forward.__version__[0].isdigit()


def test_types_are_shipped() -> None:
    """The marker is there that makes type checkers read our annotations."""
    assert files("sigra_forward").joinpath("py.typed").is_file()


def test_importing_loads_three_libraries() -> None:
    """``import sigra_forward`` loads no third-party module but attrs, blinker and typing-extensions."""
    top_level = {name.partition(".")[0] for name in loaded_by("import sigra_forward")}
    third_party = {name for name in top_level - sys.stdlib_module_names if not name.startswith("_")}

    assert third_party <= {"attr", "attrs", "blinker", "sigra_forward", "typing_extensions"}


def test_importing_loads_nothing_heavy() -> None:
    """``import sigra_forward`` loads neither asyncio, logging, concurrent.futures, pytest nor sqlite3."""
    assert set() == HEAVY & loaded_by("import sigra_forward")


def test_the_core_is_loaded() -> None:
    """The loaded modules that the two tests above look at are those of this package."""
    assert "sigra_forward._perform" in loaded_by("import sigra_forward")


def test_what_a_ledger_needs_loads_with_the_first_one() -> None:
    """A process without a ledger pays nothing for it."""
    ours = {"sigra_forward._books", "sigra_forward._ledger", "sigra_forward._watch", "sigra_forward.relay"}

    assert set() == ours & loaded_by("import sigra_forward")
    assert "sigra_forward.relay" in loaded_by("from sigra_forward import Relay")


def test_the_test_kit_loads_on_first_use() -> None:
    """``sigra_forward.testing`` is loaded when it is first asked for, and not before."""
    asked = loaded_by("import sigra_forward; sigra_forward.testing")

    assert (False, True) == (
        "sigra_forward.testing" in loaded_by("import sigra_forward"),
        "sigra_forward.testing" in asked,
    )


def test_the_fakes_need_no_pytest() -> None:
    """The fakes of the test kit do without pytest; its contracts alone need it."""
    assert "pytest" not in loaded_by("import sigra_forward; sigra_forward.testing.make_event()")


def test_the_test_kit_can_be_imported_from_the_package() -> None:
    """``from sigra_forward import testing`` gives the module."""
    assert ["sigra_forward.testing"] == in_a_fresh_process("from sigra_forward import testing; print(testing.__name__)")
