"""`Queries`: what is asked of a `Layout`'s table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BINARY,
    ColumnElement,
    Select,
    String,
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

from sigra_forward_sqlalchemy._layout import Layout
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
        self._kind = layout.dialect.name
        self._is_nullable = getattr(layout.position, "nullable", True)
        selected = layout.selected(whole=True)
        self.by_keys: Select[Any] = select(*selected).where(layout.id.in_(bindparam("keys", expanding=True)))

    def heads(self) -> list[Select[Any]]:
        """Return the queries of which the first that finds a row has found the last one."""
        layout = self._layout
        query = select(*layout.selected(whole=False)).limit(1)
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
        clauses = [self._layout.position.is_(None)]
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
        if self._kind not in {"mysql", "mariadb"}:
            return tuple_(position, row_id) > tuple_(literal(value), literal(raw_id))
        # Of a comparison of two columns at once MariaDB makes no range of an index.
        return and_(position >= literal(value), or_(position > literal(value), row_id > literal(raw_id)))

    def _up_to(self, value: object, raw_id: object) -> Clause:
        position, row_id = self._layout.position, self._layout.id
        if self._kind not in {"mysql", "mariadb"}:
            return tuple_(position, row_id) <= tuple_(literal(value), literal(raw_id))
        return and_(position <= literal(value), or_(position < literal(value), row_id <= literal(raw_id)))

    def _wanted(self, actions: Sequence[str]) -> Clause:
        """Return what tells the rows of *actions*, letter by letter."""
        if "*" in actions:
            return true()
        return or_(false(), *map(self._of_action, actions))

    def _of_action(self, action: str) -> Clause:
        column = self._layout.fields["action"]
        prefix = action.removesuffix("*")
        if prefix != action:
            return self._exactly(func.substr(self._text(column), 1, len(prefix))) == self._exactly(literal(prefix))
        equal = self._exactly(self._text(column)) == self._exactly(literal(action))
        # MariaDB finds by its index what is alike by its own rules, and of that what is alike by ours.
        return and_(column == literal(action), equal) if self._kind in {"mysql", "mariadb"} else equal

    def _text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column if type(column.type) in {String, Text} else cast(column, Text)

    def _exactly(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        if self._kind in {"mysql", "mariadb"}:  # it folds case and trailing blanks, by the column's collation
            return cast(func.convert(text.op("USING")(literal_column("utf8mb4"))), BINARY)
        if self._kind == "sqlite":
            return text.collate("BINARY")
        return text.collate("C") if isinstance(text.type, String) and text.type.collation else text
