"""`worker_settings`: what Celery's workers need so that no job is lost with a process, by broker."""

from __future__ import annotations

from typing import Any

from celery import Celery

DEFAULT_VISIBILITY_TIMEOUT = 3600
"""Seconds. Source: kombu.transport.redis.Channel.visibility_timeout, kombu 5.7."""

DEFAULT_CONSUMER_TIMEOUT = 1800
"""Seconds. Source: RabbitMQ's consumer_timeout, 30 minutes by default since RabbitMQ 3.8.17."""

_TRANSPORT_OPTIONS: dict[str, dict[str, Any]] = {
    # A job whose worker was killed comes back after visibility_timeout. Celery looks for such jobs every
    # unacked_restore_interval * unacked_restore_throttle seconds: 100 by default. One that is killed while it
    # looks keeps the others from it for unacked_mutex_expire: 300 by default.
    "redis": {"unacked_restore_interval": 5, "unacked_restore_throttle": 1, "unacked_mutex_expire": 30},
    "amqp": {"confirm_publish": True},
}


def driver(app: Celery) -> str:
    """Return kombu's name for the kind of the app's broker: ``"redis"``, ``"amqp"`` or another."""
    return str(app.connection_for_write().transport.driver_type)


def worker_settings(app: Celery) -> dict[str, Any]:
    """
    Return the settings with which no job is lost with a worker: ``app.conf.update(worker_settings(app))``.

    A worker takes one job ahead for each of its processes, not four. On Redis, it looks for the jobs of workers that
    were killed every 5 seconds instead of every 100; when one comes back is decided by the ``visibility_timeout`` in
    ``broker_transport_options``, an hour by default. On RabbitMQ, which gives them back at once, publishing waits for
    the broker's word. What ``broker_transport_options`` sets already stays.
    """
    options = {**_TRANSPORT_OPTIONS.get(driver(app), {}), **app.conf.broker_transport_options}
    return {"worker_prefetch_multiplier": 1, "broker_transport_options": options}


def rescue_after(app: Celery) -> tuple[float, str] | None:
    """Return after how many seconds the broker takes a worker for dead, and which setting says so."""
    kind = driver(app)
    if kind == "redis":
        seconds = app.conf.broker_transport_options.get("visibility_timeout", DEFAULT_VISIBILITY_TIMEOUT)
        return seconds, "broker_transport_options['visibility_timeout']"
    if kind == "amqp":
        return DEFAULT_CONSUMER_TIMEOUT, "RabbitMQ's consumer_timeout, as far as can be told from here,"
    return None
