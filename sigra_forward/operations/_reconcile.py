"""`reconcile`: both sides of the equation, counted by separate queries, and each difference by its id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import Enum, unique
from typing import TYPE_CHECKING, Any

from attrs import frozen

from sigra_forward._attempt import own_words
from sigra_forward._ledger import SAME_INSTANT, Cursor, Receipt
from sigra_forward._outcome import State
from sigra_forward.errors import UnreadableRowError
from sigra_forward.operations._access import PAGE, Access, check_moments, wants
from sigra_forward.relay._readings import TAIL

if TYPE_CHECKING:
    from typing_extensions import Self

    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._event import AuditEvent
    from sigra_forward._source import Found

_GONE = "its row is gone"
_UNWANTED = "its row is no longer wanted"


@unique
class DifferenceKind(Enum):
    """What is between the audit table and the ledger: a debt, a row that nobody can read, a receipt of no row."""

    OWED = "owed"
    UNREADABLE = "unreadable"
    ORPHAN = "orphan"


@frozen
class Difference:
    """
    One difference between the audit table and the ledger.

    Args:
        kind: What it is.
        audit_event_id: The event; of a row that has no proper id, what can be told of it.
        occurred_at: Its time, where that can be told.
        detail: What there is to say of it: why a row cannot be read, why a receipt is of none.
    """

    kind: DifferenceKind
    audit_event_id: str
    occurred_at: datetime | None = None
    detail: str | None = None


class Reconciliation:
    """
    A reconciliation that is done while it is iterated over, once: it yields each `Difference`.

    Its counts are complete when it is finished.

    Attributes:
        forwarder: Whose lane it is.
        wanted: Rows that the lane wants, counted from the audit table.
        orphans: Receipts whose row is gone, or is no longer wanted.
        completed, retryable, cancelled, discarded: Receipts by state, counted from the ledger.
        owed: Wanted rows without a receipt, those that cannot be read included.
        unreadable: How many of the owed ones cannot be read.
        made_due: How many of the owed ones were made due.
        moved: Receipts that were written while it ran. The sides may differ by so many, and no more.
        is_finished: All of it has been read.
    """

    def __init__(
        self,
        access: Access,
        forwarder: str,
        since: datetime | None,
        until: datetime | None,
        *,
        make_due: bool,
        page: int = PAGE,
    ) -> None:
        self.forwarder = forwarder
        self.wanted = self.orphans = 0
        self.completed = self.retryable = self.cancelled = self.discarded = 0
        self.owed = self.unreadable = self.made_due = self.moved = 0
        self.is_finished = False
        self._access = access
        self._route = access.route(forwarder)
        self._lane = access.lane(forwarder)
        self._since = self._lane.floor if since is None else max(since, self._lane.floor)
        self._until = until
        self._make_due = make_due
        self._page = page
        self._differences = self._found()

    def __iter__(self) -> Iterator[Difference]:
        return self._differences

    def finish(self) -> Self:
        """Read what is left, naming nothing, and return itself."""
        for _ in self:
            pass
        return self

    @property
    def left(self) -> int:
        """What the audit table comes to: what is wanted, and the orphans."""
        return self.wanted + self.orphans

    @property
    def right(self) -> int:
        """What the ledger comes to: receipts of all states, and what is owed."""
        return self.completed + self.retryable + self.cancelled + self.discarded + self.owed

    @property
    def is_balanced(self) -> bool:
        """Tell whether both sides are equal, but for what was written while they were counted."""
        return abs(self.left - self.right) <= self.moved

    @property
    def has_differences(self) -> bool:
        """Tell whether there is anything to look at: a difference that was named, or sides that are not equal."""
        return bool(self.owed or self.orphans) or not self.is_balanced

    def _found(self) -> Iterator[Difference]:
        ask, ledger = self._access.ask, self._access.ledger
        began, cursors = ask(ledger.now), ask(ledger.cursors, self._lane.number)
        stretches = self._stretches(cursors.get(TAIL), ask(self._access.table.head))
        yield from self._read_receipts(began)
        for after, until, make_due in stretches:
            yield from self._read_rows(began, after, until, make_due=make_due)
        self.is_finished = True

    def _stretches(self, tail: Cursor | None, head: str | None) -> list[tuple[str | None, str, bool]]:
        """Return the stretches to read, each with whether to make due what is owed: the tail pays what is before it."""
        stretches: list[tuple[str | None, str | None, bool]]
        if tail is None or not self._make_due:
            stretches = [(None, head, self._make_due)]
        else:
            stretches = [(None, tail.position, True), (tail.position, head, False)]
        return [(after, until, make_due) for after, until, make_due in stretches if until is not None]

    # The ledger, in the order of ids, against the table.

    def _read_receipts(self, began: datetime) -> Iterator[Difference]:
        ask, ledger, after = self._access.ask, self._access.ledger, ""
        while page := ask(ledger.page, self._lane.number, after, self._page):
            after = page[-1].audit_event_id
            judged = self._judged(page)
            doubted = [receipt.audit_event_id for receipt, orphaned in judged if orphaned]
            if doubted:
                again = ask(ledger.receipts, self._lane.number, doubted)
                judged = [each for each in judged if not each[1]] + self._judged(again.values())
            for receipt, orphaned in judged:
                self._count(receipt, began)
                if orphaned:
                    self.orphans += 1
                    yield Difference(DifferenceKind.ORPHAN, receipt.audit_event_id, receipt.occurred_at, orphaned)

    def _judged(self, receipts: Iterable[Receipt]) -> list[tuple[Receipt, str | None]]:
        """Return the receipts that are within the range, each with why it is an orphan, if it is one."""
        near = [each for each in receipts if self._is_within(each.occurred_at, SAME_INSTANT)]
        names = [each.audit_event_id for each in near]
        rows = self._access.ask(self._access.table.get_many, names) if names else {}
        judged = []
        for receipt in near:
            row: AuditEvent | UnreadableRowError | None = rows.get(receipt.audit_event_id)
            moment, orphaned = receipt.occurred_at, None
            if row is None:
                orphaned = _GONE
            elif not isinstance(row, UnreadableRowError):
                if not receipt.is_of(row.id, row.occurred_at):
                    orphaned = _GONE
                else:
                    moment = row.occurred_at  # stores round times: both sides go by the same one
                    orphaned = None if wants(self._route, row) else _UNWANTED
            if self._is_within(moment):
                judged.append((receipt, orphaned))
        return judged

    def _count(self, receipt: Receipt, began: datetime) -> None:
        name = receipt.state.value
        setattr(self, name, getattr(self, name) + 1)
        self._see(receipt, began)

    def _see(self, receipt: Receipt, began: datetime) -> None:
        if receipt.last_at >= began:
            self.moved += 1

    # The table, in the order of its positions, against the ledger.

    def _read_rows(self, began: datetime, after: str | None, until: str, *, make_due: bool) -> Iterator[Difference]:
        ask, table, route = self._access.ask, self._access.table, self._route
        is_whole = route.where is not None
        while page := ask(table.scan, after, self._page, until=until, actions=route.actions, whole=is_whole):
            after = page[-1].position
            yield from self._doubted(self._without_receipt(page, began), began, make_due=make_due)

    def _without_receipt(self, page: Sequence[Found], began: datetime) -> list[Found]:
        """Count those rows of *page* that have a receipt, and return the others, each of which seems to be owed."""
        rows = [row for row in page if self._seems_wanted(row)]
        names = [row.audit_event_id for row in rows]
        receipts = self._access.ask(self._access.ledger.receipts, self._lane.number, names) if names else {}
        return [row for row in rows if not self._is_paid(row, receipts.get(row.audit_event_id), began)]

    def _seems_wanted(self, row: Found) -> bool:
        if row.error is not None or row.occurred_at is None:
            return True
        return self._is_within(row.occurred_at) and (row.event is None or wants(self._route, row.event))

    def _is_paid(self, row: Found, receipt: Receipt | None, began: datetime) -> bool:
        if receipt is None:
            return False
        if row.occurred_at is not None:
            is_paid, is_within = receipt.is_of(row.audit_event_id, row.occurred_at), True
        else:
            is_paid, is_within = True, self._is_within(receipt.occurred_at)
        if is_paid and is_within:
            self.wanted += 1
            self._see(receipt, began)
        return is_paid

    def _doubted(self, rows: Sequence[Found], began: datetime, *, make_due: bool) -> Iterator[Difference]:
        """Read *rows* and their receipts once more, and name what is still owed."""
        if not rows:
            return
        ask, ledger = self._access.ask, self._access.ledger
        names = [row.audit_event_id for row in rows]
        told = ask(self._access.table.get_many, names)
        receipts = ask(ledger.receipts, self._lane.number, names)
        differences, due = [], []
        for row in rows:
            again: Any = told.get(row.audit_event_id, row.error)
            if again is None or not self._is_still_owed(again, row, receipts.get(row.audit_event_id), began):
                continue
            self.wanted += 1
            self.owed += 1
            if isinstance(again, UnreadableRowError):
                self.unreadable += 1
                kind, detail = DifferenceKind.UNREADABLE, own_words(again)
                differences.append(Difference(kind, row.audit_event_id, row.occurred_at, detail))
            else:
                due.append(again)
                differences.append(Difference(DifferenceKind.OWED, again.id, again.occurred_at))
        if due and make_due:
            now = ask(ledger.now)
            receipts = [
                Receipt(event.id, event.occurred_at, State.RETRYABLE, now, now, attempt=0, due_at=now) for event in due
            ]
            ask(ledger.record, self._lane.number, receipts)
            self.made_due += len(due)
        yield from differences

    def _is_still_owed(self, again: Any, row: Found, receipt: Receipt | None, began: datetime) -> bool:
        if isinstance(again, UnreadableRowError):
            return not self._is_paid(row, receipt, began)
        if not (self._is_within(again.occurred_at) and wants(self._route, again)):
            return False
        if receipt is not None and receipt.is_of(again.id, again.occurred_at):
            self.wanted += 1
            self._see(receipt, began)
            return False
        return True

    def _is_within(self, moment: datetime, slack: Any = SAME_INSTANT * 0) -> bool:
        return moment >= self._since - slack and (self._until is None or moment < self._until + slack)


def reconcile(
    audit_forward: AuditForward,
    forwarder: str,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    make_due: bool = False,
) -> Reconciliation:
    """
    Compare the audit table with the ledger, and name every difference by its id.

    ``wanted rows above the floor + orphans = completed + retryable + cancelled + discarded + owed``. The left side is
    counted from the audit table and the right one from the ledger, by queries of their own, page by page in constant
    memory: first the receipts are read against the rows, then the rows up to the last one that was there at the
    beginning against the receipts. Each difference is read once more before it is named. Rows that are new are owed
    until the relay has paid them, so that on a live system *until* is best some minutes ago. Rows that are deleted
    meanwhile may be missing from one side.

    It is done while it is iterated over::

        reconciliation = reconcile(audit_forward, "siem")
        for difference in reconciliation:
            print(difference.kind.value, difference.audit_event_id)
        assert reconciliation.is_balanced

    Args:
        audit_forward: Has the ledger, the audit table and the forwarders.
        forwarder: The name of one of them.
        since: Events before this aware moment are left out; by default those below the lane's floor.
        until: Events from this aware moment on are left out; by default none are.
        make_due: Make what is owed and can be read due now, where a relay has passed it already: it is sent next, and
            waits for no sweep. What is behind the relay's position is what it reads next anyway.

    Raises:
        ConfigurationError: There is no ledger, no forwarder of that name, or a moment has no time zone.
        Exception: While it is iterated over: the ledger or the audit table cannot be asked now.
    """
    check_moments("reconcile", since=since, until=until)
    return Reconciliation(Access(audit_forward), forwarder, since, until, make_due=make_due)
