"""What an operator does with a ledger: see where each lane stands, prove it, and send again."""

from __future__ import annotations

from sigra_forward.operations._backfill import backfill
from sigra_forward.operations._enable import enable
from sigra_forward.operations._purge import safe_to_purge_before
from sigra_forward.operations._reconcile import Difference, DifferenceKind, Reconciliation, reconcile
from sigra_forward.operations._replay import Replayed, excuse, replay
from sigra_forward.operations._status import LaneStatus, status

__all__ = [
    "Difference",
    "DifferenceKind",
    "LaneStatus",
    "Reconciliation",
    "Replayed",
    "backfill",
    "enable",
    "excuse",
    "reconcile",
    "replay",
    "safe_to_purge_before",
    "status",
]
