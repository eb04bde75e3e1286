"""The relay: pays what is owed, straight from the audit table."""

from __future__ import annotations

from sigra_forward.relay._relay import Relay

__all__ = ["Relay"]
