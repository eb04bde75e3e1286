"""A Celery worker, whose forwarder tells the sink of no reading: so that what came by the queue can be told."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from sigra_forward import AuditForward, Route
from sigra_forward_celery import CeleryQueue, worker_settings
from tests.proof.support_setting import LONG_AGO, Collector, Setting

SETTING, BROKER, QUEUE = "SIGRA_FORWARD_PROOF_SETTING", "SIGRA_FORWARD_PROOF_BROKER", "sigra_forward_proof"


def make_queue(broker: str) -> CeleryQueue:
    """Return the queue on *broker*."""
    app = Celery("proof", broker=broker, set_as_current=False)
    app.conf.update(worker_settings(app))
    return CeleryQueue(app, queue=QUEUE)


def make_host(setting: Setting, queue: Any) -> AuditForward:
    """Return the host, with *queue*."""
    return AuditForward(
        repository=setting.repository(),
        ledger=setting.the_ledger(),
        forwarders={"siem": Route(Collector(setting.port, {}), since=LONG_AGO)},
        queue=queue,
    )


if SETTING in os.environ:
    job_queue = make_queue(os.environ[BROKER])
    audit_forward = make_host(Setting.read(os.environ[SETTING]), job_queue)
    app = job_queue._app
