"""`Server`: what jobs need of the server behind a broker, where every kind of server has its own way."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from dramatiq import Broker, Message

from sigra_forward.queues.adapter import ENQUEUE_TIMEOUT, Binding, BoundedCaller

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy


class Server:
    """
    The server of a broker of any kind, which is used as it is, and given up on when it does not answer in time.

    Args:
        broker: The host's broker.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._caller = BoundedCaller()

    def check(self, binding: Binding) -> None:
        """
        See that the server runs the job of a worker that was killed again, and no job twice at once.

        Raises:
            ConfigurationError: It does not, with the forwarders of *binding*.
        """

    def declare(self, queues: list[str]) -> None:
        """Have the broker's workers consume *queues*, and their delay queues, which no actor was declared with."""
        for name in queues:
            self._broker.declare_queue(name)

    def enqueue(self, message: Message[Any]) -> None:
        """
        Put *message* onto its queue.

        Raises:
            Exception: Whatever Dramatiq, or the client of the server, raised; a TimeoutError among others.
        """
        self._caller.call(partial(self._broker.enqueue, message), ENQUEUE_TIMEOUT)

    def begin(self, message: MessageProxy) -> int:
        """Count that a job is started, and return how often it was, as far as the server keeps count."""
        return 0

    def end(self, message: MessageProxy) -> None:
        """Forget how often a job was started: it has come to an end of its own."""

    def keep(self, message: MessageProxy) -> None:
        """Write down a message that is about to become a dead letter as it is now, where the server allows it."""

    def close(self) -> None:
        """Close the connections that are ours."""
        self._caller.close()


def server_of(broker: Broker) -> Server:
    """Return the server of *broker*, a subclass of one of Dramatiq's own or another."""
    if _is(broker, "dramatiq.brokers.redis", "RedisBroker"):
        from sigra_forward_dramatiq._redis import Redis

        return Redis(broker)
    if _is(broker, "dramatiq.brokers.rabbitmq", "RabbitmqBroker"):
        from sigra_forward_dramatiq._rabbitmq import RabbitMQ

        return RabbitMQ(broker)
    return Server(broker)


def _is(broker: Broker, module: str, kind: str) -> bool:
    """Tell whether *broker* is of a kind whose module, and the client that it imports, may not be there at all."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(broker, getattr(loaded, kind))
