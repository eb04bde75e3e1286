"""`SQLiteLedger`: what every ledger promises, and what is SQLite's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from sigra_forward import ConfigurationError, State
from sigra_forward._ledger import Lease, Receipt
from sigra_forward.ports import Ledger
from sigra_forward.stores._sql_ledger import SCHEMA_VERSION, SQLLedger, Words
from sigra_forward.stores._sqlite_connections import Connections
from sigra_forward.stores._sqlite_ledger import SQLiteLedger
from sigra_forward.testing.contracts._ledger import LedgerContract
from tests.support_parts import python

MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)
LEASE = Lease(1, 1, MOMENT)
RECEIPT = Receipt("1", MOMENT, State.COMPLETED, MOMENT, MOMENT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a ledger that is not there yet."""
    return tmp_path / "ledger.db"


@pytest.fixture(name="ledger")
def _ledger(path: Path) -> Iterator[SQLiteLedger]:
    with closing(SQLiteLedger(path)) as ledger:
        ledger.create()
        yield ledger


class TestSQLiteLedger(LedgerContract):
    """Receipts in a file."""

    @pytest.fixture
    def other_ledger(self, path: Path) -> Iterator[SQLiteLedger]:
        with closing(SQLiteLedger(path)) as other:
            yield other


@pytest.mark.parametrize(
    ("says", "options"),
    [
        ("path must be that of a database file, which ':memory:' is not", {"path": ":memory:"}),
        ("path must be that of a database file, which ':memory:' is not", {"path": ""}),
        ("path must be that of a database file, which ':memory:' is not", {"path": 5}),
        ("timeout must be a finite number of seconds of at least 0", {"path": "ledger.db", "timeout": -1}),
    ],
)
def test_options_make_sense(says: str, options: Any) -> None:
    """A bad option is refused at construction, with what is allowed."""
    with pytest.raises(ConfigurationError, match=rf"^SQLiteLedger: {says}$"):
        SQLiteLedger(**options)


def test_nothing_is_made_until_it_is_created(path: Path) -> None:
    """A path that is mistyped makes no empty ledger, of which everything would seem owed."""
    with closing(SQLiteLedger(path)) as ledger, pytest.raises(sqlite3.OperationalError, match="unable to open"):
        ledger.lanes()

    assert not path.exists()


def test_the_tables_of_a_newer_version_are_refused(path: Path, ledger: SQLiteLedger) -> None:
    """It says which version they are of and what to do, and leaves them as they are."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE sigra_forward_schema SET version = 99")

    with pytest.raises(
        ConfigurationError,
        match=rf"^the ledger's tables are of version 99, and this sigra-forward knows version {SCHEMA_VERSION}: upgrade",
    ):
        ledger.create()
    with closing(sqlite3.connect(path)) as connection:
        assert [(99,)] == connection.execute("SELECT version FROM sigra_forward_schema").fetchall()


def test_a_creation_that_fails_leaves_nothing_half_done(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All the tables are there, or none."""
    monkeypatch.setattr("sigra_forward.stores._sqlite_ledger._SCHEMA", "CREATE TABLE {lanes} (a);\nCREATE TABLE (")
    with closing(SQLiteLedger(path)) as ledger, pytest.raises(sqlite3.OperationalError):
        ledger.create()

    with closing(sqlite3.connect(path)) as connection:
        assert [] == connection.execute("SELECT name FROM sqlite_master").fetchall()


def test_it_does_not_wait_for_ever_for_a_writer(path: Path, ledger: SQLiteLedger) -> None:
    """While somebody else holds the file's lock a write fails after the timeout, and a read does not wait at all."""
    lane = ledger.lane("audit_events", "siem", MOMENT).number
    with closing(SQLiteLedger(path, timeout=0.01)) as hasty, closing(sqlite3.connect(path)) as writer:
        writer.execute("BEGIN IMMEDIATE")

        with pytest.raises(sqlite3.OperationalError, match="locked"):
            hasty.record(lane, [RECEIPT])
        assert {} == hasty.receipts(lane, ["1"])
        writer.rollback()

        assert hasty.record(lane, [RECEIPT])


def test_a_receipt_is_on_the_disk_before_it_counts(path: Path, ledger: SQLiteLedger) -> None:
    """The file is in WAL mode, and each commit is synced."""
    ledger.lanes()
    (connection,) = ledger._connections._free

    modes = [connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in ("journal_mode", "synchronous")]

    assert ["wal", 2] == modes


def test_a_ledger_that_cannot_be_written_says_so(path: Path, ledger: SQLiteLedger) -> None:
    """An error of SQLite's comes out, nothing is half written, and it works again once it can."""
    lane = ledger.lane("audit_events", "siem", MOMENT).number
    (connection,) = ledger._connections._free
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [Receipt(f"{number:0255}", MOMENT, State.DISCARDED, MOMENT, MOMENT) for number in range(1000)]

    with pytest.raises(sqlite3.OperationalError, match="full"):
        ledger.record(lane, many)

    assert {State.RETRYABLE: 0, State.CANCELLED: 0, State.DISCARDED: 0} == ledger.counts(lane)
    assert ledger.record(lane, many)


def test_the_clock_may_be_given(path: Path) -> None:
    """Leases and retries go by it."""
    moment = MOMENT
    with closing(SQLiteLedger(path, now=lambda: moment)) as ledger:
        ledger.create()
        lane = ledger.lane("audit_events", "siem", MOMENT).number
        lease = ledger.acquire(lane, "first", 60)
        assert lease is not None
        refused = ledger.acquire(lane, "second", 60)
        moment += timedelta(seconds=60)

        assert (MOMENT + timedelta(seconds=60), moment, None) == (lease.until, ledger.now(), refused)
        assert ledger.acquire(lane, "second", 60) is not None


def test_a_child_process_has_connections_of_its_own(path: Path) -> None:
    """After a fork parent and child write at the same time, and both are heard."""
    printed = python(
        f"""
        import os
        from datetime import datetime, timezone
        from sigra_forward import State
        from sigra_forward._ledger import Receipt
        from sigra_forward.stores._sqlite_ledger import SQLiteLedger
        ledger = SQLiteLedger({str(path)!r})
        ledger.create()
        moment = datetime.now(timezone.utc)
        lane = ledger.lane("audit_events", "siem", moment).number
        child = os.fork()
        for number in range(50):
            name = f"{{'parent' if child else 'child'}} {{number}}"
            ledger.record(lane, [Receipt(name, moment, State.COMPLETED, moment, moment)])
        ledger.close()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        print(len(ledger.page(lane, "", 1000)))
        ledger.close()
        """
    )

    assert "100" == printed.strip()


def test_it_is_a_ledger(ledger: SQLiteLedger) -> None:
    """The type checker takes it for the port."""
    port: Ledger = ledger

    assert [] == port.lanes()


def test_what_a_ledger_must_give_is_named_by_the_base() -> None:
    """A base that carries nothing to a database says so."""
    bare = SQLLedger(Words())

    for ask in (bare.lanes, lambda: bare.release(LEASE)):
        with pytest.raises(NotImplementedError):
            ask()


def test_a_connection_that_cannot_be_set_up_is_closed(path: Path) -> None:
    """What went wrong comes out, and nothing is left open."""
    opened: list[sqlite3.Connection] = []

    def fail(connection: sqlite3.Connection) -> None:
        opened.append(connection)
        raise KeyError

    with pytest.raises(KeyError), Connections(path, "rwc", 1.0, fail).one():
        pass  # it never comes to this

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")
