"""`SQLAlchemyLedger`: what every ledger promises, on each database and by each kind of driver; and what is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, ClassVar
from uuid import uuid4

import pytest

pytest.importorskip("sqlalchemy")

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from sigra_forward import ConfigurationError, State
from sigra_forward.ports import Ledger
from sigra_forward.stores._sql_ledger import SCHEMA_VERSION
from sigra_forward.stores.adapter import Cursor, FailedAttempt, Lease, Receipt
from sigra_forward.testing import TCPProxy
from sigra_forward.testing.contracts import _ledger as contract
from sigra_forward.testing.contracts._hostile import run_in_threads
from sigra_forward.testing.contracts._ledger import LedgerContract, ask
from sigra_forward_sqlalchemy import AsyncSQLAlchemyLedger, SQLAlchemyLedger
from tests.adapters.support_databases import (
    SYNC_TWINS,
    OnMariaDB,
    OnPostgreSQL,
    OnSQLite,
    close_on,
    engine_for,
    file_url,
    sync_url,
)
from tests.support_parts import python, python_process, wait_until

MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)


def receipt(audit_event_id: str, state: State = State.COMPLETED, **fields: Any) -> Receipt:
    """Return a receipt."""
    return Receipt(audit_event_id, MOMENT, state, MOMENT, MOMENT, **fields)


class SQLAlchemyLedgerContract(LedgerContract):
    """The contract, over tables that are emptied before each test."""

    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def created(cls, url: str) -> Iterator[SQLAlchemyLedger]:
        engine = sa.create_engine(sync_url(url))
        ledger = SQLAlchemyLedger(engine, **cls.options)
        ledger.create()
        yield ledger
        if cls.options.get("schema"):
            with engine.begin() as connection:
                connection.execute(sa.schema.DropSchema(cls.options["schema"], **cls.cascade(engine)))
        engine.dispose()

    @staticmethod
    def cascade(engine: sa.Engine) -> dict[str, bool]:
        return {"cascade": True} if engine.dialect.name == "postgresql" else {}

    @pytest.fixture(name="ledger")
    def _ledger(self, url: str, created: SQLAlchemyLedger) -> Iterator[SQLAlchemyLedger]:
        with created._database.engine.begin() as connection:
            for name, table in created._their_tables.items():
                if name != "schema":
                    connection.execute(sa.delete(table))
        yield from self.made(url)

    @pytest.fixture
    def other_ledger(self, url: str) -> Iterator[SQLAlchemyLedger]:
        yield from self.made(url)

    def made(self, url: str) -> Iterator[SQLAlchemyLedger]:
        engine = engine_for(url, **self.engine_options())
        ledger = SQLAlchemyLedger(engine, **self.options)
        yield ledger
        close_on(contract._bridge, ledger)
        contract._bridge.call(lambda _: engine.dispose(), None, None)

    def engine_options(self) -> dict[str, Any]:
        return {}


class TestPostgreSQL(OnPostgreSQL, SQLAlchemyLedgerContract):
    """By psycopg 3."""


class TestPostgreSQLByPsycopg2(OnPostgreSQL, SQLAlchemyLedgerContract):
    """By psycopg2."""

    driver = "postgresql+psycopg2"


class TestPostgreSQLByAsyncpg(OnPostgreSQL, SQLAlchemyLedgerContract):
    """By asyncpg, awaited."""

    driver = "postgresql+asyncpg"


class TestPostgreSQLByPsycopgAwaited(OnPostgreSQL, SQLAlchemyLedgerContract):
    """By psycopg 3, awaited."""

    def engine_options(self) -> dict[str, Any]:
        return {"is_async": True}


class TestPostgreSQLInASchema(OnPostgreSQL, SQLAlchemyLedgerContract):
    """In a schema of its own, whose name needs quotes."""

    options: ClassVar = {"schema": 'Its "own": schema'}


class TestMariaDB(OnMariaDB, SQLAlchemyLedgerContract):
    """By PyMySQL."""


class TestMariaDBAwaited(OnMariaDB, SQLAlchemyLedgerContract):
    """By asyncmy."""

    driver = "mysql+asyncmy"


class TestMariaDBInASchema(OnMariaDB, SQLAlchemyLedgerContract):
    """In another database of the server."""

    options: ClassVar = {"schema": f"sigra_forward_{uuid4().hex[:8]}"}


class TestSQLite(OnSQLite, SQLAlchemyLedgerContract):
    """By sqlite3."""


class TestSQLiteAwaited(OnSQLite, SQLAlchemyLedgerContract):
    """By aiosqlite."""

    driver = "sqlite+aiosqlite"


# What is its own, on each database.


class LedgerOnServer:
    """What a ledger does beside the contract, on a database of its own for each test."""

    @pytest.fixture
    def engine(self, url: str) -> Iterator[sa.Engine]:
        engine = sa.create_engine(sync_url(url))
        yield engine
        SQLAlchemyLedger(engine).metadata.drop_all(engine)
        engine.dispose()

    @pytest.fixture
    def ledger(self, engine: sa.Engine) -> SQLAlchemyLedger:
        ledger = SQLAlchemyLedger(engine)
        ledger.create()
        return ledger

    def test_many_may_create_at_once(self, engine: sa.Engine) -> None:
        """Processes that start together make one set of tables, of one version."""
        run_in_threads([SQLAlchemyLedger(engine).create for _ in range(4)])

        with engine.connect() as connection:
            versions = connection.execute(sa.text("SELECT version FROM sigra_forward_schema")).scalars().all()
        assert [SCHEMA_VERSION] == versions

    def test_the_tables_of_a_newer_version_are_refused(self, engine: sa.Engine, ledger: SQLAlchemyLedger) -> None:
        """It says which version they are of and what to do, and makes no table that is missing."""
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE sigra_forward_schema SET version = 99"))
            connection.execute(sa.text("DROP TABLE sigra_forward_cursors"))

        says = (
            f"^the ledger's tables are of version 99, and this sigra-forward knows version {SCHEMA_VERSION}: upgrade it"
        )
        with pytest.raises(ConfigurationError, match=says):
            ledger.create()
        assert not sa.inspect(engine).has_table("sigra_forward_cursors")

    def test_alembic_makes_the_tables(self, engine: sa.Engine) -> None:
        """From the host's own MetaData: what it finds there is what `create` would have made, which adds the version."""
        migration = pytest.importorskip("alembic.migration")
        operations = pytest.importorskip("alembic.operations")
        autogenerate = pytest.importorskip("alembic.autogenerate")
        metadata = sa.MetaData(naming_convention={"ix": "ix_%(column_0_label)s", "pk": "pk_%(table_name)s"})
        ledger = SQLAlchemyLedger(engine, metadata=metadata)
        with engine.begin() as connection:
            context = migration.MigrationContext.configure(connection)
            script = autogenerate.produce_migrations(context, metadata)
            for operation in script.upgrade_ops.ops:
                for part in getattr(operation, "ops", [operation]):
                    operations.Operations(context).invoke(part)
        ledger.create()
        with engine.connect() as connection:
            differences = autogenerate.compare_metadata(migration.MigrationContext.configure(connection), metadata)

        assert [] == differences
        assert [] == list(ledger.lanes())

    def test_two_processes_write_at_once(self, url: str, ledger: SQLAlchemyLedger) -> None:
        """A yes wins, whoever comes first, and nobody is turned away."""
        lane = ledger.lane("audit_events", "siem", MOMENT).number
        writers = [python_process(WRITER, url, lane, state) for state in ("completed", "retryable", "completed")]

        ends = [writer.wait(60) for writer in writers]

        for writer in writers:
            writer.communicate()
        assert [0, 0, 0] == ends
        states = [found.state for found in ledger.page(lane, "", 1000)]
        assert [State.COMPLETED] * 200 == states

    def test_a_child_process_has_connections_of_its_own(self, url: str, ledger: SQLAlchemyLedger) -> None:
        """After a fork parent and child write at the same time, and both are heard."""
        lane = ledger.lane("audit_events", "siem", MOMENT).number
        python(FORKING, url, lane)

        assert 100 == len(ledger.page(lane, "", 1000))

    def test_what_comes_twice_in_one_batch_is_written_once(self, ledger: SQLAlchemyLedger) -> None:
        """In its order, by the rules."""
        lane = ledger.lane("audit_events", "siem", MOMENT).number
        states = [State.RETRYABLE, State.COMPLETED, State.DISCARDED]
        ledger.record(lane, [receipt("1", state) for state in states] + [receipt("2")])

        assert {"1": receipt("1"), "2": receipt("2")} == ledger.receipts(lane, ["1", "2"])


class LedgerWithLocks(LedgerOnServer):
    """What a server does that locks rows."""

    def test_a_deadlock_is_tried_again(self, ledger: SQLAlchemyLedger) -> None:
        """Of two transactions that wait for each other the server breaks off one, which begins anew."""
        lanes = [ledger.lane("audit_events", name, MOMENT).number for name in ("a", "b")]
        both_are_in = Barrier(2)
        begun: list[int] = []

        def lock(connection: Any, first: int, second: int) -> None:
            begun.append(first)
            update = sa.text("UPDATE sigra_forward_lanes SET epoch = epoch + 1 WHERE number = :number")
            connection.execute(update, {"number": first})
            if len(begun) <= 2:
                both_are_in.wait(30)
            connection.execute(update, {"number": second})

        run_in_threads([partial(ledger._database.change, lock, *order) for order in (lanes, lanes[::-1])])

        assert 3 == len(begun)
        with ledger._database.engine.connect() as connection:
            epochs = connection.execute(sa.text("SELECT epoch FROM sigra_forward_lanes")).scalars().all()
        assert [2, 2] == epochs

    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_lost_connection_is_an_error_and_the_next_call_works(
        self, url: str, ledger: SQLAlchemyLedger, is_async: bool
    ) -> None:
        """In every call of the port; and no receipt, lease or cursor is there that nobody was told of."""
        lane = ledger.lane("audit_events", "siem", MOMENT).number
        lease = ledger.acquire(lane, "first", 600)
        driver, _, address = (url if is_async else sync_url(url)).partition("://")
        driver = {value: key for key, value in SYNC_TWINS.items()}[driver] if is_async else driver
        there = sa.make_url(f"{driver}://{address}")
        with TCPProxy(there.host, there.port) as proxy:
            engine = engine_for(there.set(port=proxy.port).render_as_string(hide_password=False))
            behind = SQLAlchemyLedger(engine)
            for name, call in calls(lane, lease).items():
                ask(behind.lanes)
                proxy.cut()
                with pytest.raises(Exception, match=r".") as raised:
                    ask(getattr(behind, name), *call)

                assert isinstance(raised.value, (DBAPIError, OSError)), name
                assert {} == ledger.receipts(lane, ["1"])
                assert {} == ledger.cursors(lane)
                ask(getattr(behind, name), *(call if name != "record" else (lane, [])))
            close_on(contract._bridge, behind)
            contract._bridge.call(lambda _: engine.dispose(), None, None)

    def test_a_connection_that_is_lost_before_the_commit_leaves_nothing(
        self, url: str, ledger: SQLAlchemyLedger
    ) -> None:
        """All was written, and none of it counts."""
        lane = ledger.lane("audit_events", "siem", MOMENT).number
        there = sa.make_url(sync_url(url))
        with TCPProxy(there.host, there.port) as proxy:
            engine = sa.create_engine(there.set(port=proxy.port))
            behind = SQLAlchemyLedger(engine)
            sa.event.listen(engine, "commit", lambda _: proxy.cut(), once=True)
            with pytest.raises(DBAPIError):
                behind.lower(lane, MOMENT - timedelta(1), Cursor("backfill", "1"))

            assert (MOMENT, {}) == (behind.lanes()[0].floor, behind.cursors(lane))
            assert behind.lower(lane, MOMENT - timedelta(1), Cursor("backfill", "1"))
            engine.dispose()


def calls(lane: int, lease: Lease | None) -> dict[str, tuple[Any, ...]]:
    """Return the arguments of each operation of the port."""
    return {
        "create": (),
        "now": (),
        "lane": ("audit_events", "siem", MOMENT),
        "lanes": (),
        "renew": (lease, 600),
        "acquire": (lane, "second", 1),
        "block": (lane, 1),
        "look": (lane, "1"),
        "receipts": (lane, ["1"]),
        "record": (lane, [receipt("1")], lease, Cursor("tail", "1")),
        "due": (lane, 1),
        "next_due": (lane,),
        "counts": (lane,),
        "page": (lane, "", 1),
        "attempts": (lane, "1"),
        "cursors": (lane,),
        "release": (lease,),
    }


WRITER = """
import sys
from datetime import datetime, timezone
import sqlalchemy as sa
from sigra_forward import State
from sigra_forward.stores.adapter import Receipt
from sigra_forward_sqlalchemy import SQLAlchemyLedger
url, lane, state = sys.argv[1:]
ids = [f"{number:03}" for number in range(200)]
moment = datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)
engine = sa.create_engine(url)
ledger = SQLAlchemyLedger(engine)
for turn in range(10):
    order = ids[turn * 20 :] + ids[: turn * 20]
    ledger.record(int(lane), [Receipt(name, moment, State(state), moment, moment) for name in order])
engine.dispose()
"""

FORKING = """
import os, sys, warnings
from datetime import datetime, timezone
import sqlalchemy as sa
from sigra_forward import State
from sigra_forward.stores.adapter import Receipt
from sigra_forward_sqlalchemy import SQLAlchemyLedger
url, lane = sys.argv[1:]
moment = datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)
engine = sa.create_engine(url)
ledger = SQLAlchemyLedger(engine)
ledger.lanes()
child = os.fork()
for number in range(50):
    name = f"{'parent' if child else 'child'} {number}"
    ledger.record(int(lane), [Receipt(name, moment, State.COMPLETED, moment, moment)])
engine.dispose()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


class TestOnPostgreSQL(OnPostgreSQL, LedgerWithLocks):
    """Beside the contract, on PostgreSQL."""

    def test_receipts_are_looked_up_one_by_one_whatever_the_planner_believes(self, engine: sa.Engine) -> None:
        """A plan that was made when the table was empty reads each receipt by the index, and no more of the table."""
        ledger = SQLAlchemyLedger(engine)
        ledger.create()
        query = sa.text("EXPLAIN " + ledger._sql(ledger._words.receipts))
        with engine.connect() as connection:
            plan = connection.execute(query, {"lane": 1, "ids": ledger._words.ids(["1", "2"])}).scalars().all()

        assert 1 == sum("Index" in line and "pkey on sigra_forward_receipts" in line for line in plan), plan
        assert 1 == sum("Limit" in line for line in plan), plan

    def test_all_that_is_recorded_is_one_statement(self, ledger: SQLAlchemyLedger) -> None:
        """So it takes one round trip, and a process that is frozen meanwhile leaves no transaction open."""
        lane = ledger.lane("audit_events", "siem", MOMENT).number
        lease = ledger.acquire(lane, "first", 600)
        failure = FailedAttempt("1", 1, 1, MOMENT, "http_500")
        with _statements(ledger) as statements:
            assert ledger.record(lane, [receipt("1"), receipt("2")], lease, Cursor("tail", "9"), [failure])

        assert (["WITH"], ["1", "2"]) == (statements, sorted(ledger.receipts(lane, ["1", "2"])))
        assert ({"tail": Cursor("tail", "9")}, [failure]) == (ledger.cursors(lane), ledger.attempts(lane, "1"))

    def test_a_lane_that_is_being_taken_is_waited_for(self, ledger: SQLAlchemyLedger, engine: sa.Engine) -> None:
        """Whoever had it before then writes nothing but what the sink has said yes to."""
        lane = ledger.lane("audit_events", "siem", MOMENT).number
        lease = ledger.acquire(lane, "first", 600)
        failure = FailedAttempt("2", 1, 1, MOMENT, "http_500")
        told: list[bool] = []
        with engine.connect() as connection:
            connection.execute(sa.text("UPDATE sigra_forward_lanes SET epoch = epoch + 1"))
            given = ([receipt("1"), receipt("2", State.RETRYABLE)], lease, Cursor("tail", "9"), [failure])
            recording = Thread(target=lambda: told.append(ledger.record(lane, *given)))
            recording.start()
            wait_until(lambda: _waits_for_a_lock(engine))
            connection.commit()
        recording.join()

        assert ([False], ["1"]) == (told, list(ledger.receipts(lane, ["1", "2"])))
        assert ({}, []) == (ledger.cursors(lane), ledger.attempts(lane, "2"))

    def test_a_statement_that_is_broken_off_is_tried_again(self, ledger: SQLAlchemyLedger, engine: sa.Engine) -> None:
        """It waits for a receipt of a transaction that waits for its lane: the server breaks it off."""
        lane = ledger.lane("audit_events", "siem", MOMENT).number
        lease = ledger.acquire(lane, "first", 600)
        ledger.record(lane, [receipt("1", State.RETRYABLE)])
        told: list[bool] = []
        with engine.connect() as connection, _statements(ledger) as statements:
            connection.execute(sa.text("SET LOCAL deadlock_timeout = '60s'"))  # the other one is to be the victim
            connection.execute(sa.text("UPDATE sigra_forward_receipts SET detail = 'a'"))
            recording = Thread(target=lambda: told.append(ledger.record(lane, [receipt("1")], lease)))
            recording.start()
            wait_until(lambda: _waits_for_a_lock(engine))
            connection.execute(sa.text("UPDATE sigra_forward_lanes SET floor = floor"))
            connection.commit()
            recording.join()

        assert ([True], ["WITH", "WITH"]) == (told, [words for words in statements if words == "WITH"])
        assert {"1": receipt("1")} == ledger.receipts(lane, ["1"])


@contextmanager
def _statements(ledger: SQLAlchemyLedger) -> Iterator[list[str]]:
    """Yield the first words of the statements that *ledger* sends, and of no other."""
    engine, words = ledger._database.engine, list[str]()

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        words.append(statement.split(maxsplit=1)[0])

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield words
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def _waits_for_a_lock(engine: sa.Engine) -> bool:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with engine.connect() as connection:
        return bool(connection.execute(sa.text(waiting)).all())


class TestOnMariaDB(OnMariaDB, LedgerWithLocks):
    """Beside the contract, on MariaDB."""


class TestOnSQLite(OnSQLite, LedgerOnServer):
    """Beside the contract, on SQLite."""


# Options.


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """Give an engine on a SQLite file."""
    engine = sa.create_engine(file_url("sqlite", tmp_path))
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"schema": ""}, "SQLAlchemyLedger: schema must be a str that is not empty"),
        ({"schema": 5}, "SQLAlchemyLedger: schema must be a str that is not empty"),
        ({"metadata": object()}, "SQLAlchemyLedger: metadata must be SQLAlchemy's MetaData, as your models have one"),
    ],
)
def test_options_make_sense(sqlite_engine: sa.Engine, options: Any, says: str) -> None:
    """A bad option is refused at construction, with what is allowed."""
    with pytest.raises(ConfigurationError, match=f"^{says}$"):
        SQLAlchemyLedger(sqlite_engine, **options)


def test_the_engine_must_be_one() -> None:
    """What is something else is told by its type, for it may have a password in it."""
    with pytest.raises(ConfigurationError, match=r"^SQLAlchemyLedger\(engine\) takes SQLAlchemy's .*; got a str$"):
        SQLAlchemyLedger("postgresql://user:secret@localhost")  # type: ignore[arg-type]


def test_other_databases_are_refused(sqlite_engine: sa.Engine) -> None:
    """It says which ones will do."""
    sqlite_engine.dialect.name = "oracle"

    with pytest.raises(
        ConfigurationError, match=r"^SQLAlchemyLedger works on PostgreSQL, .*; the engine is one for oracle$"
    ):
        SQLAlchemyLedger(sqlite_engine)


def test_an_async_engine_makes_an_async_ledger(tmp_path: Path) -> None:
    """Whichever of the two classes is named; and it works on one loop after the other."""
    engine = engine_for(file_url("sqlite+aiosqlite", tmp_path))

    async def use(ledger: Any) -> list[Any]:
        await ledger.create()
        lanes = await ledger.lanes()
        await ledger.close()
        await ledger.close()
        return list(lanes)

    for kind in (SQLAlchemyLedger, AsyncSQLAlchemyLedger):
        ledger = kind(engine)
        assert isinstance(ledger, AsyncSQLAlchemyLedger)
        assert [[], []] == [asyncio.run(use(ledger)), asyncio.run(use(ledger))]


def test_it_is_a_ledger(sqlite_engine: sa.Engine) -> None:
    """The type checker takes it for the port."""
    ledger = SQLAlchemyLedger(sqlite_engine)
    ledger.create()
    port: Ledger = ledger

    assert [] == port.lanes()


def test_a_host_may_translate_its_schema(tmp_path: Path) -> None:
    """The tables are where the engine is told to look for those of the schema that they are said to be in."""
    engine = sa.create_engine(
        file_url("sqlite", tmp_path), execution_options={"schema_translate_map": {"tenant": "main"}}
    )
    ledger = SQLAlchemyLedger(engine, schema="tenant")
    ledger.create()
    ledger.create()

    assert [] == ledger.lanes()
    assert "sigra_forward_lanes" in sa.inspect(engine).get_table_names()
    engine.dispose()


def test_two_ledgers_may_share_a_metadata(sqlite_engine: sa.Engine) -> None:
    """Each has the tables; they are there once."""
    metadata = sa.MetaData()
    ledgers = [SQLAlchemyLedger(sqlite_engine, metadata=metadata) for _ in range(2)]

    assert 5 == len(metadata.tables)
    assert ledgers[0].metadata is ledgers[1].metadata is metadata


def test_a_host_in_autocommit_has_its_receipts_in_transactions(tmp_path: Path) -> None:
    """Whatever the isolation level of its engine is, a batch that fails leaves nothing behind."""
    engine = sa.create_engine(file_url("sqlite", tmp_path), isolation_level="AUTOCOMMIT")
    ledger = SQLAlchemyLedger(engine)
    ledger.create()
    lane = ledger.lane("audit_events", "siem", MOMENT).number
    wrong = receipt("2", generation=None)

    with pytest.raises(DBAPIError):
        ledger.record(lane, [receipt("1"), wrong])

    assert {} == ledger.receipts(lane, ["1"])
    engine.dispose()
