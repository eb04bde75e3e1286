"""`backfill`: have a forwarder owe what lies below its lane's floor."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sigra_forward._ledger import Cursor
from sigra_forward.errors import ConfigurationError
from sigra_forward.operations._access import Access, check_moments
from sigra_forward.relay._readings import BACKFILL, TAIL

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward


def backfill(audit_forward: AuditForward, forwarder: str, since: datetime) -> bool:
    """
    Lower the floor of a forwarder's lane to *since*: what occurred from then on is owed.

    The relay pays it, in the order of the table, by a reading with a position of its own that takes turns with what is
    new, and goes on where it was when a relay dies. Until that is finished `LaneStatus.backfill` tells how far it is.

    Args:
        audit_forward: Has the ledger, the audit table and the forwarders.
        forwarder: The name of one of them.
        since: An aware moment.

    Returns:
        Whether the floor was higher. Where it was not, nothing is done: a floor is never raised.

    Raises:
        ConfigurationError: There is no ledger, no forwarder of that name, or *since* has no time zone.
        Exception: The ledger or the audit table cannot be asked now. Nothing is done then.
    """
    if since is None:
        msg = "backfill(since=...) must be a datetime with a time zone"
        raise ConfigurationError(msg)
    check_moments("backfill", since=since)
    access = Access(audit_forward)
    ask, ledger, lane = access.ask, access.ledger, access.lane(forwarder)
    tail = ask(ledger.cursors, lane.number).get(TAIL)
    until = ask(access.table.head) if tail is None else tail.position
    cursor = Cursor(BACKFILL, None, until, ask(ledger.now))
    was_higher: bool = ask(ledger.lower, lane.number, since, cursor)
    return was_higher
