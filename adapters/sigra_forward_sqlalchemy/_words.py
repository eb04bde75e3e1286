"""What PostgreSQL and MariaDB say in words of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sigra_forward.stores.adapter import (
    ANYONE,
    COMPLETED,
    HOLDERS,
    IS_REUSED,
    RECEIPT_COLUMNS,
    REPLACEMENT,
    Lease,
    Row,
    Words,
    is_reference,
)

_COLUMNS = ", ".join(RECEIPT_COLUMNS)
_OF_RECEIPT = ", ".join(f"r.{name}" for name in RECEIPT_COLUMNS)

_TYPES = {
    **dict.fromkeys(("audit_event_id", "reason", "detail", "ack", "excuse"), "text"),
    **dict.fromkeys(("occurred_at", "first_at", "last_at", "due_at", "at"), "bigint"),
    **dict.fromkeys(("state", "attempt", "generation"), "integer"),
}
_FAILURE_COLUMNS = ("audit_event_id", "generation", "attempt", "at", "reason", "detail")


def _unnested(names: Sequence[str], prefix: str = "") -> str:
    """Return what makes rows of arrays, each of which comes as its text: no two drivers take arrays alike."""
    arrays = ", ".join(f"CAST(CAST(:{prefix}{name} AS text) AS {_TYPES[name]}[])" for name in names)
    return f"unnest({arrays})"


def _possible(audit_event_ids: Sequence[str]) -> list[str]:
    """Leave out what no event has as its id, and what the database may not even hear of."""
    return [name for name in audit_event_ids if is_reference(name)]


class PostgreSQLWords(Words):
    """PostgreSQL's: many rows are one statement, of arrays."""

    # Of the statement, not of the moment: by a volatile function no index is read.
    now = "CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS bigint)"
    # Each id is looked up by itself, whatever the planner believes about the table's size: a plan that it made when
    # the table was empty, and keeps with a prepared statement, would read all of the table.
    receipts = (
        f"SELECT {_OF_RECEIPT} FROM {_unnested(['audit_event_id'])} AS asked (id) CROSS JOIN LATERAL "
        f"(SELECT * FROM {{receipts}} WHERE lane = :lane AND audit_event_id = asked.id LIMIT 1) AS r"
    ).replace(":audit_event_id", ":ids")
    # What a lost lease keeps out is as in `SQLLedger`: all but what the sink has said yes to. While the lane's row is
    # locked nobody takes the lane: what is written is written under the lease, or not at all.
    record = (
        f"WITH lease AS (SELECT 1 FROM {{lanes}} WHERE number = CAST(:lane AS integer) "
        f"AND epoch = CAST(:epoch AS bigint) AND leased_until > {{now}} FOR SHARE), "
        f"written AS (INSERT INTO {{receipts}} AS r (lane, {_COLUMNS}) "
        f"SELECT CAST(:lane AS integer), new.* FROM {_unnested(RECEIPT_COLUMNS)} AS new ({_COLUMNS}) "
        f"WHERE {{is_allowed}} OR new.state = {COMPLETED} "
        f"ON CONFLICT (lane, audit_event_id) DO UPDATE SET {REPLACEMENT} "
        f"WHERE {ANYONE} OR (({HOLDERS}) AND EXISTS (SELECT FROM lease))), "
        f"failed AS (INSERT INTO {{attempts}} (lane, {', '.join(_FAILURE_COLUMNS)}) "
        f"SELECT CAST(:lane AS integer), failed.* FROM {_unnested(_FAILURE_COLUMNS, 'failed_')} AS failed "
        f"WHERE {{is_allowed}}), "
        f"moved AS (INSERT INTO {{cursors}} (lane, name, position, until, moved_at) "
        f"SELECT CAST(:lane AS integer), CAST(:name AS text), CAST(:position AS text), CAST(:until AS text), "
        f"CAST(:moved_at AS bigint) WHERE CAST(:name AS text) IS NOT NULL AND {{is_allowed}} "
        f"ON CONFLICT (lane, name) DO UPDATE SET "
        f"position = excluded.position, until = excluded.until, moved_at = excluded.moved_at) "
        f"SELECT {{is_allowed}}"
    ).replace("{is_allowed}", "(CAST(:epoch AS bigint) IS NULL OR EXISTS (SELECT FROM lease))")
    """All that `SQLLedger.record` does, as one statement: one round trip, and no transaction that may stay open."""

    def ids(self, audit_event_ids: Sequence[str]) -> str:
        """Return the text of an array."""
        return _array(_possible(audit_event_ids))

    def record_parameters(
        self,
        lane: int,
        rows: Sequence[Row],
        lease: Lease | None,
        cursor: Mapping[str, object] | None,
        failures: Sequence[Mapping[str, object]],
    ) -> dict[str, object]:
        """Return the parameters of `record`, in which no event may come twice."""
        columns: Sequence[Sequence[object]] = list(zip(*rows, strict=True)) or [()] * len(RECEIPT_COLUMNS)
        return {
            "lane": lane,
            "epoch": None if lease is None else lease.epoch,
            **{name: _array(column) for name, column in zip(RECEIPT_COLUMNS, columns, strict=True)},
            **{f"failed_{name}": _array([failure[name] for failure in failures]) for name in _FAILURE_COLUMNS},
            **(cursor or _NO_CURSOR),
        }


_NO_CURSOR: Mapping[str, object] = dict.fromkeys(("name", "position", "until", "moved_at"))


_TO_ESCAPE = re.compile(r'(["\\])')


def _array(values: Sequence[Any]) -> str:
    """Return the text of an array. Most columns of many receipts hold one value, or texts without a quote in them."""
    if values and values.count(values[0]) == len(values):
        return f"{{{','.join([_item(values[0])] * len(values))}}}"
    if set(map(type, values)) == {str}:
        quoted = '","'.join(values)
        if "\\" not in quoted and quoted.count('"') == 2 * (len(values) - 1):
            return f'{{"{quoted}"}}'
    return f"{{{','.join(map(_item, values))}}}"


def _item(value: object) -> str:
    if value is None:
        return "NULL"
    if type(value) is str:
        return f'"{_TO_ESCAPE.sub(_ESCAPED, value)}"' if '"' in value or "\\" in value else f'"{value}"'
    return str(value)


_ESCAPED = r"\\\1"


def _told_apart(condition: str) -> str:
    """Return *condition* with the row that is there told by bare names, and the one that comes by ``VALUES``."""
    return re.sub(r"\bexcluded\.(\w+)", r"VALUES(\1)", condition.replace("r.", ""))


_REUSED = _told_apart(IS_REUSED)
_CONDITIONS = ("occurred_at", "state", "generation")
_REPLACED = [f"{name} = IF({{replaced}}, VALUES({name}), {name})" for name in RECEIPT_COLUMNS[1:]]


class MariaDBWords(Words):
    """
    MariaDB's and MySQL's.

    They assign from left to right, and each assignment sees what those before it have left. So the columns that decide
    come last, in an order in which none is changed before it has decided; and the time of an event that is the same one
    stays as it was.
    """

    now = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
    locked = " LOCK IN SHARE MODE"
    receipts = f"SELECT {_COLUMNS} FROM {{receipts}} WHERE lane = :lane AND audit_event_id IN :ids"
    insert_lane = (
        "INSERT INTO {lanes} (source, forwarder, floor) VALUES (:source, :forwarder, :floor) "
        "ON DUPLICATE KEY UPDATE number = number"
    )
    upsert_cursor = (
        "INSERT INTO {cursors} (lane, name, position, until, moved_at) "
        "VALUES (:lane, :name, :position, :until, :moved_at) ON DUPLICATE KEY UPDATE "
        "position = VALUES(position), until = VALUES(until), moved_at = VALUES(moved_at)"
    )
    upsert_receipt = (
        f"INSERT INTO {{receipts}} (lane, {_COLUMNS}) "
        f"VALUES (:lane, {', '.join(f':{name}' for name in RECEIPT_COLUMNS)}) ON DUPLICATE KEY UPDATE "
        f"{', '.join(part for part in _REPLACED if part.partition(' ')[0] not in _CONDITIONS)}, "
        f"generation = IF({_REUSED}, generation + 1, generation), "
        f"state = IF({{replaced}}, VALUES(state), state), "
        f"occurred_at = IF({_REUSED}, VALUES(occurred_at), occurred_at)"
    )

    def ids(self, audit_event_ids: Sequence[str]) -> Any:
        """Return them as they are: they become so many parameters."""
        return _possible(audit_event_ids)

    def condition(self, of_receipts: str) -> str:
        """Return it by bare names, and ``VALUES``."""
        return _told_apart(of_receipts)


WORDS: Mapping[str, Words] = {"postgresql": PostgreSQLWords(), "mariadb": MariaDBWords(), "sqlite": Words()}
