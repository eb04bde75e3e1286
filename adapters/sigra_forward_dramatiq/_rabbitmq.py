"""`RabbitMQ`: jobs on a `RabbitmqBroker`."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from functools import partial
from threading import Event
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pika  # type: ignore[import-untyped]
from dramatiq import Message
from pika.exceptions import (  # type: ignore[import-untyped]
    AMQPConnectionError,
    AMQPError,
    ConnectionClosedByClient,
)

from sigra_forward.queues.adapter import ENQUEUE_TIMEOUT, Binding, BoundedCaller, Places, forget_after_fork
from sigra_forward_dramatiq._server import Server
from sigra_forward_dramatiq._settings import check_rabbitmq

SOCKET_TIMEOUT = 1.0
"""Seconds to connect in, and to wait for a server that takes no messages for now."""

CLOSE_TIMEOUT = 1.0
"""Seconds that closing the connections may take."""


class RabbitMQ(Server):
    """
    The server of a `RabbitmqBroker`.

    Jobs go out on connections of our own, on the caller's own thread, each of which is for one thread at a time. Each
    job is confirmed, or a server that is frozen would swallow it.
    """

    def __init__(self, broker: Any) -> None:
        super().__init__(broker)
        parameters = broker.parameters
        several = isinstance(parameters, list)
        self._lane: Any = copy(broker)
        self._lane.__class__ = type("Lane", (_Lane, type(broker)), {})
        self._lane.caller = self._caller
        self._lane.parameters = [_bounded(one) for one in parameters] if several else _bounded(parameters)
        self._lane.confirm_delivery = True
        self._lane.queues_pending = set()
        self._places = Places()
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Start anew, with no connections."""
        self._idle: list[Any] = []

    def check(self, binding: Binding) -> None:
        check_rabbitmq(binding)

    def declare(self, queues: list[str]) -> None:
        super().declare(queues)
        self._lane.queues_pending.update(queues)

    def enqueue(self, message: Message[Any]) -> None:
        until = monotonic() + ENQUEUE_TIMEOUT
        with self._places.one(ENQUEUE_TIMEOUT):
            self._enqueue(message, until)

    def _enqueue(self, message: Message[Any], until: float) -> None:
        idle = self._idle
        try:
            lane = idle.pop()
        except IndexError:
            lane = copy(self._lane)
            lane.forget()
        try:
            lane.enqueue_in_time(message, until)
        except TimeoutError:  # what has made this connection fall silent has done so with all of them
            self._hang_up(monotonic())
            raise
        idle.append(lane)
        if idle is not self._idle:  # `close` was called meanwhile
            lane.hang_up(monotonic())

    def close(self) -> None:
        self._hang_up(monotonic() + CLOSE_TIMEOUT)
        super().close()

    def _hang_up(self, until: float) -> None:
        idle, self._idle = self._idle, []
        for lane in idle:
            lane.hang_up(until)


class _Lane:
    """
    One connection: mixed into the host's kind of broker, whose way to enqueue it bounds.

    The name is resolved on a thread that is given up on, because nothing else bounds that. All else pika does in its
    loop on the caller's own thread, where a timer of the loop ends the connection when the time is over.
    """

    caller: BoundedCaller
    parameters: Any
    _connection: Any = None
    _until = 0.0
    _loop: Any = None
    _timer: Any = None

    def forget(self) -> None:
        """Start anew, with no connection."""
        self._connection = None
        self.state, self.channels = SimpleNamespace(), set[Any]()

    def enqueue_in_time(self, message: Message[Any], until: float) -> None:
        """
        Enqueue *message*, and give up at *until* of the monotonic clock.

        Raises:
            TimeoutError: It took too long.
            Exception: Whatever else Dramatiq or pika raised. In either case the connection is ended.
        """
        self._until = until
        try:
            self._watch()
            self.enqueue(message)  # type: ignore[attr-defined]
            self._loop.remove_timeout(self._timer)
        except BaseException:
            del self.connection
            raise

    def hang_up(self, until: float) -> None:
        """Close the connection as is due, or end it where that is not over by *until*, of the monotonic clock."""
        self._until = until
        if monotonic() < until:
            self._watch()
            with suppress(AMQPError):
                self._connection.close()
        del self.connection

    @property
    def connection(self) -> Any:
        """The connection, which Dramatiq asks for and deletes when it is broken."""
        if self._connection is None:  # pragma: no branch - Dramatiq asks once, and then keeps the channel
            self._connection = self._connected()
            self._watch()
        return self._connection

    @connection.deleter
    def connection(self) -> None:
        connection = self._connection
        self.forget()
        if connection is not None:
            _end(connection)

    def _watch(self) -> None:
        connection = self._connection
        if connection is not None and connection.is_open:
            end = partial(_terminate, connection, AMQPConnectionError("the server did not answer in time"))
            self._loop = connection._impl.ioloop  # noqa: SLF001 - pika's own timers do not run while it waits
            self._timer = self._loop.call_later(max(0.0, self._until - monotonic()), end)

    def _connected(self) -> Any:
        is_given_up = Event()

        def connect() -> Any:
            connection = pika.BlockingConnection(self.parameters)
            if is_given_up.is_set():
                _end(connection)
            return connection

        try:
            return self.caller.call(connect, self._until - monotonic())
        except BaseException:
            is_given_up.set()
            raise


def _end(connection: Any) -> None:
    """Close *connection* without a word to the server, which may not answer."""
    if connection.is_open:
        _terminate(connection, ConnectionClosedByClient(200, "ended"))
        with suppress(AMQPError):  # it broke just now
            connection.process_data_events()


def _terminate(connection: Any, reason: Exception) -> None:
    """Have pika's loop close the socket, as pika itself does when a heartbeat stays away."""
    connection._impl._terminate_stream(reason)  # noqa: SLF001 - close() waits for the server's answer


def _bounded(parameters: Any) -> Any:
    ours = copy(parameters)
    ours.connection_attempts = 1
    ours.socket_timeout = ours.stack_timeout = ours.blocked_connection_timeout = SOCKET_TIMEOUT
    ours.heartbeat = 0  # between two jobs nobody would answer it, and the server would close the connection
    return ours
