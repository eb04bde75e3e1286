"""The stage of each proof, and the table that ``make proof`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.adapters.conftest import (
    mariadb_database,
    mariadb_server,
    postgres_database,
    postgres_server,
    pytest_make_collect_report,
    pytest_runtest_makereport,
    redis_db,
    redis_server,
)
from tests.adapters.services import unavailable
from tests.proof.support_postgres import OwnPostgreSQL
from tests.proof.support_setting import Setting
from tests.proof.support_stage import IS_FULL, Stage

__all__ = [
    "mariadb_database",
    "mariadb_server",
    "postgres_database",
    "postgres_server",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "redis_db",
    "redis_server",
]

FULL_TIMEOUT = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the proofs run beside what needs a server, for they take as long; and give the full form its time."""
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker("services")
        if IS_FULL:
            item.add_marker(pytest.mark.timeout(FULL_TIMEOUT))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that every user may read and write, whoever runs the tests."""
    with TemporaryDirectory(prefix="sigra-forward-") as folder:
        Path(folder).chmod(0o777)  # root's servers run as another user
        yield Path(folder)


@pytest.fixture
def ledger_folder(tmp_path: Path) -> Path:
    """Give the folder of a SQLite ledger."""
    return tmp_path


@pytest.fixture
def stage(url: str, tmp_path: Path, ledger_folder: Path) -> Iterator[Stage]:
    """Give a stage on the class's database."""
    ledger = str(ledger_folder / "ledger.db") if url.startswith("sqlite") else ""
    stage = Stage(Setting(url, ledger, 0), tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def own_postgres(open_folder: Path) -> Iterator[OwnPostgreSQL]:
    """Give a PostgreSQL of the test's own, which has prepared transactions and may be restarted."""
    try:
        server = OwnPostgreSQL(open_folder, ["-c", "max_prepared_transactions=10"])
    except FileNotFoundError as exc:
        unavailable(f"a PostgreSQL of the test's own: there is no program {exc.filename}")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Note the figures of a proof, for the table."""

    def report(**figures: object) -> None:
        told = {name: " and ".join(it) if isinstance(it, list) else str(it) for name, it in figures.items()}
        record_property("proof", told)

    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print one table of what was proved, with its figures: a line for each proof and database."""
    if not IS_FULL:
        return
    terminalreporter.section("proof")
    told = [
        (each, outcome)
        for outcome in ("passed", "failed", "error", "skipped", "xfailed")
        for each in terminalreporter.stats.get(outcome, [])
        if "tests/proof" in each.nodeid
    ]
    lines = [_line(each, outcome) for each, outcome in told]
    first = {what: number for number, (what, *_) in reversed([*enumerate(lines)])}
    lines.sort(key=lambda line: (first[line[0]], line[1]))
    table = [("what", "on", "figures", "seconds", ""), *lines]
    widths = [max(len(line[column]) for line in table) for column in range(5)]
    for line in table:
        parts = zip(line, widths, strict=True)
        terminalreporter.write_line("  ".join(part.ljust(width) for part, width in parts).rstrip())
    outcomes = Counter(outcome for _, outcome in told)
    terminalreporter.write_line(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))


def _line(told: Any, outcome: str) -> tuple[str, str, str, str, str]:
    """Return one line of the table: what, on which database, its figures, how long it took, and how it ended."""
    _, _, name = told.nodeid.partition("::")
    on, _, what = name.rpartition("::")
    figures = dict(told.user_properties).get("proof", {})
    words = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in figures.items())
    said = what.removeprefix("test_").replace("_", " ")
    return said, on.removeprefix("TestOn"), words, f"{told.duration:.1f}", outcome
