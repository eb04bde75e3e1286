"""`DramatiqQueue`: jobs on the host's own Dramatiq broker."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dramatiq import Broker, Message, get_encoder
from dramatiq.encoder import PickleEncoder

from sigra_forward import ConfigurationError
from sigra_forward.queues.adapter import BIND_LOCK, DEFAULT_QUEUE, TASK_NAME, Binding, not_enqueued, seconds
from sigra_forward_dramatiq._actor import INTERRUPTED_RETRY_IN, Perform, registered
from sigra_forward_dramatiq._server import Server

if TYPE_CHECKING:
    from sigra_forward import AuditForward, JobArgs

LIBRARY = "Dramatiq"

_QUEUE_NAME = re.compile(r"(?!.*\.[DX]Q\Z)[A-Za-z_][A-Za-z0-9_.-]*")


class DramatiqQueue:
    """
    A job queue on the host's Dramatiq broker, run by the broker's own workers.

    The actor `sigra_forward.perform` is registered on *broker*, and the queue of each route is declared, so that a
    worker consumes it. Jobs go out on connections of our own that give up in time. A job that ends other than well is
    a dead letter, kept for seven days, with its reason in the worker's log, and on Redis in the dead letter's traceback
    too. `REDIS_BROKER_OPTIONS` has what a `RedisBroker` needs besides.

    Args:
        broker: The host's broker, with Dramatiq's `Retries` among its middleware.
        queue: The queue of jobs whose route names none.
        interrupted_retry_in: Seconds, at most, after which a job is tried again that Dramatiq interrupted because it
            took too long, or that reached a worker without an AuditForward; half of that at least.

    Raises:
        ConfigurationError: It is no broker, or one that never retries or has an actor of our name that is not ours; or
            the queue's name cannot be one; or *interrupted_retry_in* is no number.
    """

    def __init__(
        self, broker: Broker, *, queue: str = DEFAULT_QUEUE, interrupted_retry_in: float = INTERRUPTED_RETRY_IN
    ) -> None:
        if not isinstance(broker, Broker):
            msg = f"DramatiqQueue(broker) takes your Dramatiq broker; got a {type(broker).__name__}"
            raise ConfigurationError(msg)
        if not seconds(interrupted_retry_in):
            msg = "DramatiqQueue(interrupted_retry_in=...) must be a finite number of seconds of more than 0"
            raise ConfigurationError(msg)
        self._binding = Binding("DramatiqQueue", queue)
        _check_name(queue)
        self._interrupted_retry_in = int(interrupted_retry_in * 1000)
        with BIND_LOCK:
            self._actor = registered(broker, self._binding, queue, self._interrupted_retry_in)

    def bind(self, audit_forward: AuditForward, /) -> None:
        """
        Learn whom the jobs are for. `AuditForward` calls it once, at construction.

        Raises:
            ConfigurationError: A DramatiqQueue of this broker is bound already; Dramatiq pickles its messages; a
                route's queue has a name that cannot be one; or the broker would lose the jobs of a worker that was
                killed for long, or start one twice that takes long.
        """
        with BIND_LOCK:
            self._bind(audit_forward)

    def _bind(self, audit_forward: AuditForward) -> None:
        if self._perform.binding.is_bound:
            msg = "a DramatiqQueue of this Dramatiq broker is bound to an AuditForward already: use one broker for each"
            raise ConfigurationError(msg)
        if isinstance(get_encoder(), PickleEncoder):
            msg = "Dramatiq's encoder unpickles whatever stands in a queue: call dramatiq.set_encoder(JSONEncoder())"
            raise ConfigurationError(msg)
        self._binding.bind(audit_forward)
        try:
            self._take_up()
        except BaseException:
            self._binding.unbind()
            raise
        self._perform.binding = self._binding

    def _take_up(self) -> None:
        queues = self._binding.queues()
        for name in queues:
            _check_name(name)
        self._server.check(self._binding)
        self._server.declare(queues)
        self._actor.options.update(
            time_limit=self._binding.longest_run() * 1000,  # of a job written by hand; enqueue sets each one's own
            min_backoff=self._interrupted_retry_in,
            max_backoff=self._interrupted_retry_in,
        )

    def enqueue(self, args: JobArgs, /) -> None:
        """
        Put one job on the queue within 1.5 seconds.

        Raises:
            EnqueueError: It was not enqueued, or nobody would run it. Given up on after 1.2 seconds, it may come about
                all the same.
        """
        message: Message[None] = Message(
            queue_name=self._binding.queue_of(args.forwarder),
            actor_name=TASK_NAME,
            args=(),
            kwargs=args.to_dict(),
            options={"time_limit": self._binding.time_limit(args.forwarder) * 1000},
        )
        try:
            self._server.enqueue(message)
        except Exception as exc:
            raise not_enqueued(LIBRARY, exc) from exc

    def close(self) -> None:
        """Close the connections that are our own. A later `enqueue` opens one anew."""
        self._server.close()

    @property
    def _perform(self) -> Perform:
        perform = self._actor.fn
        assert isinstance(perform, Perform)  # noqa: S101 - `registered` has seen to it
        return perform

    @property
    def _server(self) -> Server:
        return self._perform.server


def _check_name(queue: str) -> None:
    if not _QUEUE_NAME.fullmatch(queue):
        msg = (
            f"{queue!r} cannot name a queue of Dramatiq: take letters, digits, '.', '_' and '-', begin with a letter "
            f"or '_', and do not end in .DQ or .XQ, which are Dramatiq's own"
        )
        raise ConfigurationError(msg)
