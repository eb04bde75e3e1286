"""Jobs on Oban for Python 0.7 or newer: `ObanQueue`, and the settings that its workers need."""

from __future__ import annotations

from sigra_forward.queues.adapter import require

require("oban", "0.7", extra="oban", python="3.12")

from sigra_forward_oban._queue import ObanQueue  # noqa: E402
from sigra_forward_oban._settings import worker_settings  # noqa: E402

__all__ = ["ObanQueue", "worker_settings"]
