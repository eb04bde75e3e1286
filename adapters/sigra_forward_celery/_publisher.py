"""`Publisher`: the app's broker, on connections of our own that give up in time."""

from __future__ import annotations

from time import monotonic
from typing import Any

from celery import Celery
from kombu.messaging import Producer

from sigra_forward.queues.adapter import ENQUEUE_TIMEOUT, BoundedCaller, forget_after_fork
from sigra_forward_celery._settings import driver

SOCKET_TIMEOUT = 0.7
"""Seconds for one answer of the broker: a job on a connection that stands is published within an enqueue's 1.5."""

_TRANSPORT_OPTIONS: dict[str, dict[str, Any]] = {
    "redis": {"socket_timeout": SOCKET_TIMEOUT, "socket_connect_timeout": SOCKET_TIMEOUT},
    "amqp": {"read_timeout": SOCKET_TIMEOUT, "write_timeout": SOCKET_TIMEOUT, "confirm_publish": True},
}

_PARENTS_PRODUCERS: list[object] = []


class Publisher:
    """
    Publishes tasks on connections of its own, which neither retry nor wait as those of the app do.

    The app's configuration and its workers are untouched by it. It connects on a thread that is given up on in time,
    because no timeout of a socket covers a name that does not resolve; on a connection that stands it publishes on the
    caller's own. Safe for threads: a producer is used by one at a time.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._idle: list[Producer] = []
        self._caller = BoundedCaller()
        forget_after_fork(self)

    def publish(self, task: Any, **options: Any) -> None:
        """
        Send one message for *task*.

        Raises:
            TimeoutError: The broker was not reached in time. It may be all the same, a little later.
            Exception: Whatever kombu, the broker's client or the app raised.
        """
        started = monotonic()
        producer = self._taken()
        if producer is not None:
            try:
                self._send(producer, task, options)
            except Exception:
                if monotonic() - started > SOCKET_TIMEOUT / 2:
                    raise  # the broker is slow, and may take the job yet
                self._drop_idle()  # gone stale, as this one was: the broker was restarted since
            else:
                return
        self._caller.call(lambda: self._send(self._new(), task, options), started + ENQUEUE_TIMEOUT - monotonic())

    def close(self) -> None:
        """Close the connections that are not in use. A later `publish` opens one anew."""
        self._drop_idle()
        self._caller.close()

    def _drop_idle(self) -> None:
        while (producer := self._taken()) is not None:
            _drop(producer)

    def forget(self) -> None:
        """Leave the parent process its connections: the client of RabbitMQ would shut them down for both."""
        _PARENTS_PRODUCERS.append(self._idle)
        self._idle = []

    def _send(self, producer: Producer, task: Any, options: dict[str, Any]) -> None:
        try:
            task.apply_async(producer=producer, retry=False, add_to_parent=False, **options)
        except BaseException:
            _drop(producer)
            raise
        self._idle.append(producer)

    def _taken(self) -> Producer | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _new(self) -> Producer:
        kind = driver(self._app)
        options = {**_TRANSPORT_OPTIONS.get(kind, {}), "interval_start": 0, "interval_step": 0, "interval_max": 0}
        connection: Any = self._app.connection_for_write(connect_timeout=SOCKET_TIMEOUT, transport_options=options)
        connection.transport_options["max_retries"] = max(len(connection.alt) - 1, 0)  # each of several brokers once
        if kind == "redis":
            self._connect_in_time(connection.default_channel)
        return self._app.amqp.Producer(connection, auto_declare=False)

    def _connect_in_time(self, channel: Any) -> None:
        """Have the client of Redis, which connects anew by itself in the midst of a command, do so in time."""
        from sigra_forward_redis import connecting_in_time

        pool = channel.pool
        pool.connection_class = connecting_in_time(pool.connection_class, self._caller)
        pool.disconnect()
        pool.reset()


def _drop(producer: Producer) -> None:
    connection: Any = producer.connection
    connection.collect(socket_timeout=0.1)
