"""Jobs on RQ 2.12 or newer, 3 included: `RQQueue`, and what its workers need."""

from __future__ import annotations

from sigra_forward.queues.adapter import require

require("rq", "2.12", extra="rq")

from sigra_forward_rq._job import PerformOnlyJob  # noqa: E402
from sigra_forward_rq._queue import RQQueue  # noqa: E402
from sigra_forward_rq._task import perform  # noqa: E402
from sigra_forward_rq._workers import WORKER_OPTIONS  # noqa: E402

__all__ = ["WORKER_OPTIONS", "PerformOnlyJob", "RQQueue", "perform"]
