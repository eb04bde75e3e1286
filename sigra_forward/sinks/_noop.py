"""`NoopForwarder`: a place for events to go that is nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sigra_forward._event import AuditEvent


class NoopForwarder:
    """
    Accept every event and do nothing with it.

    It is active only where it is listed by name, and never stands in for a forwarder that is missing.
    """

    def forward(self, event: AuditEvent) -> None:
        """Accept *event*."""
