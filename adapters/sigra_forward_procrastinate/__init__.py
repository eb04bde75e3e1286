"""Jobs on Procrastinate 3.10 or newer: `ProcrastinateQueue`, and the settings that its workers need."""

from __future__ import annotations

from sigra_forward.queues.adapter import require

require("procrastinate", "3.10", extra="procrastinate")

from sigra_forward_procrastinate._queue import ProcrastinateQueue  # noqa: E402
from sigra_forward_procrastinate._settings import WORKER_DEFAULTS  # noqa: E402

__all__ = ["WORKER_DEFAULTS", "ProcrastinateQueue"]
