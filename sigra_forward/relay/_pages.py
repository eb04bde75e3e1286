"""`Pages`: reads a stretch of the audit table page by page, and finds what is to be sent of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from sigra_forward._attempt import own_words
from sigra_forward._names import type_name
from sigra_forward._outcome import Fault, Outcome, Result
from sigra_forward.errors import UnreadableRowError
from sigra_forward.relay._verdicts import Said

if TYPE_CHECKING:
    from sigra_forward._event import AuditEvent
    from sigra_forward._ledger import Lane
    from sigra_forward._route import Route
    from sigra_forward._source import Found
    from sigra_forward.relay._readings import Stretch
    from sigra_forward.relay._work import Ask


@frozen
class Page:
    """
    A page of a stretch.

    Args:
        last: The position of its last row; ``None`` where there is none.
        is_done: It is the stretch's last one.
        events: Those that are owed.
        failed: Those of which the route could not tell whether it wants them.
        unreadable: The rows that cannot be told as events.
    """

    last: str | None
    is_done: bool
    events: Sequence[AuditEvent] = ()
    failed: Sequence[Said] = ()
    unreadable: Sequence[tuple[str, UnreadableRowError]] = ()


@frozen
class Sorted:
    """Rows, by what is to be done with them."""

    events: list[AuditEvent] = field(factory=list)
    failed: list[Said] = field(factory=list)
    unreadable: list[tuple[str, UnreadableRowError]] = field(factory=list)
    unwanted: list[AuditEvent] = field(factory=list)


class Pages:
    """
    The pages of one lane.

    Args:
        ask: Asks a port, and awaits what it gives where it is async.
        source: The audit table.
        ledger: The ledger.
        route: What the lane wants.
        lane: The lane.
    """

    def __init__(self, ask: Ask, source: Any, ledger: Any, route: Route, lane: Lane) -> None:
        self._ask = ask
        self._source = source
        self._ledger = ledger
        self._route = route
        self.lane = lane

    def page(self, stretch: Stretch, after: str | None, limit: int) -> Page:
        """Return the page of *stretch* behind the position *after*, of *limit* rows at most."""
        rows: Sequence[Found] = self._ask(
            self._source.scan,
            after,
            limit,
            until=stretch.until,
            actions=self._route.actions,
            whole=not stretch.is_checked,
        )
        if stretch.is_checked:
            sorted_rows = self._unpaid(rows)
        else:
            sorted_rows = self.sort((row.audit_event_id, row.event or row.error) for row in rows)
        return Page(
            rows[-1].position if rows else None,
            len(rows) < limit,
            sorted_rows.events,
            sorted_rows.failed,
            sorted_rows.unreadable,
        )

    def _unpaid(self, rows: Sequence[Found]) -> Sorted:
        """Return what is owed of *rows*: what has no receipt, and is to be tried again, comes when it is due."""
        floor = self.lane.floor
        known = [row for row in rows if row.occurred_at is not None and row.occurred_at >= floor]
        receipts = self._ask(self._ledger.receipts, self.lane.number, [row.audit_event_id for row in known])
        unpaid = []
        for row in known:
            receipt = receipts.get(row.audit_event_id)
            if receipt is None or not receipt.is_of(row.audit_event_id, row.occurred_at):
                unpaid.append(row.audit_event_id)
        found = self._ask(self._source.get_many, unpaid) if unpaid else {}
        told = self.sort((audit_event_id, found.get(audit_event_id)) for audit_event_id in unpaid)
        told.unreadable.extend((row.audit_event_id, row.error) for row in rows if row.error is not None)
        return told

    def sort(self, rows: Any) -> Sorted:
        """Sort *rows*, pairs of an id and what was found under it."""
        told, floor, wants = Sorted(), self.lane.floor, self._route.wants
        for audit_event_id, row in rows:
            if row is None:  # it is gone
                continue
            if isinstance(row, UnreadableRowError):
                told.unreadable.append((audit_event_id, row))
            elif row.occurred_at < floor:
                told.unwanted.append(row)
            else:
                try:
                    (told.events if wants(row) else told.unwanted).append(row)
                except Exception as exc:  # noqa: BLE001 - the host's own function
                    result = Result(Outcome.ERROR, type_name(exc), own_words(exc), Fault.EVENT, exception=exc)
                    told.failed.append(Said(row, result))
        return told
