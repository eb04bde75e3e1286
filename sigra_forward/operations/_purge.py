"""`safe_to_purge_before`: up to when the audit table has nothing in it that anybody still needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sigra_forward._event import AuditEvent
from sigra_forward._ledger import Lane
from sigra_forward.errors import ConfigurationError
from sigra_forward.operations._access import PAGE, Access, swept_at, wants

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward


def safe_to_purge_before(audit_forward: AuditForward, forwarders: Sequence[str] | None = None) -> datetime | None:
    """
    Return the moment before which audit rows may be deleted: those that occurred earlier are needed by no lane.

    It is the least of what each lane says:

    * A lane needs what it owes, what is to be tried again, and its dead letters until they are excused.
    * A lane has confirmed nothing later than the beginning of its last daily sweep that is finished. Before the first
      one is finished, it has confirmed what lies below its floor, which is never owed.
    * A lane of a forwarder that this `AuditForward` has no route to counts all the same, for another process may have
      one; what it owes cannot be told here, and its sweeps are taken for it. Where a forwarder is gone for good, name
      the others.

    The whole table is read for it, for what is owed is what has no receipt; nothing is written.

    Args:
        audit_forward: Has the ledger, the audit table and the forwarders.
        forwarders: The names of the lanes that count; by default all that the ledger has for the audit table.

    Returns:
        An aware moment; or ``None``: nothing may be deleted, for there is no lane yet, or a row whose time or id cannot
        be read is owed.

    Raises:
        ConfigurationError: There is no ledger, or no lane of that name.
        Exception: The ledger or the audit table cannot be asked now.
    """
    access = Access(audit_forward)
    if isinstance(forwarders, str):
        msg = "safe_to_purge_before(forwarders=...) must be a sequence of names"
        raise ConfigurationError(msg)
    for name in audit_forward.routes if forwarders is None else ():
        access.lane(name)  # so that it is stored
    lanes = access.lanes() if forwarders is None else [access.known_lane(name) for name in forwarders]
    moments = [_needed_by(access, lane) for lane in lanes]
    told = [moment for moment in moments if moment is not None]
    return min(told) if told and len(told) == len(moments) else None


def _needed_by(access: Access, lane: Lane) -> datetime | None:
    """Return the moment from which on *lane* needs the rows; ``None``: it needs one of which that cannot be told."""
    ask, ledger = access.ask, access.ledger
    swept = swept_at(ask(ledger.cursors, lane.number))
    confirmed = lane.floor if swept is None else max(swept, lane.floor)
    earliest = ask(ledger.earliest_unpaid, lane.number)
    needed = confirmed if earliest is None else min(confirmed, earliest)
    return needed if lane.forwarder not in access.host.routes else _owed_before(access, lane, needed)


def _owed_before(access: Access, lane: Lane, needed: datetime) -> datetime | None:
    """Return the earliest time before *needed* of a row that is owed, or else *needed*."""
    ask, table, route, after = access.ask, access.table, access.route(lane.forwarder), None
    while page := ask(table.scan, after, PAGE, actions=route.actions):
        after = page[-1].position
        old = [row for row in page if row.occurred_at is None or lane.floor <= row.occurred_at < needed]
        receipts = ask(access.ledger.receipts, lane.number, [row.audit_event_id for row in old]) if old else {}
        owed = {}
        for row in old:
            receipt = receipts.get(row.audit_event_id)
            is_paid = receipt is not None and (
                row.occurred_at is None or receipt.is_of(row.audit_event_id, row.occurred_at)
            )
            if not is_paid:
                owed[row.audit_event_id] = row
        rows = ask(table.get_many, list(owed)) if owed and route.where is not None else {}
        for name, row in owed.items():
            event = rows.get(name)
            if isinstance(event, AuditEvent) and not wants(route, event):
                continue
            if row.occurred_at is None:
                return None
            needed = min(needed, row.occurred_at)
    return needed
