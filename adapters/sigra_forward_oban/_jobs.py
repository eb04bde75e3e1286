"""`Insertion`: a job's row in Oban's table, and word of it to Oban's workers, in one statement."""

from __future__ import annotations

import json
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from sigra_forward import JobArgs
from sigra_forward.queues.adapter import TASK_NAME, Binding

MAX_SMALLINT = 32767
"""The most that `oban_jobs.max_attempts` holds. A job whose policy allows more goes on by snoozing."""

# All other columns have defaults, the same on Python's table and on Elixir's. Oban's own statement notifies likewise.
_STATEMENT = """
WITH job AS (
  INSERT INTO {table} (worker, queue, args, max_attempts) VALUES (%s, %s, %s, %s) RETURNING queue
)
SELECT pg_notify({channel}, json_build_object('queue', queue)::text) FROM job
"""


class Insertion:
    """
    What puts a job into the table of *prefix*.

    Attributes:
        statement: The SQL, whose parameters `values` gives.
    """

    def __init__(self, prefix: str) -> None:
        composed = sql.SQL(_STATEMENT).format(
            table=sql.Identifier(prefix, "oban_jobs"), channel=sql.Literal(f"{prefix}.oban_insert")
        )
        self.statement = composed.as_bytes(None)

    def values(self, args: JobArgs, binding: Binding) -> tuple[Any, ...]:
        """
        Return the parameters for the job of *args*.

        Raises:
            EnqueueError: Nobody would run it.
        """
        queue = binding.queue_of(args.forwarder)
        max_attempts = min(binding.max_attempts(args.forwarder), MAX_SMALLINT)
        return TASK_NAME, queue, Jsonb(args.to_dict(), dumps=json.dumps), max_attempts
