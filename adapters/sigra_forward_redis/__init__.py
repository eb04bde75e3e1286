"""For the adapters whose library keeps its jobs in Redis: a client that connects and answers in time."""

from __future__ import annotations

from sigra_forward.queues.adapter import require

require("redis", "5", extra="redis")

from sigra_forward_redis._private import PrivateRedis  # noqa: E402

__all__ = ["PrivateRedis"]
