"""`SQLLedger`: what a ledger says to an SQL database, whatever carries it there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from operator import attrgetter
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from sigra_forward._ledger import SAME_INSTANT, Cursor, FailedAttempt, Lane, Lease, Look, Receipt
from sigra_forward._outcome import Ack, State
from sigra_forward.errors import ConfigurationError

SCHEMA_VERSION = 1

TABLES = ("lanes", "receipts", "attempts", "cursors", "schema")

T = TypeVar("T")

STATES = {State.COMPLETED: 0, State.RETRYABLE: 1, State.CANCELLED: 2, State.DISCARDED: 3}
COMPLETED, RETRYABLE = STATES[State.COMPLETED], STATES[State.RETRYABLE]

RECEIPT_COLUMNS = (
    "audit_event_id",
    "occurred_at",
    "state",
    "first_at",
    "last_at",
    "attempt",
    "due_at",
    "reason",
    "detail",
    "ack",
    "generation",
    "excuse",
)
_SELECT = ", ".join(RECEIPT_COLUMNS)

Row: TypeAlias = tuple[Any, ...]

_by_id = attrgetter("audit_event_id")

_STATE_OF = {number: state for state, number in STATES.items()}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)

IS_REUSED = f"abs(r.occurred_at - excluded.occurred_at) > {SAME_INSTANT // _MICROSECOND}"
_IS_YES = f"excluded.state = {COMPLETED} AND r.state <> {COMPLETED} AND r.generation = excluded.generation"

ANYONE = f"({IS_REUSED}) OR ({_IS_YES})"
"""When a receipt is replaced by one of whoever performs: another event has the id now, or the sink said yes to it."""

HOLDERS = f"r.state = {RETRYABLE} AND r.generation = excluded.generation"
HOLDER = f"{ANYONE} OR ({HOLDERS})"
"""When it is replaced by one of the relay that holds the lane's lease: also when it was to be tried again."""

REPLACEMENT = (
    f"generation = CASE WHEN {IS_REUSED} THEN r.generation + 1 ELSE r.generation END, "
    f"{', '.join(f'{name} = excluded.{name}' for name in RECEIPT_COLUMNS[1:] if name != 'generation')}"
)
"""What becomes of a receipt that is replaced."""


class Connection(Protocol):
    """A connection in a transaction of its own, as the ledger needs it. Parameters are spelled ``:name``."""

    def rows(self, sql: str, /, **parameters: Any) -> Sequence[Sequence[Any]]:
        """Run a query, and return all its rows."""
        ...

    def change(self, sql: str, /, **parameters: Any) -> int:
        """Run a statement, and return how many rows it matched."""
        ...

    def change_many(self, sql: str, parameters: Sequence[Mapping[str, Any]], /) -> None:
        """Run a statement once for each of *parameters*."""
        ...


class Words:
    """
    How one kind of database says what not all of them say alike; here, as SQLite does.

    Tables are spelled ``{lanes}``, the database's clock ``{now}``, parameters ``:name``.
    """

    now: ClassVar[str] = "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000"
    """The database's clock, as an expression in microseconds since 1970."""

    locked: ClassVar[str] = ""
    """What a ``SELECT`` ends with whose row nobody else may change before the transaction ends."""

    receipts: ClassVar[str] = (
        f"SELECT {_SELECT} FROM {{receipts}} "
        f"WHERE lane = :lane AND audit_event_id IN (SELECT value FROM json_each(:ids))"
    )
    """The query for the receipts of ``:ids``."""

    insert_lane: ClassVar[str] = (
        "INSERT INTO {lanes} (source, forwarder, floor) VALUES (:source, :forwarder, :floor) ON CONFLICT DO NOTHING"
    )
    upsert_cursor: ClassVar[str] = (
        "INSERT INTO {cursors} (lane, name, position, until, moved_at) "
        "VALUES (:lane, :name, :position, :until, :moved_at) ON CONFLICT (lane, name) DO UPDATE SET "
        "position = excluded.position, until = excluded.until, moved_at = excluded.moved_at"
    )
    upsert_receipt: ClassVar[str] = (
        f"INSERT INTO {{receipts}} AS r (lane, {_SELECT}) "
        f"VALUES (:lane, {', '.join(f':{name}' for name in RECEIPT_COLUMNS)}) "
        f"ON CONFLICT (lane, audit_event_id) DO UPDATE SET {REPLACEMENT} WHERE {{replaced}}"
    )

    def ids(self, audit_event_ids: Sequence[str]) -> Any:
        """Return what to pass as ``:ids``."""
        return json.dumps(list(audit_event_ids))

    def condition(self, of_receipts: str) -> str:
        """Return `ANYONE` or `HOLDER` in these words."""
        return of_receipts

    def put(self, connection: Connection, statement: str, lane: int, rows: Sequence[Row]) -> None:
        """Write *rows*, which are receipts of *lane*, by *statement*."""
        connection.change_many(
            statement, [{"lane": lane, **dict(zip(RECEIPT_COLUMNS, row, strict=True))} for row in rows]
        )


class SQLLedger:
    """
    The ledger's operations, in SQL.

    Times are microseconds since 1970, states are small numbers, ids are compared byte by byte. It is the `Ledger` of
    `sigra_forward.ports`, where each operation's promise stands.

    Args:
        words: How the database says what not all say alike.
        prefix: What the tables' names begin with, a schema and a dot included.
    """

    elsewhere: ClassVar[str] = "another schema"
    """Where its tables would be, if not here."""

    def __init__(self, words: Words, prefix: str = "") -> None:
        self._words = words
        self._tables = {name: f"{prefix}sigra_forward_{name}" for name in TABLES}

    # What carries it there.

    def _read(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        """Return ``operation(connection, *arguments)``, which only reads; an awaitable where async."""
        raise NotImplementedError

    def _change(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        """Return ``operation(connection, *arguments)``, run in a transaction of its own; an awaitable where async."""
        raise NotImplementedError

    def _sql(self, statement: str, **parts: str) -> str:
        return statement.format(now=self._words.now, **self._tables, **parts)

    # The clock.

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        return self._read(self._now)

    def _now(self, connection: Connection) -> datetime:
        ((moment,),) = connection.rows(f"SELECT {self._words.now}")
        return to_time(moment)

    def _refuse_other_version(self, version: int) -> None:
        if version != SCHEMA_VERSION:
            msg = (
                f"the ledger's tables are of version {version}, and this sigra-forward knows version {SCHEMA_VERSION}: "
                f"upgrade it, or give the ledger {self.elsewhere}"
            )
            raise ConfigurationError(msg)

    # Lanes, leases, breakers.

    def lane(self, source: str, forwarder: str, floor: datetime) -> Lane:
        """Return the lane, made with *floor* where it is not there yet."""
        return self._change(self._lane, source, forwarder, floor)

    def _lane(self, connection: Connection, source: str, forwarder: str, floor: datetime) -> Lane:
        found = self._lanes(connection, source, forwarder)
        if not found:
            insert = self._sql(self._words.insert_lane)
            connection.change(insert, source=source, forwarder=forwarder, floor=to_number(floor))
            found = self._lanes(connection, source, forwarder)
        return found[0]

    def lanes(self) -> Sequence[Lane]:
        """Return all lanes, in the order in which they were made."""
        return self._read(self._lanes)

    def _lanes(self, connection: Connection, source: str | None = None, forwarder: str | None = None) -> list[Lane]:
        where = "WHERE source = :source AND forwarder = :forwarder" if source is not None else ""
        given = {} if source is None else {"source": source, "forwarder": forwarder}
        query = self._sql(
            f"SELECT number, source, forwarder, floor, blocked_until, leased_until FROM {{lanes}} {where} "
            f"ORDER BY number"
        )
        rows = connection.rows(query, **given)
        return [
            Lane(number, of, to, to_time(its_floor), time_or_none(blocked_until), time_or_none(leased_until or None))
            for number, of, to, its_floor, blocked_until, leased_until in rows
        ]

    def acquire(self, lane: int, owner: str, seconds: float) -> Lease | None:
        """Return a lease of *lane* for *owner*, or ``None`` while somebody else has it."""
        return self._change(self._acquire, lane, owner, seconds)

    def _acquire(self, connection: Connection, lane: int, owner: str, seconds: float) -> Lease | None:
        free = connection.change(
            self._sql(
                "UPDATE {lanes} SET owner = :owner, epoch = epoch + 1, leased_until = {now} + :length "
                "WHERE number = :lane AND (leased_until <= {now} OR owner = :owner)"
            ),
            owner=owner,
            lane=lane,
            length=int(seconds * 1e6),
        )
        if not free:
            return None
        ((epoch, until),) = connection.rows(
            self._sql("SELECT epoch, leased_until FROM {lanes} WHERE number = :lane"), lane=lane
        )
        return Lease(lane, epoch, to_time(until))

    def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """Return *lease* with *seconds* left to it from now on, or ``None`` where somebody else has the lane."""
        return self._change(self._renew, lease, seconds)

    def _renew(self, connection: Connection, lease: Lease, seconds: float) -> Lease | None:
        kept = connection.change(
            self._sql("UPDATE {lanes} SET leased_until = {now} + :length WHERE number = :lane AND epoch = :epoch"),
            lane=lease.lane,
            epoch=lease.epoch,
            length=int(seconds * 1e6),
        )
        if not kept:
            return None
        ((until,),) = connection.rows(
            self._sql("SELECT leased_until FROM {lanes} WHERE number = :lane"), lane=lease.lane
        )
        return Lease(lease.lane, lease.epoch, to_time(until))

    def release(self, lease: Lease) -> None:
        """Let somebody else have the lane at once. A lease that was lost is let be."""
        return self._change(self._release, lease)  # which is an awaitable, where async

    def _release(self, connection: Connection, lease: Lease) -> None:
        connection.change(
            self._sql("UPDATE {lanes} SET leased_until = 0 WHERE number = :lane AND epoch = :epoch"),
            lane=lease.lane,
            epoch=lease.epoch,
        )

    def block(self, lane: int, seconds: float | None) -> None:
        """Open the lane's breaker for *seconds*, unless it is open for longer, or close it."""
        return self._change(self._block, lane, seconds)

    def _block(self, connection: Connection, lane: int, seconds: float | None) -> None:
        if seconds is None:
            connection.change(self._sql("UPDATE {lanes} SET blocked_until = NULL WHERE number = :lane"), lane=lane)
            return
        statement = (
            "UPDATE {lanes} SET blocked_until = {now} + :length "
            "WHERE number = :lane AND (blocked_until IS NULL OR blocked_until < {now} + :length)"
        )
        connection.change(self._sql(statement), lane=lane, length=int(seconds * 1e6))

    # Receipts.

    def look(self, lane: int, audit_event_id: str) -> Look:
        """Return what whoever is about to forward this one event must know."""
        return self._read(self._look, lane, audit_event_id)

    def _look(self, connection: Connection, lane: int, audit_event_id: str) -> Look:
        columns = ", ".join(f"r.{name}" for name in RECEIPT_COLUMNS)
        query = (
            f"SELECT {{now}}, l.blocked_until, {columns} FROM {{lanes}} l "
            f"LEFT JOIN {{receipts}} r ON r.lane = l.number AND r.audit_event_id = :audit_event_id "
            f"WHERE l.number = :lane"
        )
        ((now, blocked_until, *row),) = connection.rows(self._sql(query), lane=lane, audit_event_id=audit_event_id)
        return Look(to_time(now), None if row[0] is None else to_receipt(row), time_or_none(blocked_until))

    def receipts(self, lane: int, audit_event_ids: Sequence[str]) -> Mapping[str, Receipt]:
        """Return the receipts of the events that have one, by id."""
        return self._read(self._receipts, lane, audit_event_ids)

    def _receipts(self, connection: Connection, lane: int, audit_event_ids: Sequence[str]) -> dict[str, Receipt]:
        rows = connection.rows(self._sql(self._words.receipts), lane=lane, ids=self._words.ids(audit_event_ids))
        return {row[0]: to_receipt(row) for row in rows}

    def record(
        self,
        lane: int,
        receipts: Sequence[Receipt],
        lease: Lease | None = None,
        cursor: Cursor | None = None,
        failures: Sequence[FailedAttempt] = (),
    ) -> bool:
        """Write *receipts*, and the rest with them; tell whether *lease*, where one was given, still held."""
        return self._change(self._record, lane, receipts, lease, cursor, failures)

    def _record(
        self,
        connection: Connection,
        lane: int,
        receipts: Sequence[Receipt],
        lease: Lease | None,
        cursor: Cursor | None,
        failures: Sequence[FailedAttempt],
    ) -> bool:
        holds = lease is not None and self._holds(connection, lease)
        is_lost = lease is not None and not holds
        if is_lost:
            receipts, failures = [receipt for receipt in receipts if receipt.state is State.COMPLETED], ()
        if receipts:
            self._write(connection, lane, receipts, HOLDER if holds else ANYONE)
        if failures:
            connection.change_many(self._sql(_INSERT_ATTEMPT), [to_failure(lane, failure) for failure in failures])
        if cursor is not None and not is_lost:
            self._move(connection, lane, cursor)
        return not is_lost

    def _holds(self, connection: Connection, lease: Lease) -> bool:
        query = "SELECT 1 FROM {lanes} WHERE number = :lane AND epoch = :epoch AND leased_until > {now}"
        return bool(connection.rows(self._sql(query) + self._words.locked, lane=lease.lane, epoch=lease.epoch))

    def _write(self, connection: Connection, lane: int, receipts: Sequence[Receipt], replaced: str) -> None:
        rows = to_rows(sorted(receipts, key=_by_id))  # in one order, so that none deadlocks
        upsert = self._sql(self._words.upsert_receipt, replaced=self._words.condition(replaced))
        self._words.put(connection, upsert, lane, rows)

    def due(self, lane: int, limit: int) -> Sequence[Receipt]:
        """Return up to *limit* receipts that are to be tried again by now, the longest due first."""
        return self._read(self._due, lane, limit)

    def _due(self, connection: Connection, lane: int, limit: int) -> list[Receipt]:
        query = (
            f"SELECT {_SELECT} FROM {{receipts}} WHERE lane = :lane AND state = {RETRYABLE} AND due_at <= {{now}} "
            f"ORDER BY due_at LIMIT :limit"
        )
        return [to_receipt(row) for row in connection.rows(self._sql(query), lane=lane, limit=limit)]

    def next_due(self, lane: int) -> datetime | None:
        """Return when the next one is to be tried again, be it past or to come."""
        return self._read(self._next_due, lane)

    def _next_due(self, connection: Connection, lane: int) -> datetime | None:
        query = f"SELECT min(due_at) FROM {{receipts}} WHERE lane = :lane AND state = {RETRYABLE}"
        ((moment,),) = connection.rows(self._sql(query), lane=lane)
        return time_or_none(moment)

    def counts(self, lane: int) -> Mapping[State, int]:
        """Return how many receipts there are in each state but ``COMPLETED``, without a look at those."""
        return self._read(self._counts, lane)

    def _counts(self, connection: Connection, lane: int) -> dict[State, int]:
        query = f"SELECT state, count(*) FROM {{receipts}} WHERE lane = :lane AND state <> {COMPLETED} GROUP BY state"
        counted = dict.fromkeys((state for state in State if state is not State.COMPLETED), 0)
        return counted | {_STATE_OF[state]: count for state, count in connection.rows(self._sql(query), lane=lane)}

    def page(self, lane: int, after: str, limit: int, states: Sequence[State] = tuple(State)) -> Sequence[Receipt]:
        """Return up to *limit* receipts in the order of their ids, from the first one after *after* on."""
        return self._read(self._page, lane, after, limit, states)

    def _page(
        self, connection: Connection, lane: int, after: str, limit: int, states: Sequence[State]
    ) -> list[Receipt]:
        among = ", ".join(str(STATES[state]) for state in states)
        query = (
            f"SELECT {_SELECT} FROM {{receipts}} WHERE lane = :lane AND audit_event_id > :after "
            f"AND state IN ({among}) ORDER BY audit_event_id LIMIT :limit"
        )
        return [to_receipt(row) for row in connection.rows(self._sql(query), lane=lane, after=after, limit=limit)]

    # What an operator does.

    def earliest_unpaid(self, lane: int) -> datetime | None:
        """Return the earliest time of an event that is to be tried again, or is a dead letter without an excuse."""
        return self._read(self._earliest_unpaid, lane)

    def _earliest_unpaid(self, connection: Connection, lane: int) -> datetime | None:
        query = (
            f"SELECT min(occurred_at) FROM {{receipts}} WHERE lane = :lane AND state <> {COMPLETED} "
            f"AND (state = {RETRYABLE} OR excuse IS NULL)"
        )
        ((moment,),) = connection.rows(self._sql(query), lane=lane)
        return time_or_none(moment)

    def replay(self, lane: int, receipts: Sequence[Receipt], delay: float = 0.0) -> int:
        """Make those of *receipts* due again, *delay* seconds from now, that stand as they were given; count them."""
        return self._change(self._replay, lane, receipts, delay)

    def _replay(self, connection: Connection, lane: int, receipts: Sequence[Receipt], delay: float) -> int:
        ((moment,),) = connection.rows(f"SELECT {self._words.now}")
        statement = self._sql(
            f"UPDATE {{receipts}} SET generation = generation + 1, state = {RETRYABLE}, attempt = 0, "
            f"first_at = :moment, last_at = :moment, due_at = :due_at, "
            f"reason = NULL, detail = NULL, ack = NULL, excuse = NULL "
            f"WHERE lane = :lane AND audit_event_id = :audit_event_id "
            f"AND generation = :generation AND state = :state"
        )
        return sum(
            connection.change(
                statement,
                lane=lane,
                audit_event_id=receipt.audit_event_id,
                generation=receipt.generation,
                state=STATES[receipt.state],
                moment=moment,
                due_at=moment + int(delay * 1e6),
            )
            for receipt in sorted(receipts, key=_by_id)  # in one order, so that none deadlocks
        )

    def excuse(self, lane: int, audit_event_id: str, why: str) -> bool:
        """Write down why a dead letter shall not go out, and tell whether there was one."""
        return self._change(self._excuse, lane, audit_event_id, why)

    def _excuse(self, connection: Connection, lane: int, audit_event_id: str, why: str) -> bool:
        statement = (
            f"UPDATE {{receipts}} SET excuse = :why WHERE lane = :lane AND audit_event_id = :audit_event_id "
            f"AND state IN ({STATES[State.CANCELLED]}, {STATES[State.DISCARDED]})"
        )
        found = connection.change(self._sql(statement), lane=lane, audit_event_id=audit_event_id, why=why)
        return bool(found)

    def lower(self, lane: int, floor: datetime, cursor: Cursor) -> bool:
        """Lower the lane's floor, and write *cursor* with it; tell whether it was higher."""
        return self._change(self._lower, lane, floor, cursor)

    def _lower(self, connection: Connection, lane: int, floor: datetime, cursor: Cursor) -> bool:
        statement = self._sql("UPDATE {lanes} SET floor = :floor WHERE number = :lane AND floor > :floor")
        is_lowered = bool(connection.change(statement, lane=lane, floor=to_number(floor)))
        if is_lowered:
            self._move(connection, lane, cursor)
        return is_lowered

    def attempts(self, lane: int, audit_event_id: str) -> Sequence[FailedAttempt]:
        """Return the failed attempts of one event, in their order."""
        return self._read(self._attempts, lane, audit_event_id)

    def _attempts(self, connection: Connection, lane: int, audit_event_id: str) -> list[FailedAttempt]:
        query = (
            "SELECT audit_event_id, generation, attempt, at, reason, detail FROM {attempts} "
            "WHERE lane = :lane AND audit_event_id = :audit_event_id ORDER BY generation, attempt, at"
        )
        rows = connection.rows(self._sql(query), lane=lane, audit_event_id=audit_event_id)
        return [
            FailedAttempt(event, generation, attempt, to_time(at), reason, detail)
            for event, generation, attempt, at, reason, detail in rows
        ]

    # Cursors.

    def cursors(self, lane: int) -> Mapping[str, Cursor]:
        """Return the lane's cursors by name."""
        return self._read(self._cursors, lane)

    def _cursors(self, connection: Connection, lane: int) -> dict[str, Cursor]:
        query = "SELECT name, position, until, moved_at FROM {cursors} WHERE lane = :lane"
        rows = connection.rows(self._sql(query), lane=lane)
        return {name: Cursor(name, position, until, time_or_none(at)) for name, position, until, at in rows}

    def _move(self, connection: Connection, lane: int, cursor: Cursor) -> None:
        connection.change(self._sql(self._words.upsert_cursor), lane=lane, **cursor_parameters(cursor))


_INSERT_ATTEMPT = (
    "INSERT INTO {attempts} (lane, audit_event_id, generation, attempt, at, reason, detail) "
    "VALUES (:lane, :audit_event_id, :generation, :attempt, :at, :reason, :detail)"
)


def to_number(moment: datetime) -> int:
    """Return *moment*, which is aware, as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def to_time(number: int) -> datetime:
    """Return microseconds since 1970 as a moment in UTC."""
    return _EPOCH + timedelta(0, 0, number)  # by position it takes half the time


def time_or_none(number: int | None) -> datetime | None:
    """Return microseconds since 1970 as a moment in UTC, and ``None`` as it is."""
    return None if number is None else to_time(number)


def to_rows(receipts: Sequence[Receipt]) -> list[Row]:
    """Return *receipts*, of which there is one at least, as rows, in the order of `RECEIPT_COLUMNS`."""
    columns = zip(RECEIPT_COLUMNS, zip(*map(_values, receipts), strict=True), strict=True)
    return list(zip(*[_told(column, _TELLERS.get(name)) for name, column in columns], strict=True))


def _told(column: Sequence[Any], tell: Callable[[Any], Any] | None) -> Sequence[Any]:
    """Return *column* as it is stored. Most hold one value, which need not be told again for each receipt."""
    if tell is None:
        return column
    if column.count(column[0]) == len(column):
        return [tell(column[0])] * len(column)
    return list(map(tell, column))


_values = attrgetter(*RECEIPT_COLUMNS)


def _number_or_none(moment: datetime | None) -> int | None:
    return None if moment is None else to_number(moment)


def _ack_text(ack: Ack | None) -> str | None:
    return None if ack is None else json.dumps([ack.ref, ack.status, ack.digest])


_TELLERS: Mapping[str, Callable[[Any], Any]] = {
    "occurred_at": to_number,
    "state": STATES.__getitem__,
    "first_at": to_number,
    "last_at": to_number,
    "due_at": _number_or_none,
    "ack": _ack_text,
}


def cursor_parameters(cursor: Cursor) -> dict[str, Any]:
    """Return *cursor* as the parameters of a statement."""
    return {
        "name": cursor.name,
        "position": cursor.position,
        "until": cursor.until,
        "moved_at": None if cursor.moved_at is None else to_number(cursor.moved_at),
    }


def to_failure(lane: int, failure: FailedAttempt) -> dict[str, Any]:
    """Return *failure* as the parameters of a statement."""
    return {
        "lane": lane,
        "audit_event_id": failure.audit_event_id,
        "generation": failure.generation,
        "attempt": failure.attempt,
        "at": to_number(failure.at),
        "reason": failure.reason,
        "detail": failure.detail,
    }


def to_receipt(row: Sequence[Any]) -> Receipt:
    """Return a row of the receipts, in the order of `RECEIPT_COLUMNS`, as the receipt that it holds."""
    event, occurred_at, state, first_at, last_at, attempt, due_at, reason, detail, ack, generation, excuse = row
    return Receipt(
        event,
        to_time(occurred_at),
        _STATE_OF[state],
        to_time(first_at),
        to_time(last_at),
        attempt,
        time_or_none(due_at),
        reason,
        detail,
        None if ack is None else Ack(*json.loads(ack)),
        generation,
        excuse,
    )
