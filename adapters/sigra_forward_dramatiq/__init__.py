"""Jobs on Dramatiq 2 or newer: `DramatiqQueue`, and the settings that its workers need on Redis."""

from __future__ import annotations

from sigra_forward.queues.adapter import require

require("dramatiq", "2", extra="dramatiq")

from sigra_forward_dramatiq._queue import DramatiqQueue  # noqa: E402
from sigra_forward_dramatiq._settings import REDIS_BROKER_OPTIONS  # noqa: E402

__all__ = ["REDIS_BROKER_OPTIONS", "DramatiqQueue"]
