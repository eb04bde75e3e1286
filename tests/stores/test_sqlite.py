"""`SQLiteAuditRepository`, over tables as hosts have them."""

from __future__ import annotations

import gc
import json
import sqlite3
import warnings
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar
from uuid import UUID, uuid4

import pytest

from sigra_forward import AuditEvent, ConfigurationError, JobArgs, perform
from sigra_forward._source import Found
from sigra_forward.errors import UnreadableRowError
from sigra_forward.stores import SQLiteAuditRepository
from sigra_forward.testing import RecordingForwarder
from sigra_forward.testing.contracts._audit_source import AuditSourceContract
from tests.support_parts import InThread, python, python_process

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
UUID_1 = UUID("7d44e1e5-6f3c-4e2f-8f0a-9d6d8a1b2c3d")


class Host:
    """The host's own connection to its database."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *statements: str, values: tuple[object, ...] = ()) -> None:
        """Run and commit *statements*, waiting for no lock: whatever the repository holds would be an error."""
        with closing(sqlite3.connect(self.path, timeout=0, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement, values)

    def insert(self, table: str = "audit_events", **row: object) -> None:
        """Commit one row; what is not given are a usual id, action and time."""
        row = {"id": "1", "action": "session.create", "occurred_at": "2026-01-31T12:00:00Z", **row}
        names = ", ".join(quoted(name) for name in row)
        places = ", ".join("?" * len(row))
        self.run(f"INSERT INTO {quoted(table)} ({names}) VALUES ({places})", values=tuple(row.values()))


def quoted(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(name="host")
def _host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host.db")


@pytest.fixture(name="table")
def _table(host: Host) -> Host:
    """The host, with a small audit table."""
    host.run("CREATE TABLE audit_events (id TEXT PRIMARY KEY, action TEXT, occurred_at, metadata)")
    return host


def read(host: Host, audit_event_id: str = "1", **options: object) -> AuditEvent | None:
    """Read one row by a repository of its own."""
    with closing(SQLiteAuditRepository(host.path, **options)) as repository:
        return repository.get(audit_event_id)


# The contract, for ids of every kind


class SQLiteContract(AuditSourceContract):
    """The contract over a table with all columns."""

    fields = tuple(set(AuditEvent.__annotations__) - {"source", "extra"})
    id_type: ClassVar[type] = str
    id_column = "TEXT PRIMARY KEY"

    @pytest.fixture(name="repository")
    def _repository(self, host: Host):
        columns = ", ".join(name for name in self.fields if name != "id")
        host.run(f"CREATE TABLE audit_events (id {self.id_column}, {columns})")
        self.host = host
        with closing(SQLiteAuditRepository(host.path, id_type=self.id_type)) as repository:
            yield repository

    def commit(self, repository: SQLiteAuditRepository, event: AuditEvent) -> None:
        row = {name: getattr(event, name) for name in self.fields}
        row["id"] = self.stored(event.id)
        row["occurred_at"] = event.occurred_at.isoformat()
        row["metadata"] = json.dumps(event.metadata)
        self.host.insert(**row)

    def stored(self, audit_event_id: str) -> object:
        """Spell an id as the host does."""
        return audit_event_id


class TestTextIds(SQLiteContract):
    """Ids are text of any kind."""

    def new_id(self, number: int) -> str:
        return f"Evt '{number}' \N{SNOWMAN}"


class TestIntegerIds(SQLiteContract):
    """Ids are integers, a rowid's among them."""

    id_type = int
    id_column = "INTEGER PRIMARY KEY"

    def new_id(self, number: int) -> str:
        return str(number)

    def stored(self, audit_event_id: str) -> object:
        return int(audit_event_id)


class TestUUIDsAsText(SQLiteContract):
    """Ids are UUIDs, stored with hyphens."""

    id_type = UUID


class TestUUIDsAsUpperCaseText(SQLiteContract):
    """Ids are UUIDs, stored as some other languages' drivers spell them."""

    id_type = UUID

    def new_id(self, number: int) -> str:
        return f"abcdefab-0000-4000-8000-{number:012d}"

    def stored(self, audit_event_id: str) -> object:
        return audit_event_id.upper()


class TestUUIDsAsHex(SQLiteContract):
    """Ids are UUIDs, stored without hyphens."""

    id_type = UUID
    id_column = "CHAR(32) PRIMARY KEY"

    def stored(self, audit_event_id: str) -> object:
        return UUID(audit_event_id).hex


class TestUUIDsAsBytes(SQLiteContract):
    """Ids are UUIDs, stored as 16 bytes."""

    id_type = UUID
    id_column = "BLOB PRIMARY KEY"

    def stored(self, audit_event_id: str) -> object:
        return UUID(audit_event_id).bytes


# Ids


@pytest.mark.parametrize(
    "text",
    ["", "01", "+1", "-0", " 1", "1 ", "1_0", "1.0", "1e0", "0x1", "\u0661", str(2**63), "-" + str(2**63 + 1), "x"],
)
def test_text_that_is_not_an_integers_own_spelling_is_no_integer_id(host: Host, text: str) -> None:
    """Only the one spelling of an integer, within SQLite's range, finds a row."""
    host.run("CREATE TABLE audit_events (id INTEGER PRIMARY KEY, action, occurred_at)")
    for number in (0, 1, 10):
        host.insert(id=number)

    assert read(host, text, id_type=int) is None


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, -(2**63)])
def test_every_integer_that_sqlite_holds_is_found(host: Host, number: int) -> None:
    """The whole range of 64 bits can be an id."""
    host.run("CREATE TABLE audit_events (id INTEGER PRIMARY KEY, action, occurred_at)")
    host.insert(id=number)

    assert str(number) == read(host, str(number), id_type=int).id


@pytest.mark.parametrize("text", ["", "x", "7d44e1e5", str(UUID_1)[:-1], str(UUID_1) + "0", "\ud800", "0" * 4301])
def test_text_that_is_no_uuid_is_not_found(table: Host, text: str) -> None:
    """None, never an error."""
    table.insert(id=str(UUID_1))

    assert read(table, text, id_type=UUID) is None


@pytest.mark.parametrize("asked", [str(UUID_1), str(UUID_1).upper(), UUID_1.hex])
@pytest.mark.parametrize("stored", [str(UUID_1), UUID_1.hex, UUID_1.bytes], ids=["text", "hex", "bytes"])
def test_a_uuid_is_found_by_any_spelling_and_told_by_one(host: Host, asked: str, stored: object) -> None:
    """However it is stored and asked for, the event's id is the canonical UUID."""
    host.run("CREATE TABLE audit_events (id BLOB PRIMARY KEY, action, occurred_at)")
    host.insert(id=stored)

    assert str(UUID_1) == read(host, asked, id_type=UUID).id


def test_text_ids_need_not_be_uuids_to_look_like_them(table: Host) -> None:
    """Of text ids every character counts."""
    table.insert(id=str(UUID_1))

    assert read(table, str(UUID_1).upper()) is None
    assert read(table, UUID_1.hex) is None


@pytest.mark.parametrize("text", ["' OR 1=1 --", '" OR 1=1 --', "1); DROP TABLE audit_events; --", "%", "_", "?", ":1"])
def test_an_id_is_bound_and_never_spliced(table: Host, text: str) -> None:
    """SQL in an id is an id that no row has."""
    table.insert()

    assert read(table, text) is None
    assert read(table) is not None


def test_the_other_ids_may_be_uuids_stored_as_bytes(host: Host) -> None:
    """A host that stores its ids as 16 bytes does so for the actor too."""
    host.run("CREATE TABLE audit_events (id BLOB PRIMARY KEY, action, occurred_at, actor_id, target_id)")
    actor = uuid4()
    host.insert(id=UUID_1.bytes, actor_id=actor.bytes, target_id=7)

    event = read(host, str(UUID_1), id_type=UUID)

    assert (str(actor), "7", None) == (event.actor_id, event.target_id, event.organization_id)


def test_other_ids_of_other_bytes_are_an_error(host: Host) -> None:
    """Bytes that are no UUID cannot be told."""
    host.run("CREATE TABLE audit_events (id, action, occurred_at, actor_id)")
    host.insert(actor_id=b"\x00\x01")

    with pytest.raises(UnreadableRowError, match="an id must be text, an integer or a UUID"):
        read(host)


# Names that the host chose

ODD_NAMES = [
    'quo"te',
    "apo'strophe",
    "with space",
    "select",
    "Größe",
    "\N{SNOWMAN}",
    "a.b",
    "[brackets]",
    "`ticks`",
    "semi;colon",
    "--comment",
    "1digit",
    '"; DROP TABLE x; --',
    "t",
    "new\nline",
    "?1",
    "%s{0}",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_table_may_have_any_name(host: Host, name: str) -> None:
    """Table names are quoted, and are no SQL."""
    host.run("CREATE TABLE x (y)", f"CREATE TABLE {quoted(name)} (id, action, occurred_at)")
    host.insert(name)

    assert "1" == read(host, table=name).id
    host.run("SELECT y FROM x")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_column_may_have_any_name(host: Host, name: str) -> None:
    """So are column names, for fields, for the id and for extra columns."""
    host.run(
        f"CREATE TABLE audit_events (id, {quoted(name)}, occurred_at)",
        "INSERT INTO audit_events VALUES ('1', 'login', 0)",
    )

    event = read(host, columns={"action": name}, extra=(name,))

    assert ("login", {name: "login"}) == (event.action, event.extra)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_id_column_may_have_any_name(host: Host, name: str) -> None:
    """The where clause is quoted as well."""
    host.run(f"CREATE TABLE audit_events ({quoted(name)}, action, occurred_at)")
    host.run(f"INSERT INTO audit_events ({quoted(name)}, action, occurred_at) VALUES ('7', 'a', 0)")

    assert "7" == read(host, "7", columns={"id": name}).id


def test_names_are_told_apart_as_sqlite_does(host: Host) -> None:
    """The case of ASCII does not count, and that of other letters does."""
    host.run('CREATE TABLE "Audit_Events" ("ID", "Action", "Occurred_At", "É", "é")')
    host.run("INSERT INTO audit_events VALUES ('1', 'login', 0, 'upper', 'lower')")

    event = read(host, columns={"outcome": "É", "actor_type": "é"})

    assert ("1", "login", "upper", "lower") == (event.id, event.action, event.outcome, event.actor_type)


@pytest.mark.parametrize("name", ["straße", "\N{LATIN SMALL LETTER DOTLESS I}", "é", "actio", "action "])
def test_a_column_that_is_not_there_is_never_taken_for_a_text(host: Host, name: str) -> None:
    """SQLite takes a name in double quotes that it does not find for a text; here it is an error."""
    host.run('CREATE TABLE audit_events (id, action, occurred_at, "STRASSE", "i", "É")')
    host.insert()

    with pytest.raises(ConfigurationError, match="has no column for outcome="):
        read(host, columns={"outcome": name})


def test_a_missing_column_is_told_with_what_there_is(host: Host) -> None:
    """The message names every field without its column, and the columns that exist."""
    host.run("CREATE TABLE audit_events (id, kind, at)")

    with pytest.raises(ConfigurationError) as raised:
        read(host, columns={"occurred_at": "at", "actor_id": "who"}, extra=("region",))

    assert (
        "table 'audit_events' has no column for action='action', actor_id='who', extra 'region'; it has id, kind, at"
        == str(raised.value)
    )


def test_a_missing_table_is_told_by_name(host: Host) -> None:
    """The message says which option names the table."""
    host.run("CREATE TABLE other (id)")

    with pytest.raises(ConfigurationError, match=r"no table 'audit_events': SQLiteAuditRepository\(table="):
        read(host)


def test_fields_without_a_column_keep_their_defaults(host: Host) -> None:
    """Only id, action and occurred_at must be there."""
    host.run("CREATE TABLE audit_events (id, action, occurred_at)")
    host.insert()

    event = read(host)

    assert AuditEvent(id="1", action="session.create", occurred_at=NOON) == event


def test_columns_can_be_mapped_and_further_ones_handed_on(host: Host) -> None:
    """What is mapped is read from there, what is extra stands in extra, and the rest stays at home."""
    host.run("CREATE TABLE log (nr INTEGER PRIMARY KEY, what, at, outcome, result, region, secret)")
    host.run("INSERT INTO log VALUES (7, 'login', 0, 'ignored', 'success', X'00FF', 's3cret')")

    event = read(
        host,
        "7",
        table="log",
        id_type=int,
        columns={"id": "nr", "action": "what", "occurred_at": "at", "outcome": "result"},
        extra=("region", "outcome"),
        source="log",
    )

    assert ("log", "7", "login", "success") == (event.source, event.id, event.action, event.outcome)
    assert {"region": b"\x00\xff", "outcome": "ignored"} == event.extra


# Tables of every kind


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE raw (n, a, o)", "CREATE VIEW audit_events AS SELECT n id, a action, o occurred_at FROM raw"),
        ("CREATE TABLE audit_events (id TEXT PRIMARY KEY, action, occurred_at) WITHOUT ROWID",),
        ("CREATE TABLE audit_events (id TEXT PRIMARY KEY, action TEXT, occurred_at TEXT, b BLOB)",),
        ("CREATE VIRTUAL TABLE audit_events USING fts5(id, action, occurred_at)",),
    ],
    ids=["view", "without rowid", "usual", "virtual"],
)
def test_a_table_may_be_of_any_kind(host: Host, statements: tuple[str, ...]) -> None:
    """Views, tables without rowid and virtual tables are read alike."""
    host.run(*statements)
    if "raw" in statements[0]:
        host.run("INSERT INTO raw VALUES ('1', 'session.create', '2026-01-31T12:00:00Z')")
    else:
        host.insert()

    assert ("1", NOON) == (read(host).id, read(host).occurred_at)


@pytest.mark.parametrize("kind", ["VIRTUAL", "STORED"])
def test_a_column_may_be_generated(host: Host, kind: str) -> None:
    """A generated column is a column, though SQLite's table_info hides it."""
    host.run(
        "CREATE TABLE audit_events (id, verb, noun, occurred_at,"
        f" action TEXT GENERATED ALWAYS AS (noun || '.' || verb) {kind})"
    )
    host.run("INSERT INTO audit_events (id, verb, noun, occurred_at) VALUES ('1', 'create', 'session', 0)")

    assert "session.create" == read(host).action


def test_a_database_may_appear_later(host: Host) -> None:
    """A database that is not there yet is an error to retry; nothing is created in its place."""
    with closing(SQLiteAuditRepository(host.path)) as repository:
        with pytest.raises(sqlite3.OperationalError):
            repository.get("1")
        assert not host.path.exists()
        host.run("CREATE TABLE audit_events (id, action, occurred_at)")
        host.insert()

        assert "1" == repository.get("1").id


def test_a_table_may_appear_later(host: Host) -> None:
    """The table is looked for again with the next call."""
    host.run("CREATE TABLE other (id)")
    with closing(SQLiteAuditRepository(host.path)) as repository:
        with pytest.raises(ConfigurationError):
            repository.get("1")
        host.run("CREATE TABLE audit_events (id, action, occurred_at)")
        host.insert()

        assert "1" == repository.get("1").id


def test_a_column_that_is_added_is_read_from_then_on(table: Host) -> None:
    """A migration may run under a repository that has read before."""
    table.insert()
    with closing(SQLiteAuditRepository(table.path)) as repository:
        before = repository.get("1")
        table.run("ALTER TABLE audit_events ADD COLUMN outcome DEFAULT 'success'")

        assert (None, "success") == (before.outcome, repository.get("1").outcome)


def test_a_column_that_is_dropped_is_left_at_its_default(table: Host) -> None:
    """Never its own name as a text, which is what SQLite would give for a name in quotes."""
    table.run("ALTER TABLE audit_events ADD COLUMN outcome DEFAULT 'success'")
    table.insert()
    with closing(SQLiteAuditRepository(table.path)) as repository:
        before = repository.get("1")
        table.run("ALTER TABLE audit_events RENAME COLUMN outcome TO result")

        assert ("success", None) == (before.outcome, repository.get("1").outcome)


def test_a_column_that_must_be_there_is_missed_when_it_is_dropped(table: Host) -> None:
    """The error is the one of the first call, and it ends when the column is back."""
    table.insert()
    with closing(SQLiteAuditRepository(table.path)) as repository:
        repository.get("1")
        table.run("ALTER TABLE audit_events RENAME COLUMN action TO act")
        with pytest.raises(ConfigurationError, match="no column for action"):
            repository.get("1")
        table.run("ALTER TABLE audit_events RENAME COLUMN act TO action")

        assert "session.create" == repository.get("1").action


def test_a_column_that_is_dropped_in_the_midst_of_a_call_is_an_error(table: Host) -> None:
    """Between the look at the table and the query there is a moment: then the call fails, and the next is right."""

    class Overtaken(SQLiteAuditRepository):
        def _planned(self, connection: sqlite3.Connection) -> object:
            query = super()._planned(connection)
            for statement in statements:
                table.run(statement)
            statements.clear()
            return query

    statements = ["ALTER TABLE audit_events RENAME COLUMN outcome TO result"]
    table.run("ALTER TABLE audit_events ADD COLUMN outcome DEFAULT 'success'")
    table.insert()
    with closing(Overtaken(table.path)) as repository:
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            repository.get("1")

        assert repository.get("1").outcome is None


def test_columns_may_change_places(table: Host) -> None:
    """A table that is rebuilt with its columns in another order is read by their names."""
    table.insert()
    with closing(SQLiteAuditRepository(table.path)) as repository:
        repository.get("1")
        table.run(
            "CREATE TABLE rebuilt AS SELECT occurred_at, action, id FROM audit_events",
            "DROP TABLE audit_events",
            "ALTER TABLE rebuilt RENAME TO audit_events",
        )

        assert ("1", "session.create") == (repository.get("1").id, repository.get("1").action)


# Values


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (None, {}),
        ("null", {}),
        ("{}", {}),
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        (b'{"a": 1}', {"a": 1}),
    ],
    ids=["NULL", "JSON null", "empty", "nested", "bytes"],
)
def test_metadata_is_a_json_object_or_nothing(table: Host, stored: object, expected: object) -> None:
    """A host without details writes NULL, or null as its JSON type does."""
    table.insert(metadata=stored)

    assert expected == read(table).metadata


@pytest.mark.parametrize(
    "stored",
    ["[1]", '"text"', "1", "true", "", "{", "{'a': 1}", b"\xff", "[" * 100_000, 7, 1.5],
    ids=["array", "text", "number", "bool", "empty", "cut", "python", "bytes", "deep", "integer", "real"],
)
def test_metadata_that_is_no_object_is_an_error(table: Host, stored: object) -> None:
    """Such a row cannot be told, and is never told without its metadata."""
    table.insert(metadata=stored)

    with pytest.raises(UnreadableRowError, match="metadata"):
        read(table)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31 12:00:00z", NOON),
        ("2026-01-31T12:00Z", NOON),
        ("2026-01-31T12:00:00+00:00", NOON),
        ("2026-01-31 14:00:00+02:00", NOON),
        ("2026-01-31 06:30:00 -0530", NOON),
        ("2026-01-31T13:00:00+01", NOON),
        ("2026-01-31T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-01-31T12:00:00.123456789Z", NOON + timedelta(microseconds=123456)),
    ],
)
def test_a_time_may_be_iso_text_with_an_offset(table: Host, stored: str, expected: datetime) -> None:
    """With a T or a space, Z or an offset, and fractions of any length."""
    table.insert(occurred_at=stored)

    assert expected == read(table).occurred_at


@pytest.mark.parametrize(
    "stored", ["2026-01-31T13:00:00", "2026-01-31 13:00:00", "2026-01-31 13:00:00.000000"], ids=["T", "space", "µs"]
)
def test_a_time_without_an_offset_is_in_the_zone_that_the_host_names(table: Host, stored: str) -> None:
    """tz= says which zone it is in."""
    table.insert(occurred_at=stored)

    assert NOON == read(table, tz=timezone(timedelta(hours=1))).occurred_at


def test_a_time_without_an_offset_is_an_error_without_tz(table: Host) -> None:
    """No zone is guessed; the message names the option."""
    table.insert(occurred_at="2026-01-31 12:00:00")

    with pytest.raises(ValueError, match=r"occurred_at has no offset: tell SQLiteAuditRepository\(tz=\.\.\.\)"):
        read(table)


def test_a_time_with_an_offset_keeps_it_under_tz(table: Host) -> None:
    """tz= is for the times that have none."""
    table.insert(occurred_at="2026-01-31T12:00:00Z")

    assert NOON == read(table, tz=timezone(timedelta(hours=9))).occurred_at


def test_sqlites_own_timestamps_are_read(host: Host) -> None:
    """CURRENT_TIMESTAMP has a space, no fraction and no offset, and is in UTC."""
    host.run("CREATE TABLE audit_events (id, action, occurred_at DEFAULT CURRENT_TIMESTAMP)")
    host.run("INSERT INTO audit_events (id, action) VALUES ('1', 'login')")

    assert timezone.utc == read(host, tz=timezone.utc).occurred_at.tzinfo


@pytest.mark.parametrize(
    ("stored", "unit", "expected"),
    [
        (0, 1, datetime(1970, 1, 1, tzinfo=timezone.utc)),
        (1769860800, 1, NOON),
        (1769860800.25, 1, NOON + timedelta(milliseconds=250)),
        (1769860800123, 0.001, NOON + timedelta(milliseconds=123)),
        (1769860800123456, 1e-6, NOON + timedelta(microseconds=123456)),
        (-86400, 1, datetime(1969, 12, 31, tzinfo=timezone.utc)),
    ],
    ids=["zero", "seconds", "fraction", "milliseconds", "microseconds", "before 1970"],
)
def test_a_time_may_be_a_number_since_1970(table: Host, stored: object, unit: float, expected: datetime) -> None:
    """Integers and reals, in the host's unit."""
    table.insert(occurred_at=stored)

    assert expected == read(table, epoch_unit=unit).occurred_at


@pytest.mark.parametrize("stored", [1769860800123456, -(2**63), 2**63 - 1, 1e300, float("inf")])
def test_a_number_that_is_no_time_is_an_error(table: Host, stored: float) -> None:
    """The message asks for the unit, which is what is wrong most often."""
    table.insert(occurred_at=stored)

    with pytest.raises(ValueError, match="epoch_unit"):
        read(table)


@pytest.mark.parametrize("stored", ["yesterday", "2027-01-31", "2026-13-31T12:00:00Z", "", "1769860800"])
def test_text_that_is_no_time_is_an_error_that_does_not_quote_it(table: Host, stored: str) -> None:
    """The message names the field."""
    table.insert(occurred_at=stored)

    with pytest.raises(UnreadableRowError, match=r": occurred_at is not an ISO 8601") as raised:
        read(table)
    assert not stored or stored not in str(raised.value)


@pytest.mark.parametrize("stored", [b"2026-01-31T12:00:00Z", None], ids=["bytes", "NULL"])
def test_a_time_of_another_kind_is_an_error(table: Host, stored: object) -> None:
    """Bytes and NULL name no moment."""
    table.insert(occurred_at=stored)

    with pytest.raises(UnreadableRowError, match="occurred_at"):
        read(table)


def test_the_time_of_insertion_is_read_alike_and_may_be_absent(host: Host) -> None:
    """inserted_at follows the same rules, and may be NULL."""
    host.run("CREATE TABLE audit_events (id, action, occurred_at, inserted_at)")
    host.insert(inserted_at=1769860800)
    host.insert(id="2", inserted_at=None)

    assert (NOON, None) == (read(host).inserted_at, read(host, "2").inserted_at)


def test_text_that_is_not_utf8_is_an_error(table: Host) -> None:
    """A row that cannot be decoded is never told with replacements, and the next one is."""
    table.run("INSERT INTO audit_events (id, action, occurred_at) VALUES ('1', CAST(X'ff' AS TEXT), 0)")
    table.insert(id="2")
    with closing(SQLiteAuditRepository(table.path)) as repository:
        with pytest.raises(sqlite3.OperationalError):
            repository.get("1")

        assert "2" == repository.get("2").id


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"database": ":memory:"}, "':memory:' is not"),
        ({"database": ""}, "the path of a database file"),
        ({"database": 7}, "the path of a database file"),
        ({"table": ""}, "a table or column name must be a str that is not empty"),
        ({"table": "a\x00b"}, "no NUL"),
        ({"table": "a\ud800"}, "no lone surrogate"),
        ({"table": 7}, "a table or column name must be a str"),
        ({"columns": {"id": ""}}, "a table or column name"),
        ({"columns": {"idd": "id"}}, "'idd', which it cannot place"),
        ({"columns": {"source": "src"}}, "'source', which it cannot place"),
        ({"columns": {"extra": "x"}}, "'extra', which it cannot place"),
        ({"extra": "region"}, "extra must be a tuple"),
        ({"extra": None}, "extra must be a tuple"),
        ({"extra": (7,)}, "a table or column name"),
        ({"id_type": float}, "id_type must be"),
        ({"tz": "UTC"}, "tz must be a tzinfo"),
        ({"epoch_unit": 0}, "epoch_unit must be"),
        ({"epoch_unit": True}, "epoch_unit must be"),
        ({"source": "a b"}, "source must be"),
        ({"timeout": -1}, "timeout must be"),
        ({"timeout": float("inf")}, "timeout must be"),
    ],
    ids=lambda value: str(value).encode("ascii", "replace").decode() if isinstance(value, dict) else "",
)
def test_an_option_that_makes_no_sense_is_told_at_construction(options: dict[str, object], words: str) -> None:
    """The message names the option."""
    with pytest.raises(ConfigurationError, match=words):
        SQLiteAuditRepository(**{"database": "host.db", **options})


@pytest.mark.parametrize("name", ["a b.db", "a?b.db", "a#b.db", "a%20b.db", "ü.db", "a'b\".db"])
def test_the_databases_path_may_have_any_characters(tmp_path: Path, name: str) -> None:
    """The path is no URI, whatever it looks like."""
    host = Host(tmp_path / name)
    host.run("CREATE TABLE audit_events (id, action, occurred_at)")
    host.insert()

    assert "1" == read(host).id


def test_a_relative_path_means_the_directory_at_construction(table: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that changes its directory later reads the same database."""
    table.insert()
    monkeypatch.chdir(table.path.parent)
    with closing(SQLiteAuditRepository(table.path.name)) as repository:
        monkeypatch.chdir("/")

        assert "1" == repository.get("1").id


# The host is left alone


def test_its_connections_cannot_write(table: Host) -> None:
    """Should a query ever try to change something, SQLite refuses."""
    with (
        pytest.raises(sqlite3.OperationalError, match="readonly"),
        SQLiteAuditRepository(table.path)._connections.one() as connection,
    ):
        connection.execute("DELETE FROM audit_events")


def test_reading_leaves_the_file_as_it_was(table: Host) -> None:
    """Not a byte of the database changes."""
    table.insert()
    before = table.path.read_bytes()

    read(table)

    assert before == table.path.read_bytes()
    assert [table.path] == list(table.path.parent.iterdir())


@pytest.mark.parametrize("audit_event_id", ["1", "2"], ids=["found", "not found"])
def test_it_holds_no_lock_between_calls(table: Host, audit_event_id: str) -> None:
    """A host that waits for nobody can have the whole database for itself, and drop the table."""
    table.insert()
    with closing(SQLiteAuditRepository(table.path)) as repository:
        repository.get(audit_event_id)

        table.run("BEGIN EXCLUSIVE", "DROP TABLE audit_events", "COMMIT")


def test_it_holds_no_lock_after_an_error(table: Host) -> None:
    """Nor does it after a call that failed."""
    table.insert(metadata="junk")
    with closing(SQLiteAuditRepository(table.path)) as repository:
        with pytest.raises(ValueError, match=r"."):
            repository.get("1")

        table.run("BEGIN EXCLUSIVE", "DROP TABLE audit_events", "COMMIT")


def test_a_locked_database_is_an_error_within_the_timeout_and_no_longer_than_it_lasts(table: Host) -> None:
    """It waits for a writer as long as it was told to, and reads again when the lock is gone."""
    table.insert()
    with (
        closing(SQLiteAuditRepository(table.path, timeout=0.05)) as repository,
        closing(sqlite3.connect(table.path, isolation_level=None)) as writer,
    ):
        writer.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                repository.get("1")
        writer.execute("ROLLBACK")

        assert "1" == repository.get("1").id


def test_it_waits_for_a_lock_that_is_let_go_in_time(table: Host) -> None:
    """A short exclusive lock of the host costs time and is no error."""
    table.insert()
    with (
        closing(SQLiteAuditRepository(table.path, timeout=60)) as repository,
        closing(sqlite3.connect(table.path, isolation_level=None)) as writer,
    ):
        writer.execute("BEGIN EXCLUSIVE")
        call = InThread(repository.get, "1")
        writer.execute("ROLLBACK")

        assert "1" == call.result().id


def test_it_sees_no_row_before_it_is_committed(table: Host) -> None:
    """A row in an open transaction is not there; in WAL mode reading goes on meanwhile."""
    table.run("PRAGMA journal_mode = WAL")
    with (
        closing(SQLiteAuditRepository(table.path)) as repository,
        closing(sqlite3.connect(table.path, isolation_level=None)) as writer,
    ):
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO audit_events (id, action, occurred_at) VALUES ('1', 'login', 0)")
        before = repository.get("1")
        writer.execute("COMMIT")

        assert (None, "1") == (before, repository.get("1").id)


WRITER = """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
    for number in range(int(sys.argv[2])):
        connection.execute("INSERT INTO audit_events (id, action, occurred_at) VALUES (?, 'login', 0)", (str(number),))
        print(number, flush=True)
    connection.close()
"""


def test_another_process_writes_on_while_it_reads(table: Host) -> None:
    """In WAL mode a writer that waits for no lock never meets one of ours, and every row is there once committed."""
    table.run("PRAGMA journal_mode = WAL")
    with closing(SQLiteAuditRepository(table.path)) as repository, python_process(WRITER, table.path, 300) as writer:
        found = [repository.get(line.strip()).id for line in writer.stdout]

    assert (0, [str(number) for number in range(300)]) == (writer.returncode, found)


# Connections


def test_a_connection_is_kept_for_the_next_call(table: Host) -> None:
    """One thread needs one connection, however often it reads."""
    with closing(SQLiteAuditRepository(table.path)) as repository:
        repository.get("1")
        (kept,) = repository._connections._free
        repository.get("1")

        assert [kept] == list(repository._connections._free)


def test_calls_that_overlap_have_a_connection_each(table: Host) -> None:
    """No thread waits for, or shares, the connection of another."""
    with closing(SQLiteAuditRepository(table.path)) as repository:
        with repository._connections.one() as first, repository._connections.one() as second:
            assert first is not second

        assert {first, second} == set(repository._connections._free)


def test_a_connection_that_failed_is_not_used_again(table: Host) -> None:
    """What an error left behind in it goes with it."""
    with closing(SQLiteAuditRepository(table.path)) as repository:
        with pytest.raises(KeyError), repository._connections.one() as connection:
            raise KeyError

        assert [] == list(repository._connections._free)
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


def test_it_can_be_used_again_after_close(table: Host) -> None:
    """A later call opens a connection anew."""
    table.insert()
    repository = SQLiteAuditRepository(table.path)
    for _ in range(2):
        assert "1" == repository.get("1").id
        repository.close()
        repository.close()


def test_nothing_is_left_open_after_close(table: Host) -> None:
    """No ResourceWarning, also not after errors."""
    repository = SQLiteAuditRepository(table.path)
    table.insert(metadata="junk")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match=r"."):
            repository.get("1")
        repository.close()
        del repository
        gc.collect()

    assert [] == [str(warning.message) for warning in warned]


FORKING = """
    import os, sys
    from sigra_forward.stores import SQLiteAuditRepository

    repository = SQLiteAuditRepository(sys.argv[1])
    assert repository.get("1").id == "1"
    parents = set(repository._connections._free)
    child = os.fork()
    assert repository.get("1").id == "1"
    if child == 0:
        assert not parents & set(repository._connections._free)
        repository.close()
        {leave}
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert repository.get("1").id == "1"
    assert repository.get("2") is None
    repository.close()
    print("done")
"""


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit(0)"])
def test_after_a_fork_each_process_has_connections_of_its_own(table: Host, leave: str, journal: str) -> None:
    """The child reads by its own and leaves its parent's alone, however it ends."""
    table.run(f"PRAGMA journal_mode = {journal}")
    table.insert()

    assert "done\n" == python(FORKING.format(leave=leave), table.path)


def test_what_to_do_about_a_row_reaches_the_result(host: Host) -> None:
    """SQLite's own CURRENT_TIMESTAMP has no offset: the result of the job says which option tells the zone."""
    host.run("CREATE TABLE audit_events (id, action, occurred_at DEFAULT CURRENT_TIMESTAMP)")
    host.run("INSERT INTO audit_events (id, action) VALUES ('1', 'session.create')")
    repository = SQLiteAuditRepository(host.path)

    result = perform(JobArgs("siem", "1"), repository=repository, forwarders={"siem": RecordingForwarder()})
    repository.close()

    assert "UnreadableRowError" == result.reason
    assert "SQLiteAuditRepository(tz=...)" in str(result.detail)


@pytest.mark.parametrize("spelling", ["01", " 1", "1.0", "+1", "1e0"])
def test_another_spelling_of_an_integer_is_not_found_where_ids_are_taken_for_text(host: Host, spelling: str) -> None:
    """An INTEGER column would take it for 1; the id of that row is 1 and nothing else."""
    host.run("CREATE TABLE audit_events (id INTEGER PRIMARY KEY, action, occurred_at)")
    host.insert(id=1)
    repository = SQLiteAuditRepository(host.path)

    found = repository.get("1"), repository.get(spelling)
    repository.close()

    assert (True, None) == (found[0] is not None, found[1])


# Reading the table in its order


def scan_all(repository: SQLiteAuditRepository, limit: int = 1, **options: object) -> list[Found]:
    """Read the whole table, page by page."""
    found: list[Found] = []
    while page := repository.scan(found[-1].position if found else None, limit, **options):
        found += page
    return found


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize(
    ("expected", "positions"),
    [
        pytest.param(["2", "1"], {"1": 20, "2": 3}, id="numbers"),
        pytest.param(["2", "1", "3"], {"1": 0.1 + 0.2, "2": 0.3, "3": 1e300}, id="fractions"),
        pytest.param(["2", "1"], {"1": "2026-02-01", "2": "2026-01-31 10:00"}, id="texts"),
        pytest.param(["1", "2", "3", "4"], {"1": 99, "2": "1", "3": "a", "4": b"\x00"}, id="kinds"),
        pytest.param(["1", "2", "3"], {"3": 1, "1": None, "2": None}, id="nulls"),
        pytest.param(["1", "2"], {"1": None, "2": None}, id="nothing but nulls"),
    ],
)
def test_rows_are_read_in_the_order_of_their_position(
    host: Host, limit: int, expected: list[str], positions: dict[str, object]
) -> None:
    """Whatever is in the column, each row comes once, and a row without a position is not lost."""
    host.run("CREATE TABLE audit_events (id TEXT, action TEXT, occurred_at TEXT, seq)")
    for name, position in positions.items():
        host.insert(id=name, seq=position)
    with closing(SQLiteAuditRepository(host.path, position="seq")) as repository:
        found = scan_all(repository, limit)
        head = repository.head()

        assert expected == [row.audit_event_id for row in found]
        assert head == found[-1].position
        for index, row in enumerate(found):
            assert expected[: index + 1] == [
                row.audit_event_id for row in repository.scan(None, 100, until=row.position)
            ]
            rest = repository.scan(row.position, 100, until=head)
            assert expected[index + 1 :] == [row.audit_event_id for row in rest]


def test_ids_in_bytes_break_ties_too(host: Host) -> None:
    """A UUID that is stored as 16 bytes is a position's second part."""
    host.run("CREATE TABLE audit_events (id BLOB, action TEXT, occurred_at TEXT)")
    ids = [UUID(int=number) for number in range(1, 4)]
    for uuid in ids:
        host.insert(id=uuid.bytes)
    with closing(SQLiteAuditRepository(host.path, id_type=UUID)) as repository:
        assert list(map(str, ids)) == [row.audit_event_id for row in scan_all(repository)]


def test_a_position_must_be_there(table: Host) -> None:
    """A column that is not in the table is named, with those that are."""
    with (
        closing(SQLiteAuditRepository(table.path, position="seq")) as repository,
        pytest.raises(ConfigurationError, match=r"has no column for position='seq'; it has id, action"),
    ):
        repository.head()


@pytest.mark.parametrize(
    ("says", "row"),
    [
        ("occurred_at", {"occurred_at": "yesterday"}),
        ("action", {"action": None}),
        ("metadata is no JSON", {"metadata": "{"}),
        ("metadata is no JSON", {"metadata": '{"a": 1} {"b": 2}'}),
        ("metadata is no JSON", {"metadata": '{"a": }'}),
        ("id", {"id": "x" * 256}),
    ],
)
def test_a_row_that_cannot_be_told_stops_nothing(table: Host, says: str, row: dict[str, object]) -> None:
    """It is found with the reason, and the rows behind it are found too."""
    table.insert(**{"id": "1", **row})
    table.insert(id="2", occurred_at="2027-01-01T00:00:00Z")
    with closing(SQLiteAuditRepository(table.path, position="id")) as repository:
        found = scan_all(repository, whole=True)
        many = repository.get_many([row.audit_event_id for row in found])

    broken = next(row for row in found if row.audit_event_id != "2")
    assert ({"2"}, None) == ({row.audit_event_id for row in found if row.event}, broken.event)
    assert says in str(broken.error)
    assert [str(broken.error)] == [str(told) for told in many.values() if isinstance(told, UnreadableRowError)]


def test_a_time_that_cannot_be_told_is_told_of_in_a_brief_scan(table: Host) -> None:
    """The id alone is known then, and the reason."""
    table.insert(occurred_at="yesterday")
    with closing(SQLiteAuditRepository(table.path)) as repository:
        (row,) = repository.scan(None, 10)

    assert ("1", None) == (row.audit_event_id, row.occurred_at)
    assert "occurred_at is not an ISO 8601" in str(row.error)


def test_an_id_that_cannot_be_one_is_told_as_it_looks(host: Host) -> None:
    """A row with junk for a UUID is found all the same."""
    host.run("CREATE TABLE audit_events (id TEXT, action TEXT, occurred_at TEXT)")
    host.insert(id="junk")
    with closing(SQLiteAuditRepository(host.path, id_type=UUID)) as repository:
        (row,) = repository.scan(None, 10, whole=True)

    assert ("junk", None, True) == (row.audit_event_id, row.event, row.error is not None)


def test_an_integer_column_finds_what_was_asked_for_alone(host: Host) -> None:
    """SQLite takes "01" for 1 there, and we do not."""
    host.run("CREATE TABLE audit_events (id INTEGER PRIMARY KEY, action TEXT, occurred_at TEXT)")
    host.insert(id=1)
    with closing(SQLiteAuditRepository(host.path)) as repository:
        assert ["1"] == list(repository.get_many(["1", "01", " 1"]))
        assert {} == repository.get_many(["01", " 1"])
