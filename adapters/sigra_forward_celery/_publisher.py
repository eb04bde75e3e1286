"""`Publisher`: the app's broker, on connections of our own, and each enqueue over by its deadline."""

from __future__ import annotations

from functools import cached_property
from time import monotonic
from typing import Any

from celery import Celery
from kombu.messaging import Producer

from sigra_forward.queues.adapter import ENQUEUE_TIMEOUT, BoundedCaller, Places, forget_after_fork
from sigra_forward_celery._settings import driver

SOCKET_TIMEOUT = ENQUEUE_TIMEOUT / 2
"""Seconds for one answer of the broker: of several in the app's URL, the second is tried in time."""

_TRANSPORT_OPTIONS: dict[str, dict[str, Any]] = {
    "redis": {"socket_timeout": SOCKET_TIMEOUT, "socket_connect_timeout": SOCKET_TIMEOUT},
    "amqp": {"read_timeout": SOCKET_TIMEOUT, "write_timeout": SOCKET_TIMEOUT, "confirm_publish": True},
}

_AT_ONCE = {"interval_start": 0, "interval_step": 0, "interval_max": 0, "connect_retries_timeout": ENQUEUE_TIMEOUT}

_PARENTS_PRODUCERS: list[object] = []


class Publisher:
    """
    Publishes tasks on connections of its own, which neither retry nor wait as those of the app do.

    The app's configuration and its workers are untouched by it. What talks to the broker does so on a thread that is
    given up on in time, because no timeout of a socket covers a name that does not resolve, nor several late answers.
    The rest, the host's routes and signals included, is done on the caller's own. Safe for threads.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._caller = BoundedCaller()
        self._idle: list[Producer] = []
        self._places = Places()
        forget_after_fork(self)

    @cached_property
    def names(self) -> Any:
        """Return a connection that is never opened: Celery asks it how the errors of the app's broker are called."""
        return self._app.connection_for_write()

    def publish(self, task: Any, **options: Any) -> None:
        """
        Send one message for *task*; where the app is eager, run it here and now, as Celery does its own.

        Raises:
            TimeoutError: The broker was not reached in time. It may be all the same, a little later.
            Exception: Whatever kombu, the broker's client or the app raised.
        """
        how = {"throw": False} if self._app.conf.task_always_eager else {"retry": False, "add_to_parent": False}
        began = monotonic()
        try:
            task.apply_async(producer=_InTime(self, began + ENQUEUE_TIMEOUT), **options, **how)
        except Exception as exc:
            if monotonic() - began < SOCKET_TIMEOUT:
                raise
            raise TimeoutError from exc  # by whichever of the clients' many names

    def send(self, until: float, *message: Any, **options: Any) -> None:
        """Publish one message as kombu's `Producer.publish` does, and wait for it until that monotonic moment."""
        self._caller.call(lambda: self._send(until, message, options), until - monotonic())

    def close(self) -> None:
        """Close the connections that are not in use. A later `publish` opens one anew."""
        idle, self._idle = self._idle, []
        _close_all(idle)
        self._caller.close()

    def forget(self) -> None:
        """Leave the parent process its connections: the client of RabbitMQ would shut them down for both."""
        _PARENTS_PRODUCERS.append(self._idle)
        self._idle = []

    def _send(self, until: float, message: tuple[Any, ...], options: dict[str, Any]) -> None:
        with self._places.one(until - monotonic()):
            self._send_on_one(until, message, options)

    def _send_on_one(self, until: float, message: tuple[Any, ...], options: dict[str, Any]) -> None:
        idle, began = self._idle, monotonic()
        producer = _taken(idle)
        if producer is not None:
            try:
                self._publish(idle, producer, message, options)
            except Exception:
                if monotonic() - began >= SOCKET_TIMEOUT:
                    raise  # the broker is slow, and may take the job yet
            else:
                return  # or it has gone stale: the broker was restarted since
        producer = self._connected()
        if monotonic() >= until:
            self._give_back(idle, producer)  # to the next enqueue: nobody waits for this one any more
            raise TimeoutError
        self._publish(idle, producer, message, options)

    def _publish(
        self, idle: list[Producer], producer: Producer, message: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        try:
            producer.publish(*message, **options)
        except BaseException:
            _close(producer.connection)
            raise
        self._give_back(idle, producer)

    def _give_back(self, idle: list[Producer], producer: Producer) -> None:
        idle.append(producer)
        if idle is not self._idle:  # `close` was called meanwhile
            _close_all(idle)

    def _connected(self) -> Producer:
        kind = driver(self._app)
        options = {**_TRANSPORT_OPTIONS.get(kind, {}), **_AT_ONCE}
        connection: Any = self._app.connection_for_write(connect_timeout=SOCKET_TIMEOUT, transport_options=options)
        connection.transport_options["max_retries"] = max(len(connection.alt) - 1, 0)  # each of several brokers once
        try:
            channel = connection.default_channel
        except BaseException:
            _close(connection)
            raise
        if kind == "redis":
            channel.client.connection_pool.disconnect()  # the one that kombu would consume on
            client = channel._create_client()  # noqa: SLF001 - kombu would make one, of hundreds of parts, per message
            channel._create_client = lambda: client  # noqa: SLF001 - it is no more than a way to the channel's pool
        return self._app.amqp.Producer(connection, auto_declare=False)


class _InTime:
    """What Celery takes for a producer: all that one enqueue publishes is over by one deadline."""

    def __init__(self, publisher: Publisher, until: float) -> None:
        self._publisher = publisher
        self._until = until
        self.connection = publisher.names

    def publish(self, *message: Any, **options: Any) -> None:
        """Publish one message in time."""
        self._publisher.send(self._until, *message, **options)


def _taken(idle: list[Producer]) -> Producer | None:
    try:
        return idle.pop()
    except IndexError:
        return None


def _close_all(idle: list[Producer]) -> None:
    while (producer := _taken(idle)) is not None:
        _close(producer.connection)


def _close(connection: Any) -> None:
    """Close *connection* without a word to the broker, for which RabbitMQ's client would wait."""
    if connection.connected and hasattr(connection.connection, "collect"):
        connection.connection.collect()
    connection.release()  # `collect` of kombu's own sets the timeout of all new sockets in the process, for a moment
