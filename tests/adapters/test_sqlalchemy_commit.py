"""`dispatch_on_commit`: a row goes out when the outermost transaction that wrote it has committed, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

pytest.importorskip("sqlalchemy")

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from sigra_forward import AuditForward, ConfigurationError
from sigra_forward.stores import SQLiteAuditRepository
from sigra_forward.testing import RecordingForwarder
from sigra_forward_sqlalchemy import SQLAlchemyAuditRepository, dispatch_on_commit
from tests.adapters.support_databases import OnMariaDB, OnPostgreSQL, file_url

UTC = timezone.utc
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Base(DeclarativeBase):
    """The host's models."""


class Event(Base):
    """Its audit events."""

    __tablename__ = "audit_events"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    action: Mapped[str] = mapped_column(sa.String(255))
    occurred_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True), default=lambda: NOON)
    details: Mapped[dict[str, Any] | None] = mapped_column("metadata", sa.JSON)


class Other(Base):
    """Something else that it writes."""

    __tablename__ = "others"

    id: Mapped[int] = mapped_column(primary_key=True)


class Numbered(Base):
    """Audit events whose id and time are the database's."""

    __tablename__ = "numbered"

    id: Mapped[int] = mapped_column(primary_key=True)
    action: Mapped[str] = mapped_column(sa.String(255))
    occurred_at: Mapped[datetime] = mapped_column(sa.DateTime(), server_default=sa.func.current_timestamp())
    shown: Mapped[str] = mapped_column(sa.String(255), sa.Computed("upper(action)", persisted=True))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """Give a database that has the tables, by a pool of one connection: whoever wants a second one waits in vain."""
    engine = sa.create_engine(file_url("sqlite", tmp_path), pool_size=1, max_overflow=0, pool_timeout=0.1)
    fix_savepoints(engine)
    Base.metadata.create_all(engine, [Event.__table__, Other.__table__])
    yield engine
    engine.dispose()


def fix_savepoints(engine: sa.Engine) -> None:
    """Have Python's sqlite3 begin transactions where SQLAlchemy does, as SQLAlchemy's documentation says."""
    sa.event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))


@pytest.fixture
def siem() -> RecordingForwarder:
    """Give a sink."""
    return RecordingForwarder()


@pytest.fixture
def audit_forward(engine: sa.Engine, siem: RecordingForwarder) -> Iterator[AuditForward]:
    """Give a host that forwards inline."""
    with AuditForward(
        SQLAlchemyAuditRepository(engine, Event, tz=UTC, columns={"metadata": "details"}), {"siem": siem}
    ) as host:
        yield host


@pytest.fixture
def sessions(engine: sa.Engine, audit_forward: AuditForward) -> sessionmaker[Session]:
    """Give a factory whose sessions are heard."""
    factory = sessionmaker(engine)
    dispatch_on_commit(factory, audit_forward, Event)
    return factory


def actions(siem: RecordingForwarder) -> list[str]:
    """Return the actions of what the sink has got."""
    return [event.action for event in siem.events]


def test_a_row_goes_out_when_it_is_committed(sessions: Any, siem: RecordingForwarder) -> None:
    """After the commit, and not with the flush before it; what else is written does not."""
    with sessions() as session:
        session.add_all([Event(action="a", details={"method": "otp"}), Other()])
        session.flush()
        before = actions(siem)
        session.commit()

    assert ([], ["a"]) == (before, actions(siem))


def test_the_event_is_as_the_repository_tells_it(sessions: Any, siem: RecordingForwarder, audit_forward: Any) -> None:
    """Its id is spelled alike, and all else is the same."""
    with sessions() as session, session.begin():
        session.add(Event(action="a", details={"method": "otp"}))

    (event,) = siem.events
    assert audit_forward.repository.get(event.id) == event


def test_what_is_rolled_back_does_not_go_out(sessions: Any, siem: RecordingForwarder) -> None:
    """The session may be used again, and what it writes then does."""
    with sessions() as session:
        session.add(Event(action="undone"))
        session.flush()
        session.rollback()
        session.add(Event(action="done"))
        session.commit()

    assert ["done"] == actions(siem)


def test_a_commit_that_fails_dispatches_nothing(sessions: Any, siem: RecordingForwarder) -> None:
    """Neither what was flushed before, nor what could not be."""
    twice = uuid4()
    with sessions() as session:
        session.add(Event(action="flushed"))
        session.flush()
        session.add(Event(id=twice, action="first"))
        session.flush()
        session.execute(sa.text("SELECT 1"))
        session.expunge_all()
        session.add(Event(id=twice, action="second"))
        with pytest.raises(sa.exc.IntegrityError):
            session.commit()

    assert [] == actions(siem)


def test_savepoints_count_as_part_of_the_whole(sessions: Any, siem: RecordingForwarder) -> None:
    """What one keeps goes out with the outermost commit; what one rolls back does not, nested ones included."""
    with sessions() as session:
        session.add(Event(action="before"))
        with session.begin_nested():
            session.add(Event(action="kept"))
            undone = session.begin_nested()
            session.add(Event(action="undone"))
            with session.begin_nested():
                session.add(Event(action="kept in what is undone"))
            undone.rollback()
        released = actions(siem)
        session.add(Event(action="after"))
        session.commit()

    assert ([], {"before", "kept", "after"}) == (released, set(actions(siem)))


def test_a_whole_transaction_takes_its_savepoints_with_it(sessions: Any, siem: RecordingForwarder) -> None:
    """What a savepoint has kept is gone when all is rolled back."""
    with sessions() as session:
        with session.begin_nested():
            session.add(Event(action="kept for a while"))
        session.rollback()
        session.commit()

    assert [] == actions(siem)


def test_a_row_that_is_changed_before_the_commit_goes_out_as_it_is_committed(
    sessions: Any, siem: RecordingForwarder
) -> None:
    """It is read anew; and one that is deleted again does not go out."""
    with sessions() as session:
        changed, deleted = Event(action="first"), Event(action="deleted")
        session.add_all([changed, deleted])
        session.flush()
        changed.action = "second"
        session.delete(deleted)
        session.commit()

    assert ["second"] == actions(siem)


def test_each_row_goes_out_once(sessions: Any, siem: RecordingForwarder) -> None:
    """However often the session is flushed and committed."""
    with sessions() as session:
        for number in range(3):
            session.add(Event(action=str(number)))
            session.flush()
            session.flush()
            session.commit()
            session.commit()

    assert ["0", "1", "2"] == actions(siem)


def test_what_does_not_go_through_the_unit_of_work_is_not_heard(sessions: Any, siem: RecordingForwarder) -> None:
    """Bulk and Core inserts are left to the relay."""
    row = {"id": uuid4(), "action": "core", "occurred_at": NOON}
    with sessions() as session:
        session.execute(sa.insert(Event), [{"action": "orm insert"}])
        session.execute(sa.insert(Event.__table__).values(**row))
        session.bulk_save_objects([Event(action="bulk")])
        session.commit()

    assert [] == actions(siem)


def test_a_transaction_that_was_there_before_the_session_is_waited_for_by_the_relay(
    engine: sa.Engine, sessions: Any, siem: RecordingForwarder
) -> None:
    """The session is not told how it ends, so nothing goes out, whichever way that is."""
    with engine.connect() as connection, connection.begin() as outer:
        with sessions(bind=connection, join_transaction_mode="create_savepoint") as session:
            session.add(Event(action="a"))
            session.commit()
        outer.rollback()

    assert [] == actions(siem)


def test_nothing_is_raised_into_the_commit(
    engine: sa.Engine, sessions: Any, monkeypatch: pytest.MonkeyPatch, audit_forward: Any, caplog: Any
) -> None:
    """What goes wrong is told, by its type alone, and the row is there."""

    def fail(_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(audit_forward, "dispatch", fail)
    with sessions() as session:
        row = Event(action="a")
        session.add(row)
        session.commit()
        told = str(row.id)

    assert [f"event {told} was committed but not dispatched, and is left to the relay: RuntimeError"] == caplog.messages
    assert audit_forward.repository.get(told) is not None


def test_nothing_is_raised_into_the_flush(
    sessions: Any, monkeypatch: pytest.MonkeyPatch, audit_forward: Any, caplog: Any
) -> None:
    """What cannot be noted is left to the relay, and the transaction goes on."""

    def fail(_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(audit_forward.repository, "told", fail)
    with sessions() as session:
        session.add(Event(action="a"))
        session.commit()

    assert [
        "what was written could not be noted for dispatch, and is left to the relay: RuntimeError"
    ] == caplog.messages


def test_a_row_that_is_no_event_is_told(sessions: Any, siem: RecordingForwarder, caplog: Any) -> None:
    """It stays owed, and the others go out."""
    with sessions() as session:
        session.add_all([Event(action=""), Event(action="good")])
        session.commit()

    assert ["good"] == actions(siem)
    assert ["UnreadableRowError"] == [message.rpartition(": ")[2] for message in caplog.messages]


def test_no_query_is_made_where_all_is_in_memory(engine: sa.Engine, sessions: Any, siem: RecordingForwarder) -> None:
    """Neither within the transaction nor after it."""
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with sessions() as session:
        session.add(Event(action="a"))
        session.commit()

    assert ["BEGIN", "INSERT"] == [statement.split()[0] for statement in statements if "PRAGMA" not in statement]
    assert ["a"] == actions(siem)


def test_it_can_be_undone(engine: sa.Engine, audit_forward: AuditForward, siem: RecordingForwarder) -> None:
    """After that nothing is heard, and it may be undone twice."""
    factory = sessionmaker(engine)
    hook = dispatch_on_commit(factory, audit_forward, Event)
    hook.detach()
    hook.detach()
    with factory() as session:
        session.add(Event(action="a"))
        session.commit()

    assert [] == actions(siem)


@pytest.mark.parametrize("kind", ["scoped", "class", "session"])
def test_sessions_of_every_kind_are_heard(
    engine: sa.Engine, audit_forward: AuditForward, siem: RecordingForwarder, kind: str
) -> None:
    """A scoped_session, a class of sessions, or a single one."""

    class Mine(Session):
        pass

    session: Any = {"scoped": scoped_session(sessionmaker(engine)), "class": Mine(engine), "session": Session(engine)}[
        kind
    ]
    hook = dispatch_on_commit(Mine if kind == "class" else session, audit_forward, Event)
    session.add(Event(action="a"))
    session.commit()
    session.close()
    hook.detach()

    assert ["a"] == actions(siem)


@pytest.mark.parametrize(
    ("factory", "model"), [(None, Event), (object(), Event), (sessionmaker(), object), (sessionmaker(), 5)]
)
def test_what_it_takes_is_told(audit_forward: AuditForward, factory: Any, model: Any) -> None:
    """Something else is refused at once."""
    with pytest.raises(ConfigurationError, match=r"^dispatch_on_commit\(.*\) takes a "):
        dispatch_on_commit(factory, audit_forward, model)


def test_with_another_repository_the_row_is_read_by_its_key(
    engine: sa.Engine, tmp_path: Path, siem: RecordingForwarder
) -> None:
    """It spells the id, as it does for the relay."""
    repository = SQLiteAuditRepository(tmp_path / "database.db", id_type=UUID, tz=UTC)
    factory = sessionmaker(engine)
    with AuditForward(repository, {"siem": siem}) as host:
        dispatch_on_commit(factory, host, Event)
        with factory() as session:
            session.add(Event(action="a"))
            session.commit()

    (event,) = siem.events
    assert str(UUID(event.id)) == event.id


# Async sessions


@asynccontextmanager
async def async_host(tmp_path: Path, siem: Any) -> AsyncIterator[tuple[Any, AuditForward]]:
    """Give an async engine on a database that has the tables, and a host on it."""
    engine = create_async_engine(file_url("sqlite+aiosqlite", tmp_path))
    fix_savepoints(engine.sync_engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all, [Event.__table__])
    repository: Any = SQLAlchemyAuditRepository(engine, Event, tz=UTC, columns={"metadata": "details"})
    host = AuditForward(repository, {"siem": siem})
    yield engine, host
    host.close()
    await repository.close()
    await engine.dispose()


@pytest.mark.parametrize("kind", ["maker", "scoped", "session", "class"])
def test_async_sessions_are_heard(tmp_path: Path, siem: RecordingForwarder, kind: str) -> None:
    """The dispatch is awaited after the outermost commit; savepoints count as they do for others."""

    async def write() -> list[str]:
        async with async_host(tmp_path, siem) as (engine, host):

            class Mine(AsyncSession):
                pass

            maker = async_sessionmaker(engine)
            single = AsyncSession(engine)
            factory: Any = {
                "maker": maker,
                "scoped": async_scoped_session(maker, lambda: 1),
                "session": single,
                "class": Mine,
            }[kind]
            hook = dispatch_on_commit(factory, host, Event)
            session = {"session": single, "class": Mine(engine)}.get(kind) or maker()
            async with session, AsyncSession(engine) as unheard:
                session.add(Event(action="kept"))
                nested = await session.begin_nested()
                session.add(Event(action="undone"))
                await session.flush()
                await nested.rollback()
                before = actions(siem)
                await session.commit()
                session.add(changed := Event(action="first"))
                await session.flush()
                changed.action = "changed"
                await session.commit()
                unheard.add(Event(action="unheard"))
                await unheard.commit()
                hook.detach()
                session.add(Event(action="afterwards"))
                await session.commit()
            if kind in {"maker", "scoped"}:
                async with maker() as session:
                    session.add(Event(action="unheard too"))
                    await session.commit()
            await single.close()
            return before

    assert [] == asyncio.run(write())
    assert ["kept", "changed"] == actions(siem)


# Real servers


class CommitOnServer:
    """What only a server does."""

    @pytest.fixture
    def server_engine(self, url: str) -> Iterator[sa.Engine]:
        engine = sa.create_engine(url)
        Base.metadata.create_all(engine)
        yield engine
        Base.metadata.drop_all(engine)
        engine.dispose()

    def test_what_the_database_has_filled_in_is_read(self, server_engine: sa.Engine, siem: RecordingForwarder) -> None:
        """A key, a default, a column that is computed: nothing of it is in memory."""
        repository = SQLAlchemyAuditRepository(server_engine, Numbered, tz=UTC, extra=("shown",))
        factory = sessionmaker(server_engine)
        with AuditForward(repository, {"siem": siem}) as host:
            dispatch_on_commit(factory, host, Numbered)
            with factory() as session:
                session.add_all([Numbered(action="a"), Numbered(action="b")])
                session.commit()

        assert {"1": "A", "2": "B"} == {event.id: event.extra["shown"] for event in siem.events}


class TestOnPostgreSQL(OnPostgreSQL, CommitOnServer):
    """By psycopg 3."""


class TestOnMariaDB(OnMariaDB, CommitOnServer):
    """By PyMySQL, whose server takes prepared transactions without being set up for them."""

    def test_two_phases_are_one_commit(self, server_engine: sa.Engine, siem: RecordingForwarder) -> None:
        """What is prepared goes out when it is committed."""
        factory = sessionmaker(server_engine, twophase=True)
        repository = SQLAlchemyAuditRepository(server_engine, Event, tz=UTC, columns={"metadata": "details"})
        with AuditForward(repository, {"siem": siem}) as host:
            dispatch_on_commit(factory, host, Event)
            with factory() as session:
                session.add(Event(action="a"))
                session.prepare()
                prepared = actions(siem)
                session.commit()

        assert ([], ["a"]) == (prepared, actions(siem))
