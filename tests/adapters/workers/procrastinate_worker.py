"""What a Procrastinate worker of the contract imports: the adapter bound, unbound, or not there at all."""

from __future__ import annotations

import os

from procrastinate import App, PsycopgConnector

from sigra_forward.testing import workbench
from sigra_forward_procrastinate import WORKER_DEFAULTS, ProcrastinateQueue

RESCUE_AFTER = 4
"""Seconds without a heartbeat, of which there is one each second."""


def make_app(conninfo: str) -> App:
    """Return an app whose workers tell each second that they live."""
    defaults = {**WORKER_DEFAULTS, "update_heartbeat_interval": 1, "fetch_job_polling_interval": 0.5}
    return App(connector=PsycopgConnector(conninfo=conninfo), worker_defaults=defaults)


def make_queue(app: App, prefix: str) -> ProcrastinateQueue:
    """Return an adapter that is quick to give up a worker that does not."""
    options = {"lost_retry_in": 1, "rescue_after": RESCUE_AFTER, "rescue_cron": "* * * * * */2"}
    return ProcrastinateQueue(app, queue=prefix, **options)


if "BENCH_PREFIX" in os.environ:
    app = make_app(os.environ["BENCH_CONNINFO"])
    kind = os.environ["BENCH_KIND"]
    if kind != "old":
        queue = make_queue(app, os.environ["BENCH_PREFIX"])
    if kind == "bound":
        audit_forward = workbench.audit_forward(queue, os.environ["BENCH_PREFIX"])
