"""`replay`: send again what was settled. `excuse`: say why a dead letter shall not go out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from sigra_forward._ledger import Receipt
from sigra_forward._outcome import State
from sigra_forward._settle import seconds
from sigra_forward.errors import ConfigurationError
from sigra_forward.operations._access import PAGE, Access, check_moments

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._event import AuditEvent
    from sigra_forward._ledger import Lane
    from sigra_forward._route import Route

_DEAD = (State.CANCELLED, State.DISCARDED)


@frozen(kw_only=True)
class Replayed:
    """
    What a replay came to.

    Args:
        count: How many deliveries were made due again, or would be.
        skipped: How many were not, for there is nothing to send: the row is gone, or cannot be read, or is not wanted.
        as_of: Receipts that were written from this moment on were let be.
        dry_run: Nothing was done.
    """

    count: int
    skipped: int
    as_of: datetime
    dry_run: bool


def replay(
    audit_forward: AuditForward,
    forwarder: str,
    *,
    ids: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    states: Sequence[State] | None = None,
    reason: str | None = None,
    actions: Sequence[str] | None = None,
    dry_run: bool = False,
    rate: float | None = None,
    as_of: datetime | None = None,
) -> Replayed:
    """
    Make deliveries due again that are settled: the relay sends them, and what is new keeps its share meanwhile.

    Each goes out under the idempotency key that it had. All that is said must fit. A replay that was killed is finished
    by another one with the same *as_of*: what it had made due by then is not made due twice.

    Args:
        audit_forward: Has the ledger, the audit table and the forwarders.
        forwarder: The name of one of them.
        ids: The events; by default all that the rest fits.
        since: Those that occurred at this aware moment or later.
        until: Those that occurred before this aware moment.
        states: Where they stand now; by default dead letters, and any state where *ids* are given.
        reason: Why they stand there: the receipt's reason as text, such as ``"schema_mismatch"``.
        actions: Exact actions, or prefixes with a trailing ``*``.
        dry_run: Count, exactly, and do nothing.
        rate: How many a second become due; ``None``: all at once. The relay's own rate holds beside it.
        as_of: Only receipts written before this aware moment, by the ledger's clock; by default now.

    Raises:
        ConfigurationError: There is no ledger, no forwarder of that name, or an option makes no sense.
        Exception: The ledger or the audit table cannot be asked now. What was made due by then is.
    """
    check_moments("replay", since=since, until=until, as_of=as_of)
    _check(ids, actions, states, rate)
    access = Access(audit_forward)
    selection = _Selection(access, forwarder, actions)
    moment: datetime = access.ask(access.ledger.now) if as_of is None else as_of
    among = tuple(states) if states is not None else _DEAD if ids is None else tuple(State)

    def fits(receipt: Receipt) -> bool:
        is_timely = (since is None or receipt.occurred_at >= since) and (until is None or receipt.occurred_at < until)
        stands = receipt.state in among and receipt.last_at < moment and reason in {None, receipt.reason}
        return is_timely and stands

    size = PAGE if rate is None else max(1, min(PAGE, int(rate)))
    count = skipped = 0
    for page in selection.pages(ids, among, size):
        chosen, without_row = selection.chosen([receipt for receipt in page if fits(receipt)])
        skipped += without_row
        if dry_run or not chosen:
            count += len(chosen)
        else:
            delay = 0.0 if rate is None else count / rate
            count += access.ask(access.ledger.replay, selection.lane.number, chosen, delay)
    return Replayed(count=count, skipped=skipped, as_of=moment, dry_run=dry_run)


class _Selection:
    """The receipts of a lane, page by page, and which of them have something to send."""

    def __init__(self, access: Access, forwarder: str, actions: Sequence[str] | None) -> None:
        self._access = access
        self._are_among = _of_actions(access.route(forwarder), actions)
        self.lane: Lane = access.lane(forwarder)
        self._rows = access.pages(self.lane)

    def pages(self, ids: Sequence[str] | None, states: Sequence[State], size: int) -> Iterator[Sequence[Receipt]]:
        ask, ledger, number = self._access.ask, self._access.ledger, self.lane.number
        if ids is not None:
            names = list(dict.fromkeys(ids))
            for start in range(0, len(names), size):
                yield list(ask(ledger.receipts, number, names[start : start + size]).values())
            return
        after = ""
        while page := ask(ledger.page, number, after, size, states):
            yield page
            after = page[-1].audit_event_id

    def chosen(self, receipts: Sequence[Receipt]) -> tuple[list[Receipt], int]:
        """Return those of *receipts* that can be sent, and how many cannot."""
        if not receipts:
            return [], 0
        by_id = {receipt.audit_event_id: receipt for receipt in receipts}
        found = self._access.ask(self._access.table.get_many, list(by_id))
        rows = self._rows.sort((name, found.get(name)) for name in by_id)
        events = [*rows.events, *(said.event for said in rows.failed)]
        theirs = [event for event in events if by_id[event.id].is_of(event.id, event.occurred_at)]
        return [by_id[event.id] for event in theirs if self._are_among(event)], len(receipts) - len(theirs)


def _of_actions(route: Route, actions: Sequence[str] | None) -> Callable[[AuditEvent], bool]:
    if actions is None:
        return lambda _: True
    return evolve(route, actions=tuple(actions), where=None).wants


def excuse(audit_forward: AuditForward, forwarder: str, audit_event_id: str, why: str) -> bool:
    """
    Say why a dead letter shall not go out: it stays where it is, and holds `safe_to_purge_before` back no longer.

    A replay takes the excuse back.

    Args:
        audit_forward: Has the ledger.
        forwarder: The name of a lane, be it of a forwarder that is registered or of one that was.
        audit_event_id: The event.
        why: For whoever asks later; not empty.

    Returns:
        Whether there is such a dead letter: a delivery that is cancelled or discarded.

    Raises:
        ConfigurationError: There is no ledger, no lane of that name, or no *why*.
        Exception: The ledger cannot be asked now.
    """
    if not isinstance(why, str) or not why.strip():
        msg = "excuse(why=...) must be a str that says something"
        raise ConfigurationError(msg)
    access = Access(audit_forward)
    lane = access.known_lane(forwarder)
    is_there: bool = access.ask(access.ledger.excuse, lane.number, audit_event_id, why)
    return is_there


def _check(ids: object, actions: object, states: object, rate: object) -> None:
    rules = {
        "ids must be a sequence of texts": ids is None or _are(ids, str),
        "actions must be a sequence of texts": actions is None or _are(actions, str),
        "states must be a sequence of State": states is None or _are(states, State),
        "rate must be a finite number of more than 0": rate is None or bool(seconds(rate)),
    }
    for rule, is_kept in rules.items():
        if not is_kept:
            msg = f"replay: {rule}"
            raise ConfigurationError(msg)


def _are(values: object, kind: type) -> bool:
    return (
        isinstance(values, Sequence) and not isinstance(values, str) and all(isinstance(each, kind) for each in values)
    )
