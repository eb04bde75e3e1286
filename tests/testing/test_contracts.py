"""The contract suites notice what is broken, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from sigra_forward import AuditEvent, SchemaMismatchError, SinkError
from sigra_forward.testing import (
    AuditRepositoryContract,
    ForwarderContract,
    InMemoryAuditRepository,
    RaisingForwarder,
    RecordingForwarder,
)
from tests.testing import broken_adapters
from tests.testing.support_report import Report

BROKEN = Path(broken_adapters.__file__)
CASES = {name: case for name, case in vars(broken_adapters).items() if name.startswith("Test")}


@pytest.fixture(name="report", scope="module")
def _report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Run the broken adapters in three parts."""
    slow = "TestQueueLoses or TestQueueHangs or TestQueueBinds"
    parts = [slow, f"TestQueue and not ({slow})", "not TestQueue"]
    return Report.side_by_side(BROKEN, tmp_path_factory, parts)


@pytest.mark.parametrize("name", CASES)
def test_exactly_the_rule_that_is_broken_fails(report: Report, name: str) -> None:
    """Each adapter fails the tests of the rule that it breaks, for all parameters or for the ones it names."""
    report.assert_fails(name, CASES[name].fails)


@pytest.mark.parametrize("contract", ["ForwarderContract", "AuditRepositoryContract", "JobQueueContract"])
def test_every_rule_has_an_adapter_that_breaks_it(report: Report, contract: str) -> None:
    """There is no test in a suite that cannot fail."""
    suites = [name for name, case in CASES.items() if contract in {kind.__name__ for kind in case.__mro__}]

    rules = {test.partition("[")[0] for suite in suites for test in report.ran(suite)}
    broken = {test.partition("[")[0] for suite in suites for test in CASES[suite].fails}

    assert rules == broken


# What a suite needs of its subclass


def run(directory: Path, code: str, *options: str) -> Report:
    """Run *code* as a test file."""
    file = directory / "test_host.py"
    file.write_text(dedent(code))
    return Report(file, directory, *options)


@pytest.mark.parametrize(
    ("contract", "fixtures"),
    [
        ("ForwarderContract", ["forwarder", "broken_forwarder"]),
        ("AuditRepositoryContract", ["repository"]),
        ("JobQueueContract", ["job_queue", "broken_job_queue"]),
    ],
)
def test_a_missing_fixture_is_an_error_that_names_it(tmp_path: Path, contract: str, fixtures: list[str]) -> None:
    """A subclass that forgot a fixture passes nothing."""
    report = run(
        tmp_path,
        f"""
        from sigra_forward.testing import {contract}

        class TestForgot({contract}):
            pass
        """,
    )

    assert report.ran("TestForgot") == report.failed("TestForgot")
    assert [] == [name for name in fixtures if f"fixture '{name}' not found" not in report.output]


@pytest.mark.parametrize(
    ("contract", "fixture", "method"),
    [("ForwarderContract", "forwarder", "received"), ("AuditRepositoryContract", "repository", "commit")],
)
def test_a_missing_method_is_an_error_that_names_it(tmp_path: Path, contract: str, fixture: str, method: str) -> None:
    """A subclass that forgot a method passes none of the tests that need it."""
    report = run(
        tmp_path,
        f"""
        import pytest
        from sigra_forward.sinks import NoopForwarder
        from sigra_forward.testing import {contract}, InMemoryAuditRepository

        class TestForgot({contract}):
            @pytest.fixture
            def {fixture}(self):
                return NoopForwarder() if "{fixture}" == "forwarder" else InMemoryAuditRepository()
        """,
    )

    assert "NotImplementedError" in report.output
    assert f"def {method}(" in report.output
    assert len(report.failed("TestForgot")) > len(report.ran("TestForgot")) // 2


FIXTURES_ELSEWHERE = """
    import pytest
    from sigra_forward.testing import ForwarderContract, RecordingForwarder, RaisingForwarder

    {module}

    class TestForwarder(ForwarderContract):
        {suite}

        @pytest.fixture(name="broken_forwarder")
        def _broken_forwarder(self):
            return RaisingForwarder(OSError())

        def received(self, forwarder):
            return forwarder.ids
"""


@pytest.mark.parametrize(
    ("module", "suite"),
    [
        ("forwarder = pytest.fixture(lambda: RecordingForwarder(), name='forwarder')", ""),
        ("", "@pytest.fixture\n        def forwarder(self): return RecordingForwarder()"),
        ("", "@pytest.fixture(name='forwarder')\n        def _forwarder(self): return RecordingForwarder()"),
        ("", "@pytest.fixture(name='forwarder')\n        def zebra(self): return RecordingForwarder()"),
    ],
    ids=["module", "method", "underscore", "other name"],
)
def test_a_fixture_may_come_from_anywhere(tmp_path: Path, module: str, suite: str) -> None:
    """From the suite, under any name, or from the module or conftest."""
    report = run(tmp_path, FIXTURES_ELSEWHERE.format(module=module, suite=suite))

    assert set() == report.failed("TestForwarder"), report.output


@pytest.mark.parametrize("package", ["sigra_forward.testing", "sigra_forward.testing.contracts"])
def test_a_failure_shows_the_values(tmp_path: Path, package: str) -> None:
    """Asserts of the suites are rewritten, from wherever they are imported."""
    report = run(
        tmp_path,
        f"""
        import pytest
        from sigra_forward.sinks import NoopForwarder
        from {package} import ForwarderContract

        class TestNoop(ForwarderContract):
            @pytest.fixture
            def forwarder(self):
                return NoopForwarder()

            def received(self, forwarder):
                return ["what the sink holds"]
        """,
        "-k=test_accepts_an_event",
    )

    assert "At index 0 diff" in report.output
    assert "'what the sink holds'" in report.output
    assert "PytestAssertRewriteWarning" not in report.output


# Async adapters


class TestAsyncForwarder(ForwarderContract):
    """The suite awaits a forwarder whose methods are async."""

    class Forwarder:
        """Keeps the events."""

        def __init__(self, *, is_down: bool = False) -> None:
            self.is_down = is_down
            self.ids: list[str] = []

        async def forward(self, event: AuditEvent) -> None:
            """Keep one."""
            await self.forward_batch([event])

        async def forward_batch(self, events: Sequence[AuditEvent]) -> None:
            """Keep some."""
            if self.is_down:
                raise SinkError("down")
            self.ids += [event.id for event in events]

    @pytest.fixture(name="forwarder")
    def _forwarder(self) -> Forwarder:
        return self.Forwarder()

    @pytest.fixture(name="broken_forwarder")
    def _broken_forwarder(self) -> Forwarder:
        return self.Forwarder(is_down=True)

    def received(self, forwarder: Forwarder) -> list[str]:
        return forwarder.ids


class TestForwarderWithoutBatches(ForwarderContract):
    """The suite asks nothing about batches of a forwarder that takes none."""

    class Forwarder:
        """Keeps the events."""

        def __init__(self) -> None:
            self.ids: list[str] = []

        def forward(self, event: AuditEvent) -> None:
            """Keep one."""
            self.ids.append(event.id)

    @pytest.fixture(name="forwarder")
    def _forwarder(self) -> Forwarder:
        return self.Forwarder()

    @pytest.fixture(name="broken_forwarder")
    def _broken_forwarder(self) -> RaisingForwarder:
        return RaisingForwarder(TimeoutError())

    def received(self, forwarder: Forwarder) -> list[str]:
        return forwarder.ids


class TestForwarderThatAnswersForEachEvent(ForwarderContract):
    """A batch may be answered with one answer an event, errors and refusals among them."""

    class Forwarder(RecordingForwarder):
        """Refuses long text, and is down or not."""

        max_events = 4
        error: Exception | None = None

        def forward(self, event: AuditEvent) -> None:
            """Keep one."""
            (answer,) = self.forward_batch([event])
            if answer is not None:
                raise answer

        def forward_batch(self, events: Sequence[AuditEvent]) -> list[Exception | None]:
            """Keep some."""
            return [self._answer_for(event) for event in events]

        def _answer_for(self, event: AuditEvent) -> Exception | None:
            if self.error is not None:
                return self.error
            if len(event.user_agent or "") > 1000:
                return SchemaMismatchError("too long")
            super().forward(event)
            return None

    @pytest.fixture(name="forwarder")
    def _forwarder(self) -> Forwarder:
        return self.Forwarder()

    @pytest.fixture(name="broken_forwarder")
    def _broken_forwarder(self) -> Forwarder:
        forwarder = self.Forwarder()
        forwarder.error = SinkError("down")
        return forwarder

    def received(self, forwarder: Forwarder) -> list[str]:
        return forwarder.ids


class TestForwarderThatRefusesABatch(TestForwarderThatAnswersForEachEvent):
    """A batch may be refused as a whole."""

    class Forwarder(TestForwarderThatAnswersForEachEvent.Forwarder):
        """Refuses the batch in which there is long text."""

        def forward_batch(self, events: Sequence[AuditEvent]) -> list[Exception | None]:
            """Keep all or none."""
            if any(len(event.user_agent or "") > 1000 for event in events):
                raise SchemaMismatchError("too long")
            return super().forward_batch(events)


class TestAsyncRepository(AuditRepositoryContract):
    """The suite awaits a repository whose get is async."""

    class Repository:
        """Holds the events in a dict."""

        def __init__(self) -> None:
            self.rows = InMemoryAuditRepository()

        async def get(self, audit_event_id: str, /) -> AuditEvent | None:
            """Find one."""
            return self.rows.get(audit_event_id)

    @pytest.fixture(name="repository")
    def _repository(self) -> Repository:
        return self.Repository()

    def commit(self, repository: Repository, event: AuditEvent) -> None:
        repository.rows.add(event)
