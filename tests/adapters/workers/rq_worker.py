"""What an RQ worker of the contract is told to import: an AuditForward on an RQQueue."""

from __future__ import annotations

import os

from redis import Redis

from sigra_forward.testing import workbench
from sigra_forward_rq import RQQueue

if "BENCH_PREFIX" in os.environ:
    queue = RQQueue(Redis.from_url(os.environ["RQ_REDIS_URL"]), queue=os.environ["BENCH_PREFIX"])
    audit_forward = workbench.audit_forward(queue, os.environ["BENCH_PREFIX"])
