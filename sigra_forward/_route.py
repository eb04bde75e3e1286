"""`Route`: which events go to a forwarder, how they are changed on the way, and by which way they go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum, unique
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from attrs import field, frozen

from sigra_forward._awaitables import close_if_awaitable
from sigra_forward._backoff import is_count
from sigra_forward._event import AuditEvent, is_event
from sigra_forward._names import NAME_RULE, is_name, type_name
from sigra_forward._settle import RetryPolicy, seconds
from sigra_forward.errors import ConfigurationError
from sigra_forward.ports import DEFAULT_DEADLINE

if TYPE_CHECKING:
    from sigra_forward.ports import AnyForwarder


@unique
class Dispatch(Enum):
    """How one event goes out: as a job on the queue, inline, or by the better of what there is."""

    AUTO = "auto"
    ASYNC = "async"
    SYNC = "sync"


@frozen
class Route:
    """
    A forwarder, and which events go there, how, and by which way.

    Args:
        forwarder: An object with ``forward``.
        dispatch: How events go out.
        actions: Exact actions, or prefixes with a trailing ``*``. An event is wanted if one of them fits…
        where: …and this function, if there is one, returns something true for it.
        transform: Changes the event before it leaves, to redact it for example. Only the sink sees what it
            returns, which must be an `AuditEvent` with the same source and id.
        policy: Replaces the `AuditForward`'s own.
        queue: The name of a queue on the bound `JobQueue`, where it has several.
        since: With a ledger: events before this aware moment are not owed.

    Raises:
        ConfigurationError: The forwarder has no ``forward``, or an option makes no sense.
    """

    forwarder: AnyForwarder
    dispatch: Dispatch = Dispatch.AUTO
    actions: tuple[str, ...] = ("*",)
    where: Callable[[AuditEvent], object] | None = None
    transform: Callable[[AuditEvent], AuditEvent] | None = None
    policy: RetryPolicy | None = None
    queue: str | None = None
    since: datetime | None = None
    deadline: float = field(init=False, default=DEFAULT_DEADLINE)
    _exact: frozenset[str] = field(init=False, repr=False, eq=False, default=frozenset())
    _prefixes: tuple[str, ...] = field(init=False, repr=False, eq=False, default=())

    def __attrs_post_init__(self) -> None:
        deadline = _check_forwarder(self.forwarder)
        actions = _check_actions(self.actions)
        _check_options(self)
        derived = {
            "deadline": deadline,
            "actions": actions,
            "_exact": frozenset(action for action in actions if not action.endswith("*")),
            "_prefixes": tuple(action[:-1] for action in actions if action.endswith("*")),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)  # frozen from here on

    def wants(self, event: AuditEvent) -> bool:
        """
        Tell whether *event* goes here: the one function that decides it, for all who ask.

        Raises:
            Exception: What ``where`` raised.
        """
        action = event.action
        if not (action.startswith(self._prefixes) or action in self._exact):
            return False
        if self.where is None:
            return True
        answer = self.where(event)
        if close_if_awaitable(answer):
            msg = "where returned an awaitable; it must answer at once"
            raise ConfigurationError(msg)
        return bool(answer)

    def outgoing(self, event: AuditEvent) -> AuditEvent:
        """
        Return *event* as the sink shall see it.

        Raises:
            ConfigurationError: ``transform`` gave no event with the same source and id.
            Exception: What ``transform`` raised.
        """
        if self.transform is None:
            return event
        changed = self.transform(event)
        if close_if_awaitable(changed) or not is_event(changed):
            msg = f"transform must return an AuditEvent; got {type_name(changed)}"
            raise ConfigurationError(msg)
        if (changed.source, changed.id) != (event.source, event.id):
            msg = "transform must keep the event's source and id"
            raise ConfigurationError(msg)
        return changed


def _check_forwarder(forwarder: object) -> float:
    if isinstance(forwarder, type):
        msg = f"the forwarder is the class {forwarder.__name__}: pass an instance of it"
        raise ConfigurationError(msg)
    if not callable(getattr(forwarder, "forward", None)):
        msg = f"the forwarder, a {type_name(forwarder)}, has no forward(event): see sigra_forward.ports.Forwarder"
        raise ConfigurationError(msg)
    if not is_count(getattr(forwarder, "max_events", 1)):
        msg = f"{type_name(forwarder)}.max_events must be an integer of at least 1"
        raise ConfigurationError(msg)
    deadline = seconds(getattr(forwarder, "deadline", DEFAULT_DEADLINE))
    if not deadline:
        msg = f"{type_name(forwarder)}.deadline must be a finite number of seconds above 0"
        raise ConfigurationError(msg)
    return deadline


def _check_actions(actions: object) -> tuple[str, ...]:
    if isinstance(actions, str) or not isinstance(actions, (tuple, list, set, frozenset)) or not actions:
        msg = 'Route(actions=...) must be a tuple of at least one action or prefix, such as ("auth.*",)'
        raise ConfigurationError(msg)
    for action in actions:
        if not isinstance(action, str) or not action or "*" in action[:-1]:
            msg = "Route(actions=...): each must be an action, or a prefix with one * at its end"
            raise ConfigurationError(msg)
    return tuple(actions)


def _check_options(route: Route) -> None:
    if not isinstance(route.dispatch, Dispatch):
        msg = "Route(dispatch=...) must be Dispatch.AUTO, Dispatch.ASYNC or Dispatch.SYNC"
        raise ConfigurationError(msg)
    for name in ("where", "transform"):
        function = getattr(route, name)
        if function is not None and (not callable(function) or iscoroutinefunction(function)):
            msg = f"Route({name}=...) must be a function of one event that is not async"
            raise ConfigurationError(msg)
    if route.policy is not None and not isinstance(route.policy, RetryPolicy):
        msg = "Route(policy=...) must be a RetryPolicy"
        raise ConfigurationError(msg)
    if route.queue is not None and (not is_name(route.queue) or route.dispatch is Dispatch.SYNC):
        msg = f"Route(queue=...) must be {NAME_RULE}, and has no meaning with Dispatch.SYNC"
        raise ConfigurationError(msg)
    since = route.since
    if since is not None and (not isinstance(since, datetime) or since.utcoffset() is None):
        msg = "Route(since=...) must be an aware datetime: give it a tzinfo"
        raise ConfigurationError(msg)
