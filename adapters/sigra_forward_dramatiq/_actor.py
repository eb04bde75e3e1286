"""The one actor: perform, and `result.settlement` in Dramatiq's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dramatiq import Actor, Broker, Middleware, Retry
from dramatiq.middleware import Retries

from sigra_forward import ConfigurationError, Result, State
from sigra_forward.errors import JobEndedError
from sigra_forward.queues.adapter import TASK_NAME, Binding, ending, why
from sigra_forward_dramatiq._middleware import RUNNING, Jobs, Running
from sigra_forward_dramatiq._server import Server, server_of

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy

INTERRUPTED_RETRY_IN = 30
"""Seconds after which a job is tried again that was interrupted, or that reached a worker without an AuditForward."""


class Perform:
    """
    What the actor does.

    How often Dramatiq may try a job stands in its message's own options, where Dramatiq itself looks first.

    Attributes:
        binding: Whom the jobs are for.
        server: Where they come from.
    """

    def __init__(self, binding: Binding, server: Server) -> None:
        self.binding = binding
        self.server = server

    def __call__(self, /, *_: object, **job: object) -> None:
        running = RUNNING.get()
        try:
            result = self._perform(job, running.message)
        finally:  # not reached when the process is killed
            running.see_that_nothing_interrupts()
            self.server.end(running.message)
        _translate(result, running)

    def _perform(self, job: dict[str, object], message: MessageProxy) -> Result:
        options = message.options
        retries = options.get("retries")
        attempt = retries + 1 if type(retries) is int else 1
        if not self.binding.is_bound:
            options["retries"] = attempt - 2  # this is no attempt: the next worker may be put together better
        most = self.binding.max_attempts_of(job)
        options.update(retries=attempt - 1, max_retries=most - 1)
        _see_that_it_is_no_killer(self.server.begin(message), most, options)
        return self.binding.perform(job, attempt)


def registered(broker: Broker, binding: Binding, queue: str, interrupted_retry_in: int) -> Actor[..., None]:
    """
    Return the broker's one actor, whose function is a `Perform`; register it if it is not there yet.

    Args:
        broker: The host's broker.
        binding: Whom the jobs are for, as long as nobody is bound.
        queue: The queue of jobs whose route names none.
        interrupted_retry_in: Milliseconds, at most, until a job is tried again whose end was not settled.

    Raises:
        ConfigurationError: The broker has an actor of this name that is not ours, or does not retry.
    """
    actor = broker.actors.get(TASK_NAME)
    if actor is None:
        server = server_of(broker)
        if not any(isinstance(middleware, Retries) for middleware in broker.middleware):
            msg = "this Dramatiq broker never retries: add dramatiq.middleware.Retries() to its middleware"
            raise ConfigurationError(msg)
        broker.add_middleware(Jobs(server), before=Middleware)
        actor = Actor(
            Perform(binding, server),
            broker=broker,
            actor_name=TASK_NAME,
            queue_name=queue,
            priority=0,
            options={
                "retry_when": None,  # or the host's own predicate would overrule what was settled
                "min_backoff": interrupted_retry_in,
                "max_backoff": interrupted_retry_in,
            },
        )
    if not isinstance(actor.fn, Perform):
        msg = f"this Dramatiq broker has an actor {TASK_NAME!r} of its own: sigra-forward needs the name, rename yours"
        raise ConfigurationError(msg)
    return actor


def _see_that_it_is_no_killer(starts: int, most: int, options: dict[str, Any]) -> None:
    if starts >= max(most, 2):
        options["max_retries"] = 0
        msg = f"discarded: killed: it was started {starts} times, and its process was killed each time"
        raise JobEndedError(msg)


def _translate(result: Result, running: Running) -> None:
    settlement = result.settlement
    assert settlement is not None  # noqa: S101 - perform always settles
    if settlement.state is State.COMPLETED:
        running.is_settled = True
        return
    if settlement.retry_in is None:
        running.message.options["max_retries"] = 0
        raise ending(result)
    running.retry_in = settlement.retry_in * 1000
    raise Retry(why(result), delay=running.retry_in)
