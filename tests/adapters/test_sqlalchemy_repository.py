"""`SQLAlchemyAuditRepository`: what every source promises, over tables as hosts have them, by each kind of driver."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import pytest

pytest.importorskip("sqlalchemy")

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.dialects.postgresql import ENUM, INET, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sigra_forward import AuditEvent, ConfigurationError
from sigra_forward.errors import UnreadableRowError
from sigra_forward.testing.contracts import _audit_repository, _audit_source
from sigra_forward.testing.contracts._audit_source import AuditSourceContract
from sigra_forward_sqlalchemy import SQLAlchemyAuditRepository
from tests.adapters.support_databases import OnMariaDB, OnPostgreSQL, OnSQLite, close_on, engine_for, file_url, sync_url

UTC = timezone.utc
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
UUID_1 = UUID("7d44e1e5-6f3c-4e2f-8f0a-9d6d8a1b2c3d")

MICROSECONDS = sa.DateTime(timezone=True).with_variant(DATETIME(fsp=6), "mysql")
DETAILS = sa.JSON().with_variant(JSONB(), "postgresql")


def audit_table(id_type: Any, name: str = "audit_events", **columns: Any) -> sa.Table:
    """Return an audit table with all columns."""
    kinds = {
        "id": id_type,
        "action": sa.String(255),
        "occurred_at": MICROSECONDS,
        "inserted_at": MICROSECONDS,
        "metadata": DETAILS,
        **columns,
    }
    texts = (name for name in AuditEvent.__annotations__ if name not in {*kinds, "source", "extra"})
    kinds |= dict.fromkeys(texts, sa.String(255))
    options = {"id": {"primary_key": True, "autoincrement": False}, "occurred_at": {"nullable": False}}
    return sa.Table(
        name, sa.MetaData(), *(sa.Column(column, kind, **options.get(column, {})) for column, kind in kinds.items())
    )


class RepositoryContract(AuditSourceContract):
    """The contract over a table with all columns, which is emptied before each test."""

    fields = tuple(set(AuditEvent.__annotations__) - {"source", "extra"})
    table: ClassVar[sa.Table]
    options: ClassVar[dict[str, Any]] = {"tz": UTC}

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls, url: str) -> Iterator[sa.Engine]:
        engine = sa.create_engine(sync_url(url))
        cls.table.metadata.create_all(engine)
        yield engine
        engine.dispose()

    @pytest.fixture(name="repository")
    def _repository(self, url: str, host: sa.Engine) -> Iterator[SQLAlchemyAuditRepository]:
        with host.begin() as connection:
            connection.execute(sa.delete(self.table))
        self.host_engine = host
        engine = engine_for(url, **self.engine_options())
        repository = SQLAlchemyAuditRepository(engine, self.named(), **self.options)
        yield repository
        for bridge in (_audit_source._bridge, _audit_repository._bridge):
            close_on(bridge, repository)
        _audit_source._bridge.call(lambda _: engine.dispose(), None, None)

    def engine_options(self) -> dict[str, Any]:
        return {}

    def named(self) -> Any:
        return self.table

    def commit(self, repository: Any, event: AuditEvent) -> None:
        row = {name: getattr(event, name) for name in self.fields}
        row["id"] = self.stored(event.id)
        with self.host_engine.begin() as connection:
            connection.execute(sa.insert(self.table).values(**row))

    def stored(self, audit_event_id: str) -> object:
        """Spell an id as the host does."""
        return audit_event_id


class WithUUIDs(RepositoryContract):
    """Ids are UUIDs, in a column of their own kind."""

    table = audit_table(sa.Uuid())

    def stored(self, audit_event_id: str) -> object:
        return UUID(audit_event_id)


class WithTexts(RepositoryContract):
    """Ids are text of any kind."""

    table = audit_table(sa.String(255))

    def new_id(self, number: int) -> str:
        return f"Evt '{number}' \N{SNOWMAN}"


class WithIntegers(RepositoryContract):
    """Ids are integers, by a table that is looked up by its name."""

    table = audit_table(sa.BigInteger())

    def new_id(self, number: int) -> str:
        return str(number)

    def stored(self, audit_event_id: str) -> object:
        return int(audit_event_id)

    def named(self) -> str:
        return "audit_events"


class TestUUIDsOnPostgreSQL(OnPostgreSQL, WithUUIDs):
    """By psycopg 3."""


class TestUUIDsOnPostgreSQLByPsycopg2(OnPostgreSQL, WithUUIDs):
    """By psycopg2."""

    driver = "postgresql+psycopg2"


class TestUUIDsOnPostgreSQLByAsyncpg(OnPostgreSQL, WithUUIDs):
    """By asyncpg, awaited."""

    driver = "postgresql+asyncpg"


class TestUUIDsOnPostgreSQLByPsycopgAwaited(OnPostgreSQL, WithUUIDs):
    """By psycopg 3, awaited."""

    def engine_options(self) -> dict[str, Any]:
        return {"is_async": True}


class TestTextsOnPostgreSQL(OnPostgreSQL, WithTexts):
    """By psycopg 3."""


class TestIntegersOnPostgreSQL(OnPostgreSQL, WithIntegers):
    """By psycopg 3."""


class TestIntegersOnPostgreSQLByAsyncpg(OnPostgreSQL, WithIntegers):
    """By asyncpg, awaited."""

    driver = "postgresql+asyncpg"


class TestUUIDsOnMariaDB(OnMariaDB, WithUUIDs):
    """By PyMySQL."""


class TestTextsOnMariaDB(OnMariaDB, WithTexts):
    """By PyMySQL."""


class TestIntegersOnMariaDBAwaited(OnMariaDB, WithIntegers):
    """By asyncmy."""

    driver = "mysql+asyncmy"


class TestTextsOnMariaDBAwaited(OnMariaDB, WithTexts):
    """By asyncmy."""

    driver = "mysql+asyncmy"


class TestUUIDsOnSQLite(OnSQLite, WithUUIDs):
    """By sqlite3."""


class TestTextsOnSQLite(OnSQLite, WithTexts):
    """By sqlite3."""


class TestIntegersOnSQLiteAwaited(OnSQLite, WithIntegers):
    """By aiosqlite."""

    driver = "sqlite+aiosqlite"


class TestSequenceOnPostgreSQL(OnPostgreSQL, WithIntegers):
    """In the order of the ids themselves."""

    options: ClassVar = {"position": "id"}

    def test_rows_at_one_moment_are_told_apart(self, repository: Any) -> None:
        """So they are anyway."""
        super().test_rows_at_one_moment_are_told_apart(repository)


# Tables as hosts have them.


class Base(DeclarativeBase):
    """The host's models."""


class Entry(Base):
    """An audit table whose names are not the fields'."""

    __tablename__ = "entries"

    nr: Mapped[int] = mapped_column("entry_nr", primary_key=True)
    verb: Mapped[str] = mapped_column("what", sa.String(255))
    at: Mapped[datetime] = mapped_column(sa.DateTime())
    region: Mapped[str | None] = mapped_column(sa.String(16))


def host_engine(tmp_path: Path, *statements: str) -> sa.Engine:
    """Return an engine on a SQLite database after *statements*."""
    engine = sa.create_engine(file_url("sqlite", tmp_path))
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    return engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """Give a database with a small audit table of texts."""
    engine = host_engine(tmp_path, "CREATE TABLE audit_events (id TEXT PRIMARY KEY, action, occurred_at, metadata)")
    yield engine
    engine.dispose()


def insert(engine: sa.Engine, table: str = "audit_events", **row: object) -> None:
    """Commit one row, as it is; what is not given are a usual id, action and time."""
    row = {"id": "1", "action": "session.create", "occurred_at": "2026-01-31T12:00:00Z", **row}
    names = ", ".join(row)
    with engine.begin() as connection:
        places = ", ".join(f":{name}" for name in row)
        connection.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({places})"), row)


def test_a_mapped_class_is_read_by_its_attributes(engine: sa.Engine) -> None:
    """Columns may be named as the class names them, or as the table does; the rest stays at home."""
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(Entry).values(nr=7, verb="login", at=datetime(2026, 1, 31, 12), region="eu"))  # noqa: DTZ001
    for names in ({"id": "nr", "action": "verb"}, {"id": "entry_nr", "action": "what"}):
        repository = SQLAlchemyAuditRepository(
            engine, Entry, columns={**names, "occurred_at": "at"}, extra=("region",), tz=UTC, source="entries"
        )

        expected = AuditEvent(id="7", action="login", occurred_at=NOON, source="entries", extra={"region": "eu"})
        found = repository.get("7")
        assert found is not None
        assert expected.to_dict() == found.to_dict()


def test_a_row_that_is_no_event_is_an_error_of_its_own(engine: sa.Engine) -> None:
    """The others are read, whichever way they are asked for; the error says what is wrong, and quotes nothing."""
    insert(engine, id="1")
    insert(engine, id="2", occurred_at="s3cret")
    insert(engine, id="3", metadata='{"s3cret": ')
    insert(engine, id="4", occurred_at=None)
    insert(engine, id="5", action="")
    insert(engine, id="6")
    repository = SQLAlchemyAuditRepository(engine)

    many = repository.get_many(["1", "2", "3", "4", "5", "6"])
    whole, brief = (repository.scan(None, 10, whole=whole) for whole in (True, False))

    readable = {"1", "6"}
    assert readable == {name for name, told in many.items() if isinstance(told, AuditEvent)}
    assert readable == {row.audit_event_id for row in whole if row.event}
    assert readable | {"3", "5"} == {row.audit_event_id for row in brief if row.occurred_at}
    assert 6 == len(whole) == len(brief) == repository.count()
    errors = [str(row.error) for row in (*whole, *brief) if row.error] + [
        str(told) for told in many.values() if isinstance(told, UnreadableRowError)
    ]
    assert 10 == len(errors)
    assert not any("s3cret" in error for error in errors)
    with pytest.raises(UnreadableRowError, match=r"occurred_at is not an ISO 8601 date and time"):
        repository.get("2")


def test_rows_without_a_position_come_first(engine: sa.Engine) -> None:
    """Each once, in pages of any size; and the head is the last of all."""
    for name, moment in (("1", None), ("2", "2026-01-31T12:00:01Z"), ("3", None), ("4", "2026-01-31T12:00:00Z")):
        insert(engine, id=name, occurred_at=moment)
    repository = SQLAlchemyAuditRepository(engine)
    found = repository.scan(None, 10)
    positions = [row.position for row in found]

    assert ["1", "3", "4", "2"] == [row.audit_event_id for row in found]
    assert repository.head() == positions[-1]
    for after, until, expected in ((0, 2, ["3", "4"]), (2, 3, ["2"]), (0, 1, ["3"]), (3, 0, [])):
        stretch = repository.scan(positions[after], 10, until=positions[until])
        assert expected == [row.audit_event_id for row in stretch]
        assert len(expected) == repository.count(after=positions[after], until=positions[until])
    paged = [repository.scan(positions[number - 1] if number else None, 1)[0].audit_event_id for number in range(4)]
    assert ["1", "3", "4", "2"] == paged


def test_an_empty_position_has_a_head(engine: sa.Engine) -> None:
    """Where no row has a position, it is the last by its id."""
    insert(engine, id="1", occurred_at=None)
    insert(engine, id="2", occurred_at=None)
    repository = SQLAlchemyAuditRepository(engine)

    assert repository.scan(None, 10)[-1].position == repository.head()


@pytest.mark.parametrize("asked", [str(UUID_1), str(UUID_1).upper(), UUID_1.hex])
@pytest.mark.parametrize("kind", ["TEXT", "CHAR(32)", "BLOB"])
@pytest.mark.parametrize(
    "stored", [str(UUID_1), str(UUID_1).upper(), UUID_1.hex, UUID_1.bytes], ids=["text", "upper", "hex", "bytes"]
)
def test_a_uuid_is_found_by_any_spelling_and_told_by_one(tmp_path: Path, asked: str, kind: str, stored: Any) -> None:
    """However it is stored and asked for, the event's id is the canonical UUID."""
    if (kind == "BLOB") != isinstance(stored, bytes):
        return  # which no host does
    engine = host_engine(tmp_path, f"CREATE TABLE audit_events (id {kind} PRIMARY KEY, action, occurred_at)")
    insert(engine, id=stored)
    event = SQLAlchemyAuditRepository(engine, id_type=UUID).get(asked)
    engine.dispose()

    assert event is not None
    assert str(UUID_1) == event.id


class Zoned(sa.TypeDecorator[datetime]):
    """A host's own type: a time in UTC, stored without saying so."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: object) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _: object) -> datetime | None:
        if value is not None and value.year == 1999:
            raise RuntimeError("s3cret")
        return None if value is None else value.replace(tzinfo=UTC)


def test_a_hosts_own_type_reads_its_column(tmp_path: Path) -> None:
    """What it raises is an error of that row, and its message stays at home."""
    engine = host_engine(tmp_path)
    table = sa.Table(
        "audit_events",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("action", sa.Text),
        sa.Column("occurred_at", Zoned, nullable=False),
    )
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        for number, moment in enumerate((NOON, NOON.replace(year=1999), NOON), 1):
            connection.execute(sa.insert(table).values(id=number, action="a", occurred_at=moment))
    repository = SQLAlchemyAuditRepository(engine, table)
    found = {row.audit_event_id: row for row in repository.scan(None, 10, whole=True)}
    engine.dispose()

    assert [NOON, NOON] == [found[name].occurred_at for name in ("1", "3")]
    assert str(found["2"].error).endswith("its column's own type raised RuntimeError")


@pytest.mark.parametrize("name", ['quo"te', "select", "Größe", "a.b", "semi;colon", "%s{0}", "with space"])
def test_names_may_be_anything(tmp_path: Path, name: str) -> None:
    """Of tables and of columns."""
    quoted = '"' + name.replace('"', '""') + '"'
    engine = host_engine(tmp_path)
    with engine.begin() as connection:
        driver = connection.connection.driver_connection
        driver.execute(f"CREATE TABLE {quoted} (id, {quoted}, occurred_at)")
        driver.execute(f"INSERT INTO {quoted} VALUES ('1', 'login', 0)")
    event = SQLAlchemyAuditRepository(engine, name, columns={"action": name}, extra=(name,)).get("1")
    engine.dispose()

    assert event is not None
    assert ("login", {name: "login"}) == (event.action, event.extra)


def test_a_missing_table_may_appear_later(tmp_path: Path) -> None:
    """It is looked for again with the next call; the message says which option names it."""
    engine = host_engine(tmp_path)
    repository = SQLAlchemyAuditRepository(engine)
    with pytest.raises(ConfigurationError, match=r"no table 'audit_events': SQLAlchemyAuditRepository\(table="):
        repository.get("1")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE audit_events (id, action, occurred_at)")
    insert(engine)

    event = repository.get("1")
    engine.dispose()
    assert event is not None


def test_a_missing_column_is_told_with_what_there_is(tmp_path: Path) -> None:
    """The message names every field without its column, and the columns that exist; at once, where they are known."""
    engine = host_engine(tmp_path)
    table = sa.Table("log", sa.MetaData(), *(sa.Column(name, sa.Text) for name in ("id", "kind", "at")))

    with pytest.raises(ConfigurationError) as raised:
        SQLAlchemyAuditRepository(
            engine, table, columns={"occurred_at": "at", "actor_id": "who"}, extra=("region",), position="nr"
        )

    assert (
        "table 'log' has no column for action='action', actor_id='who', extra 'region', position='nr'; "
        "it has id, kind, at" == str(raised.value)
    )
    engine.dispose()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"table": 5}, "table must be a Table, a mapped class, or a name"),
        ({"table": ""}, "table must be a Table, a mapped class, or a name"),
        ({"table": object}, "table must be a Table, a mapped class, or a name"),
        ({"columns": {"nonsense": "x"}}, "columns names 'nonsense', which it cannot place: see AuditEvent's fields"),
        ({"columns": {"id": ""}}, "the name of a column, or of a schema, must be a str that is not empty"),
        ({"extra": "region"}, "extra must be a tuple of column names"),
        ({"table": Entry, "schema": "x"}, "schema goes with the name of a table; a Table has its own"),
        ({"id_type": float}, "id_type must be str, int or uuid.UUID"),
        ({"tz": "UTC"}, "tz must be a tzinfo, such as datetime.timezone.utc"),
        ({"epoch_unit": 0}, "epoch_unit must be a number of seconds above 0"),
        ({"source": "a b"}, "source must be 1 to 255 of "),
    ],
)
def test_options_make_sense(engine: sa.Engine, options: dict[str, Any], says: str) -> None:
    """A bad option is refused at construction, with what is allowed."""
    with pytest.raises(ConfigurationError) as raised:
        SQLAlchemyAuditRepository(engine, **options)

    assert str(raised.value).startswith(f"SQLAlchemyAuditRepository: {says}")


def test_no_connection_is_kept(engine: sa.Engine) -> None:
    """All are back in the pool when a call has returned, or raised."""
    insert(engine, metadata="no JSON")
    repository = SQLAlchemyAuditRepository(engine)
    for call in (lambda: repository.get("1"), lambda: repository.scan("x/x", 1)):
        with pytest.raises((UnreadableRowError, KeyError)):
            call()
    repository.head()

    assert 0 == engine.pool.checkedout()


class TestOnPostgreSQL(OnPostgreSQL):
    """What only PostgreSQL has."""

    @pytest.fixture
    def server(self, url: str) -> Iterator[sa.Engine]:
        """Give an engine, and leave no table behind."""
        engine = sa.create_engine(url)
        yield engine
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        engine.dispose()

    def test_a_time_beyond_python_is_an_error_of_its_row(self, server: sa.Engine) -> None:
        """The driver raises for the whole page; the other rows of it are read all the same, and so are later pages."""
        table = audit_table(sa.Integer())
        table.metadata.create_all(server)
        with server.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO audit_events (id, action, occurred_at) VALUES "
                "(1, 'a', '-infinity'), (2, 'a', '2026-01-31 12:00+00'), (3, 'a', '12026-01-31'), (4, 'a', 'infinity')"
            )
        repository = SQLAlchemyAuditRepository(server, table)

        whole = repository.scan(None, 10, whole=True)
        paged: list[str] = []
        position = None
        while page := repository.scan(position, 1):
            paged.append(page[0].audit_event_id)
            position = page[0].position

        assert ["1", "2", "3", "4"] == [row.audit_event_id for row in whole] == paged
        assert [None, NOON, None, None] == [row.occurred_at for row in whole]
        assert repository.head() is not None

    def test_enumerations_and_addresses_are_told_as_text(self, server: sa.Engine) -> None:
        """And actions are compared as text."""
        table = audit_table(sa.Uuid(as_uuid=False), action=ENUM("login", "logout", name="actions"), ip_address=INET())
        table.metadata.create_all(server)
        with server.begin() as connection:
            row = {"id": str(UUID_1), "action": "login", "occurred_at": NOON, "ip_address": "10.0.0.1"}
            connection.execute(sa.insert(table).values(**row))
        repository = SQLAlchemyAuditRepository(server, table)

        (found,) = repository.scan(None, 10, actions=["log*", "login"], whole=True)

        assert found.event is not None
        assert ("login", "10.0.0.1", str(UUID_1)) == (found.event.action, found.event.ip_address, found.event.id)
        assert found.event == repository.get(str(UUID_1).upper())

    def test_a_folding_collation_widens_no_route(self, server: sa.Engine) -> None:
        """Letter by letter, though the column's collation takes them for the same."""
        with server.begin() as connection:
            connection.exec_driver_sql(
                "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
                "CREATE TABLE audit_events (id int PRIMARY KEY, action text COLLATE folding, occurred_at timestamptz NOT NULL);"
                "INSERT INTO audit_events VALUES (1, 'AUTH.login', now()), (2, 'auth.login', now())"
            )
        repository = SQLAlchemyAuditRepository(server)

        found = [
            [row.audit_event_id for row in repository.scan(None, 10, actions=[name])]
            for name in ("auth.login", "auth.*")
        ]

        assert [["2"], ["2"]] == found


class TestOnMariaDB(OnMariaDB):
    """What only MariaDB does."""

    @pytest.mark.parametrize("charset", ["utf8mb4", "latin1"])
    def test_its_folding_widens_no_route(self, url: str, charset: str) -> None:
        """Neither case nor accents nor trailing blanks, whatever the table's character set is."""
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"CREATE TABLE audit_events (id varchar(64) PRIMARY KEY, action varchar(64), "
                f"occurred_at datetime(6) NOT NULL) CHARACTER SET {charset}"
            )
        names = ["é.login", "e.login", "É.login", "é.login ", "é%login"]
        for number, name in enumerate(names, 1):
            insert(engine, id=f"Id{number}", action=name, occurred_at="2026-01-31 12:00:00")
        repository = SQLAlchemyAuditRepository(engine, tz=UTC)

        found = [
            [row.audit_event_id for row in repository.scan(None, 10, actions=[name])]
            for name in ("é.login", "é.*", "é%*")
        ]
        folded = [repository.get(name) for name in ("id1", "Id1 ", "ID1")]
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE audit_events")
        engine.dispose()

        assert [["Id1"], ["Id1", "Id4"], ["Id5"]] == found
        assert [None] * 3 == folded
