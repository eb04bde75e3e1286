"""What a Celery worker of the contract imports: the adapter bound, unbound, or not there at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery, signals
from kombu import Producer

from sigra_forward.testing import workbench
from sigra_forward_celery import CeleryQueue, _queue, worker_settings

RESCUE_AFTER = 60
"""Seconds: a job may take 2 + 30, and wait 15 for its retry."""


def make_app(broker: str) -> Celery:
    """Return an app for *broker*, whose result backend is down."""
    app = Celery("bench", broker=broker, backend="redis://127.0.0.1:1/0")
    app.conf.broker_transport_options = {"visibility_timeout": RESCUE_AFTER}
    app.conf.worker_hijack_root_logger = False
    app.conf.update(worker_settings(app))
    return app


def contrary(app: Celery) -> Celery:
    """Have *app* say of its own tasks the contrary of all that ours needs."""
    app.conf.update(
        task_acks_late=False,
        task_acks_on_failure=False,
        task_acks_on_timeout=False,
        task_ignore_result=False,
        task_reject_on_worker_lost=False,
        task_retry_on_worker_lost=False,
        task_serializer="pickle",
        task_store_errors_even_if_ignored=True,
        task_track_started=True,
    )
    return app


def _hang(bench, event, run):
    """Be moved by nothing but the end of the process."""
    while True:
        try:
            time.sleep(workbench.PATIENCE)
        except BaseException:
            continue


@signals.task_failure.connect
def _tell_failure(task_id=None, exception=None, args=None, kwargs=None, **_):
    print(f"ENDED failed {kwargs.get('audit_event_id')} {exception!r}")


@signals.task_success.connect
def _tell_success(sender=None, **_):
    print(f"ENDED succeeded {sender.request.kwargs.get('audit_event_id')}")


def _refuse_one_retry(producer, body, *args, headers=None, **options):
    """Fail to publish the first retry, as with a broker that takes nothing more."""
    flag = Path(os.environ[workbench.VARIABLE]) / "refused"
    if (headers or {}).get("retries") and not flag.exists():
        flag.touch()
        msg = "the broker takes nothing"
        raise RuntimeError(msg)
    return publish(producer, body, *args, headers=headers, **options)


publish = Producer.publish

if "BENCH_PREFIX" in os.environ:
    kind = os.environ.get("BENCH_KIND", "bound")
    app = make_app(os.environ["BENCH_BROKER"])
    if kind == "contrary":
        contrary(app)
    if kind != "old":
        queue = CeleryQueue(app, queue=os.environ["BENCH_PREFIX"], lost_retry_in=1)
    if kind == "unpublished":
        Producer.publish = _refuse_one_retry
    if kind == "contrary":
        workbench._BEHAVIOURS["stuck"] = _hang
        _queue.HARD_LIMIT_GRACE = 1
    if kind in {"bound", "contrary", "unpublished"}:
        audit_forward = workbench.audit_forward(queue, os.environ["BENCH_PREFIX"])
