"""A database that is restarted under the relay, and jobs that come at the wrong moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError

from sigra_forward import AuditForward, CancelReason, JobArgs, Outcome, Route, State
from sigra_forward_sqlalchemy import _database
from tests.adapters.support_databases import OnMariaDB, OnPostgreSQL, OnSQLite
from tests.proof.support_postgres import OwnPostgreSQL
from tests.proof.support_setting import LONG_AGO, Collector, audit_events, row
from tests.proof.support_stage import PATIENCE, Stage, sized, wait_until

Report = Callable[..., None]


class Jobs:
    """On every database."""

    def test_a_job_that_arrives_before_its_row_is_visible(self, stage: Stage, report: Report) -> None:
        """The job is cancelled, which is no receipt: the row stays owed, and the relay delivers it."""
        stage.relay(grace=0.1)
        forwarders = {"siem": Route(Collector(stage.setting.port, {}), since=LONG_AGO)}
        with (
            AuditForward(
                repository=stage.setting.repository(),
                ledger=stage.setting.the_ledger(stage.engine),
                forwarders=forwarders,
            ) as host,
            stage.engine.begin() as connection,
        ):
            connection.execute(insert(audit_events).values(row("hidden", 1)))
            result = host.perform(JobArgs("siem", "hidden"), 1)
        stage.wait_until_settled(1)
        report(delivered_by=stage.reading_of("hidden"))

        assert (Outcome.CANCEL, CancelReason.AUDIT_EVENT_NOT_FOUND) == (result.outcome, result.reason)
        assert ["tail"] == stage.reading_of("hidden")

    def test_a_job_for_a_sink_that_an_old_worker_does_not_know(self, stage: Stage, report: Report) -> None:
        """Likewise."""
        stage.relay(grace=0.1)
        stage.commit(row("new", 1))
        forwarders = {"archive": Collector(stage.setting.port, {})}
        with AuditForward(repository=stage.setting.repository(), forwarders=forwarders) as host:
            result = host.perform(JobArgs("siem", "new"), 1)
        stage.wait_until_settled(1)
        report(delivered_by=stage.reading_of("new"))

        assert (Outcome.CANCEL, CancelReason.UNKNOWN_FORWARDER) == (result.outcome, result.reason)
        assert ["tail"] == stage.reading_of("new")


class TestOnPostgreSQL(OnPostgreSQL, Jobs):
    """PostgreSQL."""

    def test_a_relay_that_is_frozen_in_its_transaction(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, report: Report
    ) -> None:
        """The server ends the transaction, which holds the lane's row, so that another relay can take the lane."""
        soon = ("SET LOCAL idle_in_transaction_session_timeout = '1s'",)
        monkeypatch.setitem(_database._BEGINNINGS, "postgresql", soon)
        lane = stage.ledger.lane("audit_events", "siem", LONG_AGO)
        lease = stage.ledger.acquire(lane.number, "frozen", 0.1)
        is_there, is_over = Event(), Event()

        def hold(connection: Any) -> None:
            connection.execute(text("SELECT 1 FROM sigra_forward_lanes FOR SHARE"))
            is_there.set()
            is_over.wait(PATIENCE)

        with ThreadPoolExecutor(1) as threads:
            frozen = threads.submit(_database.Database(stage.engine, "frozen").change, hold)
            is_there.wait(PATIENCE)
            wait_until(lambda: stage.ledger.now() > lease.until, "the lease has ended")
            taken = stage.ledger.acquire(lane.number, "another", 1)
            is_over.set()
            error = frozen.exception()
        report(epoch=taken.epoch)

        assert lease.epoch + 1 == taken.epoch
        assert isinstance(error, DBAPIError)


class TestOnMariaDB(OnMariaDB, Jobs):
    """MariaDB."""


class TestOnSQLite(OnSQLite, Jobs):
    """SQLite."""


class TestOnOwnPostgreSQL:
    """A PostgreSQL of the test's own."""

    @pytest.fixture
    def url(self, own_postgres: OwnPostgreSQL) -> str:
        """Give the server's database."""
        return own_postgres.url

    def test_a_restart(self, own_postgres: OwnPostgreSQL, stage: Stage, report: Report) -> None:
        """The database goes away under the relay, and comes back: it says so, and nothing is missing."""
        rows = sized(400, 10_000)
        relay = stage.relay(rereads=(0.3,))
        stage.commit(*(row(f"before-{number}", number) for number in range(rows)))
        stage.wait_for(rows // 2)
        own_postgres.crash()
        stage.engine.dispose()
        wait_until(lambda: "cannot work 'siem' now" in relay.log(), "it says so")
        own_postgres.start()
        stage.commit(*(row(f"after-{number}", number) for number in range(rows)))
        stage.wait_for(2 * rows)
        stage.wait_until_settled(2 * rows)
        report(rows=2 * rows, missing=len(stage.missing()), repeats=stage.repeats())

        assert (set(), set(), 1) == (stage.missing(), stage.foreign(), relay.starts)
        assert {State.COMPLETED: 2 * rows} == stage.receipts()
