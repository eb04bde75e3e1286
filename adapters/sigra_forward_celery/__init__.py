"""Jobs on Celery 5.7 or newer: `CeleryQueue`, and the settings that its workers need."""

from __future__ import annotations

from sigra_forward.queues.adapter import require

require("celery", "5.7", extra="celery")

from sigra_forward_celery._queue import CeleryQueue  # noqa: E402
from sigra_forward_celery._settings import worker_settings  # noqa: E402

__all__ = ["CeleryQueue", "worker_settings"]
