"""`Jobs`: the middleware that knows which job a thread runs, and loses none."""

from __future__ import annotations

import logging
from contextlib import suppress
from contextvars import ContextVar
from time import sleep
from typing import TYPE_CHECKING, Any

from dramatiq import Broker, Message, Middleware, Retry

from sigra_forward.queues.adapter import TASK_NAME
from sigra_forward_dramatiq._server import Server

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy

PUBLISH_AGAIN_AFTER = 1.0
"""Seconds from one try to publish a retry to the next."""


class Running:
    """A job that a thread runs."""

    def __init__(self, message: MessageProxy) -> None:
        self.message = message
        self.is_enqueued_again = False


RUNNING: ContextVar[Running] = ContextVar("sigra_forward_running")


class Jobs(Middleware):
    """
    Knows which job a thread runs, keeps the reason with a dead letter, and sees that a retry is published.

    Dramatiq acknowledges a job whose retry could not be published, which would be the end of it.

    It has to stand before Dramatiq's `Retries`, so as to come after it when a job has ended.

    Args:
        server: The server of the broker.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Note which job the thread runs."""
        if message.actor_name == TASK_NAME:
            RUNNING.set(Running(message))

    def after_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        """Note that the job the thread runs is to be tried again."""
        running = RUNNING.get(None)
        if running is not None and running.message.message_id == message.message_id:
            running.is_enqueued_again = True

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: object = None, exception: BaseException | None = None
    ) -> None:
        """Publish the retry that Dramatiq could not publish, until it is."""
        if message.actor_name != TASK_NAME or exception is None or message.failed:
            return
        running = RUNNING.get()
        delay = exception.delay if isinstance(exception, Retry) else 0
        while not running.is_enqueued_again:
            logging.getLogger("sigra_forward").error(
                "the retry could not be published, and is tried again in %g s", PUBLISH_AGAIN_AFTER
            )
            sleep(PUBLISH_AGAIN_AFTER)
            with suppress(Exception):  # the line above tells, each time
                broker.enqueue(message, delay=delay)  # type: ignore[arg-type]  # as Dramatiq itself does

    def before_nack(self, broker: Broker, message: MessageProxy) -> None:
        """Keep the reason with what becomes a dead letter."""
        if message.actor_name == TASK_NAME:
            self._server.keep(message)
