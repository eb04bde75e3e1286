"""`Jobs`: the middleware that knows which job a thread runs, and loses none."""

from __future__ import annotations

import logging
from contextlib import suppress
from contextvars import ContextVar
from time import sleep
from typing import TYPE_CHECKING, Any

from dramatiq import Broker, Message, Middleware
from dramatiq.middleware import Interrupt, ShutdownNotifications, TimeLimit

from sigra_forward.queues.adapter import TASK_NAME
from sigra_forward_dramatiq._server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dramatiq import Worker
    from dramatiq.broker import MessageProxy

PUBLISH_AGAIN_AFTER = 1.0
"""Seconds from one try to publish a retry to the next."""


class Running:
    """
    A job that a thread runs.

    Args:
        broker: The worker's broker.
        message: Its message, as the worker has it.
        interrupters: The broker's middleware that may break into a job.

    Attributes:
        message: The message.
        retry_in: Milliseconds after which it is to be tried again, if it is not settled; ``None``: as after an
            interruption.
        is_settled: Whether it may be acknowledged: it has come to a good end, or is enqueued again.
    """

    def __init__(self, broker: Broker, message: MessageProxy, interrupters: Sequence[Middleware]) -> None:
        self._broker = broker
        self._interrupters = interrupters
        self.message = message
        self.retry_in: int | None = None
        self.is_settled = False

    def see_that_nothing_interrupts(self) -> None:
        """
        Have neither a time limit nor a stop of the worker break into what is left to do, once the job has ended.

        Dramatiq lets them until the last of its middleware has heard of the end; and what they break into there is the
        publication of the retry, and the thread.
        """
        try:
            for middleware in self._interrupters:
                middleware.after_process_message(self._broker, self.message)
        except Interrupt:  # in the last moment; and none comes a second time
            self.see_that_nothing_interrupts()
            raise

    def publish(self) -> None:
        """Enqueue the job again, or wait a second."""
        retry_in = self._broker.actors[TASK_NAME].options["max_backoff"] if self.retry_in is None else self.retry_in
        try:
            self._broker.enqueue(self.message, delay=retry_in)  # type: ignore[arg-type]  # as Dramatiq does
        except Exception as exc:  # noqa: BLE001 - whatever the broker raises
            failure = type(exc).__name__
        else:
            self.is_settled = True
            return
        log = logging.getLogger("sigra_forward")
        log.error("the retry could not be published (%s), and is tried again in %g s", failure, PUBLISH_AGAIN_AFTER)
        sleep(PUBLISH_AGAIN_AFTER)


RUNNING: ContextVar[Running] = ContextVar("sigra_forward_running")


class Jobs(Middleware):
    """
    Knows which job a thread runs, keeps the reason with a dead letter, and acknowledges no job that has to be retried.

    Dramatiq acknowledges a job whatever became of its retry, which is the end of it where that was not published.

    It has to be the first that hears of a job.

    Args:
        server: The server of the broker.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._interrupters: Sequence[Middleware] = ()

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Find what may break into a job of this worker."""
        kinds = (TimeLimit, ShutdownNotifications)
        self._interrupters = [middleware for middleware in broker.middleware if isinstance(middleware, kinds)]

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Note which job the thread runs."""
        if message.actor_name == TASK_NAME:
            RUNNING.set(Running(broker, message, self._interrupters))

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Note that the host wants the job not to run."""
        if running := _running(message):
            running.is_settled = True

    def after_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        """Note that the job the thread runs is to be tried again."""
        running = RUNNING.get(None)
        if running is not None and running.message.message_id == message.message_id:
            running.is_settled = True

    def before_ack(self, broker: Broker, message: MessageProxy) -> None:
        """Publish the retry that Dramatiq could not publish, until it is."""
        running = _running(message)
        while running is not None and not running.is_settled:
            with suppress(Interrupt):  # there is nothing left to break off
                running.publish()

    def before_nack(self, broker: Broker, message: MessageProxy) -> None:
        """Keep the reason with what becomes a dead letter."""
        if message.actor_name == TASK_NAME:
            self._server.keep(message)


def _running(message: MessageProxy) -> Running | None:
    running = RUNNING.get(None)
    return running if running is not None and running.message is message else None
