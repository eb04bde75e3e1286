"""A SQLite ledger whose disk is full, whose file is read-only or locked; and the host's own database beside it."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic

import pytest
from attrs import evolve

from sigra_forward import State
from tests.adapters.support_databases import OnSQLite, file_url
from tests.proof.support_setting import row
from tests.proof.support_stage import Stage, sized, wait_until

NOBODY = 65534

Report = Callable[..., None]


@pytest.fixture
def ledger_file(stage: Stage) -> Path:
    """Give the path of the ledger."""
    return Path(stage.setting.ledger)


class TestOnSQLite(OnSQLite):
    """The embedded default."""

    def test_a_full_disk(self, stage: Stage, ledger_file: Path, report: Report) -> None:
        """What the sink has taken and no receipt could be written of is told, and goes out again under its key."""
        relay = stage.relay(rereads=())
        stage.commit(row("before", 1))
        stage.wait_until_settled(1)
        log = ledger_file.with_name("ledger.db-wal")
        _limit(relay.pid, log.stat().st_size)
        stage.commit(*(row(str(number), number) for number in range(200)))
        stage.wait_for(51)
        wait_until(lambda: "receipt_not_kept" in relay.log(), "it says so")
        during = stage.receipts()
        _limit(relay.pid, resource.RLIM_INFINITY)
        stage.wait_until_settled(201)
        report(rows=201, missing=len(stage.missing()), repeats=stage.repeats())

        assert {State.COMPLETED: 1} == during
        assert {State.COMPLETED: 201} == stage.receipts()
        assert (set(), set(), 1) == (stage.missing(), stage.foreign(), relay.starts)
        assert "OperationalError" in relay.log()

    def test_a_locked_ledger(self, stage: Stage, ledger_file: Path, report: Report) -> None:
        """While somebody else writes to the ledger and does not end, no receipt is false; afterwards all are there."""
        stage.setting = evolve(stage.setting, ledger_timeout=0.1)
        relay = stage.relay(rereads=())
        with closing(sqlite3.connect(ledger_file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            stage.commit(*(row(str(number), number) for number in range(200)))
            wait_until(lambda: "cannot work 'siem' now" in relay.log(), "it says so")
            during = stage.receipts()
            other.execute("ROLLBACK")
        stage.wait_until_settled(200)
        report(rows=200, missing=len(stage.missing()), repeats=stage.repeats())

        assert {} == during
        assert (set(), set(), 1) == (stage.missing(), stage.foreign(), relay.starts)

    @pytest.mark.parametrize(("mode", "timeout"), [("WAL", 0.0), ("DELETE", 5.0)])
    def test_the_hosts_own_writes(self, stage: Stage, mode: str, timeout: float, report: Report) -> None:
        """The host that waits for no lock in WAL mode, or for sqlite3's own five seconds, is never told of one."""
        rows = sized(300, 10_000)
        path = stage.engine.url.database
        with closing(sqlite3.connect(str(path))) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        stage.relay(rereads=(0.1, 0.2), hourly=0.3, daily=0.4)
        longest = 0.0
        with closing(sqlite3.connect(str(path), timeout=timeout)) as host:
            for number in range(rows):
                values = (f"{mode}-{number}", number, f"2026-01-01 00:00:{number % 60:02}.{number:06}")
                began = monotonic()
                with host:
                    host.execute("INSERT INTO audit_events VALUES (?, ?, 'a', ?, '{}')", values)
                longest = max(longest, monotonic() - began)
        stage.wait_for(rows)
        report(rows=rows, missing=len(stage.missing()), longest_commit=f"{longest * 1000:.0f} ms")

        assert (set(), set()) == (stage.missing(), stage.foreign())


class TestOnReadOnlySQLite:
    """A ledger that its user may not write, in folders that a user other than root reaches."""

    @pytest.fixture
    def url(self, open_folder: Path) -> str:
        """Give a database."""
        return file_url("sqlite+pysqlite", open_folder)

    @pytest.fixture
    def ledger_folder(self, open_folder: Path) -> Path:
        """Give another folder."""
        folder = open_folder / "ledger"
        folder.mkdir()
        return folder

    def test_a_read_only_file(self, stage: Stage, ledger_file: Path, open_folder: Path, report: Report) -> None:
        """Nothing is sent of which no receipt could be written, and when it can be, all is."""
        stage.ledger.close()
        stage.commit(row("1", 1))
        for path in open_folder.glob("database.db*"):
            path.chmod(0o666)
        with _read_only(ledger_file) as user:
            stage.setting = evolve(stage.setting, user=user)
            relay = stage.relay(begins=False)
            wait_until(lambda: "cannot work 'siem' now" in relay.log(), "it says so")
            during = stage.received()
        stage.wait_until_settled(1)
        report(rows=1, missing=len(stage.missing()), repeats=stage.repeats())

        assert [] == during
        assert (set(), 0, 1) == (stage.missing(), stage.repeats(), relay.starts)


def _limit(pid: int, size: float) -> None:
    """Let no file of a process grow beyond *size* bytes: writes fail as on a disk that is full."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (int(size), most))


@contextmanager
def _read_only(file: Path) -> Iterator[int]:
    """Take away the right to write a file, and its folder; give the user for whom that counts."""
    files = [path for path in file.parent.iterdir() if path.name.startswith(file.name)]
    file.parent.chmod(0o555)
    for path in files:
        path.chmod(0o444)
    yield NOBODY if os.geteuid() == 0 else 0  # to root it does not count
    for path in files:
        path.chmod(0o666)
    file.parent.chmod(0o777)
