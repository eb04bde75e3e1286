"""`RabbitMQ`: jobs on a `RabbitmqBroker`."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from functools import partial
from threading import local
from typing import Any

from dramatiq import Message

from sigra_forward.queues.adapter import ENQUEUE_TIMEOUT, Binding, forget_after_fork
from sigra_forward_dramatiq._server import Server
from sigra_forward_dramatiq._settings import check_rabbitmq

SOCKET_TIMEOUT = 1.0
"""Seconds to connect in, and to wait for a server that takes no messages for now."""

CLOSE_TIMEOUT = 1.0
"""Seconds that closing the connections may take."""


class RabbitMQ(Server):
    """
    The server of a `RabbitmqBroker`.

    Jobs go out on a copy of the broker, with connections of its own: one for each of our threads, for pika's are for
    one thread each. Each job is confirmed, or a server that is frozen would swallow it.
    """

    def __init__(self, broker: Any) -> None:
        super().__init__(broker)
        self._private: Any = copy(broker)
        parameters = broker.parameters
        several = isinstance(parameters, list)
        self._private.parameters = [_bounded(one) for one in parameters] if several else _bounded(parameters)
        self._private.confirm_delivery = True
        self._private.queues_pending = set()
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Start anew, with no connections."""
        self._private.state = local()
        self._private.connections = set()
        self._private.channels = set()

    def check(self, binding: Binding) -> None:
        check_rabbitmq(binding)

    def declare(self, queues: list[str]) -> None:
        super().declare(queues)
        self._private.queues_pending.update(queues)

    def enqueue(self, message: Message[Any]) -> None:
        self._caller.call(partial(self._private.enqueue, message), ENQUEUE_TIMEOUT)

    def close(self) -> None:
        old = copy(self._private)
        self.forget()
        if old.connections:
            with suppress(TimeoutError):  # the server is frozen, and the connections end with it
                self._caller.call(old.close, CLOSE_TIMEOUT)
        super().close()


def _bounded(parameters: Any) -> Any:
    ours = copy(parameters)
    ours.connection_attempts = 1
    ours.socket_timeout = ours.stack_timeout = ours.blocked_connection_timeout = SOCKET_TIMEOUT
    ours.heartbeat = 0  # between two jobs nobody would answer it, and the server would close the connection
    return ours
