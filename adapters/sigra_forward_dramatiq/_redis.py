"""`Redis`: jobs on a `RedisBroker`."""

from __future__ import annotations

import logging
from contextlib import suppress
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import redis
from dramatiq import Message
from dramatiq.common import current_millis, dq_name
from dramatiq.errors import ConnectionClosed

from sigra_forward.queues.adapter import Binding
from sigra_forward_dramatiq._server import Server
from sigra_forward_dramatiq._settings import check_redis
from sigra_forward_redis import PrivateRedis

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy

STARTS_KEPT = 7 * 24 * 3600
"""Seconds for which it is known how often a job was started: as long as Dramatiq keeps a dead letter."""


class Redis(Server):
    """
    The server of a `RedisBroker`.

    Jobs go out on a copy of the broker whose client connects and answers in time, on the caller's own thread.

    Dramatiq counts no kill as an attempt, so that a job that kills its process would do so for ever. How often a job
    was started is kept beside the broker's own keys; only of jobs, though, that have been in their queue for as long as
    it takes until a worker is taken for dead, for no other can have come back from one.
    """

    def __init__(self, broker: Any) -> None:
        super().__init__(broker)
        self._broker: Any = broker
        self._redis = PrivateRedis(broker.client)
        self._private: Any = copy(broker)
        register = self._redis.client.register_script
        vars(self._private).update(
            client=self._redis.client,
            scripts={name: register(script.script) for name, script in broker.scripts.items()},
            maintenance_chance=0,  # it lists all keys, and that is nothing for a request to wait for
            _max_unpack_size=lambda: 1,  # for maintenance; Dramatiq asks the server for it, behind a lock
        )

    def check(self, binding: Binding) -> None:
        check_redis(self._broker.heartbeat_timeout, self._broker.maintenance_chance, binding)

    def declare(self, queues: list[str]) -> None:
        super().declare(queues)
        self._broker.consume = partial(self._consume, self._broker.consume, {dq_name(queue) for queue in queues})

    def _consume(self, consume: Any, delay_queues: set[str], queue_name: str, *args: Any, **options: Any) -> Any:
        """
        Give back the delayed jobs that this process has forgotten.

        A consumer that has lost its connection starts anew, and no longer has the jobs that it held back until they
        were due. Dramatiq leaves them to a process that, living, is never taken for dead.
        """
        consumer = consume(queue_name, *args, **options)
        if queue_name in delay_queues:
            consumer.requeue = partial(_requeue, consumer.requeue)
            held = f"{self._broker.namespace}:__acks__.{self._broker.broker_id}.{queue_name}"
            try:
                if forgotten := self._broker.client.smembers(held):
                    self._broker.do_requeue(queue_name, *forgotten)
            except redis.RedisError as exc:
                raise ConnectionClosed(exc) from None  # type: ignore[no-untyped-call]
        return consumer

    def enqueue(self, message: Message[Any]) -> None:
        self._redis.run(lambda _: self._private.enqueue(message))

    def begin(self, message: MessageProxy) -> int:
        if not self._may_have_been_started(message):
            return 0
        key = self._starts(message)
        try:
            with self._broker.client.pipeline() as pipeline:
                starts, _ = pipeline.incr(key).expire(key, STARTS_KEPT).execute()
        except redis.RedisError as exc:
            logging.getLogger("sigra_forward").warning("a start could not be counted: %s", type(exc).__name__)
            return 0
        return int(starts)

    def end(self, message: MessageProxy) -> None:
        if self._may_have_been_started(message):
            with suppress(redis.RedisError):  # it expires
                self._broker.client.delete(self._starts(message))

    def keep(self, message: MessageProxy) -> None:
        """Let the dead letter have the traceback, with the reason, that Dramatiq gave the message in memory only."""
        key = f"{self._broker.namespace}:{message.queue_name}.msgs"
        number = message.options["redis_message_id"]
        if self._broker.client.hexists(key, number):
            self._broker.client.hset(key, number, message.encode())

    def close(self) -> None:
        super().close()
        self._redis.close()

    def _may_have_been_started(self, message: MessageProxy) -> bool:
        since = message.options.get("requeue_timestamp", message.message_timestamp)
        return bool(current_millis() - since >= self._broker.heartbeat_timeout)

    def _starts(self, message: MessageProxy) -> str:
        return f"{self._broker.namespace}:sigra_forward:starts:{message.options['redis_message_id']}"


def _requeue(requeue: Any, messages: Any) -> None:
    """Give *messages* back, or leave it to the next `_consume`: what is raised here ends Dramatiq's thread."""
    with suppress(redis.RedisError):
        requeue(messages)
