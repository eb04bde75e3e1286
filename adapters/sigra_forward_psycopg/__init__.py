"""For the adapters whose library keeps its jobs in PostgreSQL: connections that answer in time, and savepoints."""

from __future__ import annotations

from sigra_forward.queues.adapter import require

require("psycopg", "3.2", extra="psycopg")

from sigra_forward_psycopg._private import PrivatePostgres  # noqa: E402
from sigra_forward_psycopg._transaction import (  # noqa: E402
    aenqueue_in,
    asavepoint,
    aunwrapped,
    enqueue_in,
    savepoint,
    unwrapped,
)

__all__ = ["PrivatePostgres", "aenqueue_in", "asavepoint", "aunwrapped", "enqueue_in", "savepoint", "unwrapped"]
