"""Rows that become visible behind the tail, in each form: each test says which reading delivers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import Connection, delete, insert, text

from tests.adapters.support_databases import OnMariaDB, OnPostgreSQL, OnSQLite
from tests.proof.support_postgres import OwnPostgreSQL
from tests.proof.support_setting import audit_events, row
from tests.proof.support_stage import Stage

NEVER = 3600.0

BY_REREAD: dict[str, Any] = {"rereads": (0.5,), "hourly": NEVER, "daily": NEVER}
BY_HOURLY: dict[str, Any] = {"rereads": (0.1,), "hourly": 1.5, "daily": NEVER}
BY_DAILY: dict[str, Any] = {"rereads": (0.1,), "hourly": NEVER, "daily": 1.5}

AGAIN = "again_0.5"

Report = Callable[..., None]


def settle(stage: Stage, *rows: dict[str, object], count: int) -> None:
    """Commit *rows*, and wait until the tail has delivered them, *count* in all."""
    stage.commit(*rows)
    stage.wait_for(count)
    stage.wait_until_settled(count)


class Rows:
    """On every database."""

    def test_an_id_that_is_drawn_early(self, stage: Stage, report: Report) -> None:
        """The number is drawn, others are drawn and committed, and the row comes behind: the re-read delivers it."""
        stage.setting = evolve(stage.setting, position="number")
        stage.relay(**BY_REREAD)
        settle(stage, row("later", 2), count=1)
        stage.commit(row("early", 1))
        stage.wait_for(2)
        report(delivered_by=stage.reading_of("early"))

        assert [AGAIN] == stage.reading_of("early")
        assert ["tail"] == stage.reading_of("later")

    def test_a_back_dated_row(self, stage: Stage, report: Report) -> None:
        """It is dated before the first row that the lane has ever seen, so that the hourly sweep begins behind it: the daily one."""
        hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
        stage.commit(row("oldest", 1))
        stage.relay(**BY_DAILY)
        settle(stage, row("new", 2), count=2)
        stage.wait_until_read_again("again_0.1")
        stage.commit(row("back-dated", 3, occurred_at=hour_ago))
        stage.wait_for(3)
        report(delivered_by=stage.reading_of("back-dated"))

        assert ["daily"] == stage.reading_of("back-dated")

    def test_a_row_that_is_dated_back_by_little(self, stage: Stage, report: Report) -> None:
        """It is dated behind what the lane began with, and long before the tail: the hourly sweep delivers it."""
        now = datetime.now(timezone.utc)
        stage.commit(row("oldest", 1, occurred_at=now - timedelta(hours=2)))
        stage.relay(**BY_HOURLY)
        settle(stage, row("new", 2), count=2)
        stage.wait_until_read_again("again_0.1")
        stage.commit(row("back-dated", 3, occurred_at=now - timedelta(hours=1)))
        stage.wait_for(3)
        report(delivered_by=stage.reading_of("back-dated"))

        assert ["hourly"] == stage.reading_of("back-dated")

    def test_a_row_that_is_restored_under_a_deleted_id(self, stage: Stage, report: Report) -> None:
        """Another event under an id that is paid for is owed all the same: the daily sweep sees that it is another."""
        before = datetime.now(timezone.utc) - timedelta(hours=1)
        stage.commit(row("oldest", 1))
        stage.relay(**BY_DAILY)
        settle(stage, row("reused", 2), count=2)
        stage.wait_until_read_again("again_0.1")
        with stage.engine.begin() as connection:
            connection.execute(delete(audit_events).where(audit_events.c.id == "reused"))
            connection.execute(insert(audit_events).values(row("reused", 3, occurred_at=before)))
        stage.wait_until_generation("reused", 2)
        report(delivered_by=stage.reading_of("reused"))

        assert ["tail", "daily"] == stage.reading_of("reused")

    def test_a_row_whose_time_is_the_same(self, stage: Stage, report: Report) -> None:
        """The same event put back under its id, by a restore, is paid for already."""
        stage.commit(row("oldest", 1))
        stage.relay(**BY_DAILY)
        same = row("restored", 2)
        settle(stage, same, count=2)
        with stage.engine.begin() as connection:
            connection.execute(delete(audit_events).where(audit_events.c.id == "restored"))
        stage.commit(same, row("after", 3, occurred_at=datetime(2021, 1, 1, tzinfo=timezone.utc)))
        stage.wait_for(3)  # the sweep that delivers the last has passed the other
        stage.wait_until_settled(3)
        report(delivered_by=stage.reading_of("restored"))

        assert ["tail"] == stage.reading_of("restored")


class Transactions(Rows):
    """Where several transactions write at once."""

    def test_a_transaction_that_was_open_when_the_tail_passed(self, stage: Stage, report: Report) -> None:
        """Its row is dated before those that are delivered already: the re-read delivers it."""
        stage.commit(row("oldest", 1))
        stage.relay(**BY_REREAD)
        stage.wait_for(1)
        with stage.engine.begin() as connection:
            connection.execute(insert(audit_events).values(row("open", 2)))
            settle(stage, row("others", 3), count=2)
        stage.wait_for(3)
        report(delivered_by=stage.reading_of("open"))

        assert [AGAIN] == stage.reading_of("open")

    def test_a_transaction_that_is_idle_for_longer_than_every_re_read(self, stage: Stage, report: Report) -> None:
        """It commits when nothing is read again but by the hourly sweep."""
        stage.commit(row("oldest", 1))
        stage.relay(**BY_HOURLY)
        stage.wait_for(1)
        with stage.engine.begin() as connection:
            connection.execute(insert(audit_events).values(row("idle", 2)))
            settle(stage, row("others", 3), count=2)
            stage.wait_until_read_again("again_0.1")
        stage.wait_for(3)
        report(delivered_by=stage.reading_of("idle"))

        assert ["hourly"] == stage.reading_of("idle")


class Prepared:
    """Where a transaction can be prepared, and committed by whoever comes later."""

    def test_a_transaction_that_is_prepared_and_committed_later(self, stage: Stage, report: Report) -> None:
        """The hourly sweep delivers what another session commits when every re-read is over."""
        stage.commit(row("oldest", 1))
        stage.relay(**BY_HOURLY)
        stage.wait_for(1)
        with stage.engine.connect() as connection:
            two_phase = connection.begin_twophase("sigra_forward_proof")
            connection.execute(insert(audit_events).values(row("prepared", 2)))
            two_phase.prepare()
            settle(stage, row("others", 3), count=2)
            stage.wait_until_read_again("again_0.1")
            two_phase.commit()
        stage.wait_for(3)
        report(delivered_by=stage.reading_of("prepared"))

        assert ["hourly"] == stage.reading_of("prepared")


class TestOnPostgreSQL(OnPostgreSQL, Transactions):
    """PostgreSQL, where each session has numbers of a sequence in store; MariaDB's server has them in common."""

    def test_a_cached_sequence(self, stage: Stage, report: Report) -> None:
        """A session that has drawn a stretch of numbers ahead writes behind one that drew later: the re-read has it."""
        stage.setting = evolve(stage.setting, position="number")
        with sequence(stage) as next_number, stage.engine.connect() as one, stage.engine.connect() as other:
            first = row("first", next_number(one))
            stage.commit(first)
            stage.relay(**BY_REREAD)
            stage.wait_for(1)
            settle(stage, row("far ahead", next_number(other)), count=2)
            stage.commit(row("behind", next_number(one)))
            stage.wait_for(3)
        report(delivered_by=stage.reading_of("behind"))

        assert [AGAIN] == stage.reading_of("behind")


class TestOnMariaDB(OnMariaDB, Transactions, Prepared):
    """MariaDB, where a prepared transaction is called XA."""


class TestOnSQLite(OnSQLite, Rows):
    """SQLite, which has one writer at a time."""


class TestOnOwnPostgreSQL(Prepared):
    """A PostgreSQL that takes prepared transactions, as the common one may not."""

    @pytest.fixture
    def url(self, own_postgres: OwnPostgreSQL) -> str:
        """Give the server's database."""
        return own_postgres.url


@contextmanager
def sequence(stage: Stage) -> Iterator[Callable[[Connection], int]]:
    """Make a sequence of which each session draws a hundred numbers ahead."""
    with stage.engine.begin() as connection:
        connection.execute(text("CREATE SEQUENCE numbers CACHE 100"))
    yield lambda connection: int(connection.execute(text("SELECT nextval('numbers')")).scalar_one())
    with stage.engine.begin() as connection:
        connection.execute(text("DROP SEQUENCE numbers"))
