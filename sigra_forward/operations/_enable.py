"""`enable`: let a lane whose sink has failed, or wants nothing more, go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sigra_forward.operations._access import Access

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward


def enable(audit_forward: AuditForward, forwarder: str) -> bool:
    """
    Close the breaker of a forwarder's lane: it goes on within seconds, as if its sink had never failed.

    That is what a lane waits for whose sink has said that it wants nothing more (`SinkDisabledError`). One whose sink
    is down is tried again without it.

    Returns:
        Whether the breaker was open.

    Raises:
        ConfigurationError: There is no ledger, or no lane of that name.
        Exception: The ledger cannot be asked now.
    """
    access = Access(audit_forward)
    lane = access.known_lane(forwarder)
    access.ask(access.ledger.block, lane.number, None)
    return lane.blocked_until is not None
