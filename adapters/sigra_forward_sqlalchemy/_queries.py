"""`Queries`: what is asked of a `Layout`'s table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BINARY,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)

from sigra_forward_sqlalchemy._layout import Layout, is_text, is_time
from sigra_forward_sqlalchemy._positions import from_position

Clause = ColumnElement[bool]


class Queries:
    """
    The statements of one `Layout`, for its database.

    Rows without a position come before all others. They are asked for by statements of their own, so that an index is
    read in its own order, wherever the database has its nulls.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._is_mariadb = layout.dialect.name in {"mysql", "mariadb"}
        self._is_nullable = getattr(layout.position, "nullable", True)
        selected = layout.selected(whole=True)
        self.by_keys: Select[Any] = select(*selected).where(layout.id.in_(bindparam("keys", expanding=True)))

    def heads(self, *, times_as_text: bool = False) -> list[Select[Any]]:
        """Return the queries of which the first that finds a row has found the last one."""
        layout = self._layout
        query = select(*layout.selected(whole=False, times_as_text=times_as_text)).limit(1)
        last = query.order_by(layout.position.desc(), layout.id.desc())
        if not self._is_nullable:
            return [last]
        null = layout.position.is_(None)
        return [last.where(layout.position.is_not(None)), query.where(null).order_by(layout.id.desc())]

    def stretches(self, after: str | None, until: str | None, actions: Sequence[str]) -> list[Clause]:
        """Return what tells the rows behind *after* and up to *until*, one part of them behind the other."""
        wanted = self._wanted(actions)
        parts = [self._nulls(after, until), self._rest(after, until)]
        return [and_(wanted, part) for part in parts if part is not None]

    def scan(self, stretch: Clause, limit: int, *, whole: bool, times_as_text: bool = False) -> Select[Any]:
        """Return the query that finds the first *limit* rows of a stretch."""
        selected = self._layout.selected(whole=whole, times_as_text=times_as_text)
        return select(*selected).where(stretch).order_by(self._layout.position, self._layout.id).limit(limit)

    def count(self, stretch: Clause) -> Select[Any]:
        """Return the query that counts the rows of a stretch."""
        return select(func.count()).select_from(self._layout.table).where(stretch)

    def _nulls(self, after: str | None, until: str | None) -> Clause | None:
        """Return what tells the rows without a position, where there can be any in this stretch."""
        value, raw_id = from_position(after) if after is not None else (None, None)
        if not self._is_nullable or value is not None:
            return None
        clauses: list[Clause] = [self._layout.position.is_(None)]
        if raw_id is not None:
            clauses.append(self._layout.id > literal(raw_id))
        if until is not None:
            last, last_id = from_position(until)
            clauses += [self._layout.id <= literal(last_id)] if last is None else []
        return and_(*clauses)

    def _rest(self, after: str | None, until: str | None) -> Clause | None:
        """Return what tells the rows with a position."""
        clauses: list[Clause] = [self._layout.position.is_not(None)] if self._is_nullable else []
        if after is not None:
            value, raw_id = from_position(after)
            clauses += [] if value is None else [self._behind(value, raw_id)]
        if until is not None:
            value, raw_id = from_position(until)
            if value is None:
                return None
            clauses.append(self._up_to(value, raw_id))
        return and_(true(), *clauses)

    def _behind(self, value: object, raw_id: object) -> Clause:
        position, row_id = self._layout.position, self._layout.id
        value, raw_id = self._bound(position, value), literal(raw_id)
        if not self._is_mariadb:
            return tuple_(position, row_id) > tuple_(value, raw_id)
        # Of a comparison of two columns at once MariaDB makes no range of an index.
        return and_(position >= value, or_(position > value, row_id > raw_id))

    def _up_to(self, value: object, raw_id: object) -> Clause:
        position, row_id = self._layout.position, self._layout.id
        value, raw_id = self._bound(position, value), literal(raw_id)
        if not self._is_mariadb:
            return tuple_(position, row_id) <= tuple_(value, raw_id)
        return and_(position <= value, or_(position < value, row_id <= raw_id))

    def _bound(self, column: ColumnElement[Any], value: object) -> ColumnElement[Any]:
        """Return *value* to compare *column* with; a time that came as text, because Python has no such, as a time."""
        if isinstance(value, str) and self._layout.dialect.name != "sqlite" and is_time(column.type):
            return cast(literal(value, Text), column.type)
        return literal(value)

    def _wanted(self, actions: Sequence[str]) -> Clause:
        """Return what tells the rows of *actions*, letter by letter."""
        if "*" in actions:
            return true()
        return or_(false(), *map(self._of_action, actions))

    def _of_action(self, action: str) -> Clause:
        column = self._layout.fields["action"]
        text = column if is_text(column.type) else cast(column, Text)
        prefix = action.removesuffix("*")
        if prefix != action:
            return self._exactly(func.substr(text, 1, len(prefix))) == self._exactly(literal(prefix))
        equal = self._exactly(text) == self._exactly(literal(action))
        # An index finds what is alike by the column's own rules, and of that is taken what is alike by ours.
        return and_(column == literal(action), equal) if is_text(column.type) else equal

    def _exactly(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return what compares letter by letter, whatever collation the column has."""
        if self._is_mariadb:  # it folds case and trailing blanks
            return cast(func.convert(text.op("USING")(literal_column("utf8mb4"))), BINARY)
        return text.collate("BINARY" if self._layout.dialect.name == "sqlite" else "C")
