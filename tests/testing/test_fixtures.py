"""The fixtures of the test kit, and what the kit needs to be imported."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

import sigra_forward.testing
from sigra_forward import signals
from sigra_forward.testing import isolated_signals
from tests.support_parts import python

SIGNALS = [getattr(signals, name) for name in signals.__all__]


@pytest.mark.parametrize("signal", SIGNALS, ids=signals.__all__)
def test_isolated_signals_have_no_subscribers(signal) -> None:
    """Those of before are not called within, and are back behind it; those of within are gone."""
    heard: list[str] = []

    def before(sender: object) -> None:
        heard.append(f"before hears {sender}")

    def within(sender: object) -> None:
        heard.append(f"within hears {sender}")

    signal.connect(before)
    with isolated_signals():
        signal.send("first")
        signal.connect(within)
        signal.send("second")
    signal.send("third")

    assert ["within hears second", "before hears third"] == heard


def test_isolated_signals_are_back_after_an_error() -> None:
    """Also where the block raises."""
    heard: list[object] = []
    signals.audit_log.connect(heard.append, weak=False)

    with pytest.raises(KeyError), isolated_signals():
        raise KeyError
    signals.audit_log.send("behind")

    assert ["behind"] == heard


def test_isolated_signals_may_be_nested() -> None:
    """Each block has its own subscribers."""
    heard: list[object] = []
    with isolated_signals():
        signals.audit_log.connect(heard.append, weak=False)
        with isolated_signals():
            signals.audit_log.send("inner")
        signals.audit_log.send("outer")

    assert ["outer"] == heard


def test_isolated_signals_are_the_same_objects() -> None:
    """Whoever imported a signal before goes on with it."""
    with isolated_signals():
        within = [getattr(signals, name) for name in signals.__all__]

    assert [id(signal) for signal in SIGNALS] == [id(signal) for signal in within]


HOST = """
    import pytest
    from sigra_forward.signals import forward_ok
    from sigra_forward.testing import isolate_signals

    heard = []
    forward_ok.connect(heard.append, weak=False)

    def test_isolated(isolate_signals):
        forward_ok.send("isolated")
        assert [] == heard

    def test_not_isolated():
        forward_ok.send("not isolated")
        assert ["not isolated"] == heard
"""

RUN_HOST = """
    import sys, pytest

    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", sys.argv[1]]))
"""


def test_the_fixture_isolates_the_tests_that_ask_for_it(tmp_path: Path) -> None:
    """It is imported into a conftest or a test file, and works there."""
    file = tmp_path / "test_host.py"
    file.write_text(dedent(HOST))

    assert "2 passed" in python(RUN_HOST, file)


WITHOUT_PYTEST = """
    import sys

    sys.modules["pytest"] = None
    import sigra_forward.testing as kit

    lazy = {
        "AuditRepositoryContract", "ForwarderContract", "JobQueueContract", "QueueWorkerContract", "SinkContract", "isolate_signals"
    }
    there = [getattr(kit, name) for name in kit.__all__ if name not in lazy]
    assert kit.make_event().action == "session.create"
    for name in sorted(lazy):
        try:
            getattr(kit, name)
        except ImportError:
            print(name)
    print("_pytest" in sys.modules)
"""


def test_the_fakes_need_no_pytest() -> None:
    """Only the contracts and the fixture do, and they say so when they are asked for."""
    contracts = [
        "AuditRepositoryContract",
        "ForwarderContract",
        "JobQueueContract",
        "QueueWorkerContract",
        "SinkContract",
    ]

    assert [*contracts, "isolate_signals", "False"] == python(WITHOUT_PYTEST).split()


def test_the_kit_has_what_it_lists_and_nothing_more() -> None:
    """Each name can be had; another is an AttributeError."""
    names = sigra_forward.testing.__all__

    assert names == sorted(names)
    assert names == [name for name in names if getattr(sigra_forward.testing, name) is not None]
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        sigra_forward.testing.Nothing  # noqa: B018
