"""`Route`: which events go to a forwarder, how they are changed on the way, and what a route refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st

from sigra_forward import AuditEvent, ConfigurationError, Dispatch, RetryPolicy, Route
from sigra_forward.ports import DEFAULT_DEADLINE
from sigra_forward.testing import RecordingForwarder, make_event
from tests.support_ids import spelled
from tests.support_values import HidesItsClass, HostileFloat, HostileInt

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)


class Configured:
    """A forwarder with attributes of its own."""

    def __init__(self, **attributes: object) -> None:
        vars(self).update(attributes)

    def forward(self, event: AuditEvent) -> None:
        """Accept *event*."""


class Deaf:
    """Has a ``forward`` that cannot be called."""

    forward = "forward"


async def asynchronous(_event: AuditEvent) -> bool:
    """Answer to those who await it."""
    return True


class AsyncCallable:
    """Is no async function, but returns what must be awaited."""

    async def __call__(self, _event: AuditEvent) -> bool:
        return True


def raising(_event: AuditEvent) -> bool:
    """Raise, as the host's own function may."""
    raise LookupError


def route(**options: object) -> Route:
    """Return a route with *options*."""
    return Route(RecordingForwarder(), **options)


def giving(value: object) -> Callable[[AuditEvent], object]:
    """Return a function of one event that always gives *value*."""
    return lambda _event: value


def test_a_route_needs_a_forwarder_alone() -> None:
    """By default a route takes every event, as it is, by the better way."""
    forwarder = RecordingForwarder()
    expected = Route(forwarder, Dispatch.AUTO, ("*",), None, None, None, None, None)

    assert expected == Route(forwarder)


def test_the_ways_of_dispatch() -> None:
    """There are three ways, and no more."""
    expected = {"AUTO": "auto", "ASYNC": "async", "SYNC": "sync"}

    assert expected == {way.name: way.value for way in Dispatch}


@pytest.mark.parametrize(
    ("expected", "actions"),
    [
        pytest.param(True, ("*",), id="all"),
        pytest.param(True, ("session.create",), id="exact"),
        pytest.param(True, ("session.*",), id="prefix"),
        pytest.param(True, ("sess*",), id="prefix-within-a-word"),
        pytest.param(True, ("session.create*",), id="prefix-that-is-all"),
        pytest.param(True, ("auth.*", "session.create"), id="the-second-of-two"),
        pytest.param(True, ("auth.login", "session.*"), id="prefix-after-exact"),
        pytest.param(True, ["session.*"], id="list"),
        pytest.param(True, {"session.*"}, id="set"),
        pytest.param(True, frozenset({"session.create"}), id="frozenset"),
        pytest.param(False, ("session",), id="no-prefix-without-a-star"),
        pytest.param(False, ("session.create.more",), id="longer"),
        pytest.param(False, ("session.create.*",), id="longer-prefix"),
        pytest.param(False, ("Session.*",), id="case"),
        pytest.param(False, ("auth.*", "auth.login"), id="others"),
    ],
)
def test_actions_select_events(expected: bool, actions: object) -> None:
    """An event is wanted if its action is listed, or begins as a listed prefix does."""
    assert expected is route(actions=actions).wants(make_event(action="session.create"))


@given(st.text(st.characters(), min_size=1))
def test_the_default_wants_every_action(action: str) -> None:
    """Without a filter every event is wanted."""
    assert route().wants(make_event(action=action))


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        pytest.param(True, True, id="true"),
        pytest.param(True, "yes", id="truthy"),
        pytest.param(False, False, id="false"),
        pytest.param(False, 0, id="falsy"),
        pytest.param(False, None, id="none"),
    ],
)
def test_where_decides_by_truth(expected: bool, answer: object) -> None:
    """What ``where`` returns counts as true or false."""
    assert expected is route(where=giving(answer)).wants(make_event())


def test_where_sees_the_event() -> None:
    """``where`` is asked with the event itself."""
    event = make_event(actor_type="admin")

    assert route(where=lambda seen: seen is event).wants(event)


def test_where_is_not_asked_about_other_actions() -> None:
    """An event whose action does not fit is not wanted, whatever ``where`` would do."""
    assert not route(actions=("auth.*",), where=raising).wants(make_event())


def test_what_where_raises_reaches_the_caller() -> None:
    """The caller decides what a raising ``where`` means."""
    with pytest.raises(LookupError):
        route(where=raising).wants(make_event())


def test_where_must_answer_at_once() -> None:
    """An answer that must be awaited is refused, and closed, so that nothing warns of it."""
    with pytest.raises(ConfigurationError, match=r"^where returned an awaitable; it must answer at once$"):
        route(where=AsyncCallable()).wants(make_event())


def test_an_event_leaves_as_it_is() -> None:
    """Without a ``transform`` the sink sees the committed event itself."""
    event = make_event()

    assert event is route().outgoing(event)


def test_transform_changes_what_the_sink_sees() -> None:
    """With a ``transform`` the sink sees what it returns, and the committed event stays as it is."""
    event = make_event(ip_address="192.0.2.1")
    seen = route(transform=lambda committed: evolve(committed, ip_address=None)).outgoing(event)

    assert (evolve(event, ip_address=None), "192.0.2.1") == (seen, event.ip_address)


@pytest.mark.parametrize(
    ("told", "changed"),
    [
        pytest.param("NoneType", None, id="none"),
        pytest.param("dict", {}, id="dict"),
        pytest.param("type", AuditEvent, id="the-class"),
        pytest.param("HidesItsClass", HidesItsClass(), id="hides-its-class"),
    ],
)
def test_transform_must_return_an_event(told: str, changed: object) -> None:
    """Anything but an event is refused, by its type."""
    with pytest.raises(ConfigurationError, match=f"^transform must return an AuditEvent; got {told}$"):
        route(transform=giving(changed)).outgoing(make_event())


def test_transform_must_answer_at_once() -> None:
    """An answer that must be awaited is no event, and is closed, so that nothing warns of it."""
    with pytest.raises(ConfigurationError, match=r"^transform must return an AuditEvent; got coroutine$"):
        route(transform=AsyncCallable()).outgoing(make_event())


@pytest.mark.parametrize("changes", [{"id": "43"}, {"source": "other"}], ids=["id", "source"])
def test_transform_must_keep_source_and_id(changes: dict[str, str]) -> None:
    """A transformed event is still the same event."""
    with pytest.raises(ConfigurationError, match=r"^transform must keep the event's source and id$"):
        route(transform=lambda event: evolve(event, **changes)).outgoing(make_event(id="42"))


def test_what_transform_raises_reaches_the_caller() -> None:
    """The caller decides what a raising ``transform`` means."""
    with pytest.raises(LookupError):
        route(transform=raising).outgoing(make_event())


@pytest.mark.parametrize(
    ("message", "forwarder"),
    [
        pytest.param(
            "the forwarder is the class Configured: pass an instance of it", Configured, id="class-of-a-forwarder"
        ),
        pytest.param(
            "the forwarder, a NoneType, has no forward(event): see sigra_forward.ports.Forwarder", None, id="none"
        ),
        pytest.param(
            "the forwarder, a function, has no forward(event): see sigra_forward.ports.Forwarder",
            raising,
            id="function",
        ),
        pytest.param(
            "the forwarder, a Deaf, has no forward(event): see sigra_forward.ports.Forwarder", Deaf(), id="deaf"
        ),
        pytest.param(
            "the forwarder, a Route, has no forward(event): see sigra_forward.ports.Forwarder", route(), id="route"
        ),
    ],
)
def test_a_forwarder_must_forward(message: str, forwarder: object) -> None:
    """An object that cannot be handed events is refused, and the message says what it is."""
    with pytest.raises(ConfigurationError) as caught:
        Route(forwarder)

    assert message == str(caught.value)


@pytest.mark.parametrize(
    "max_events",
    [0, -1, True, 1.0, "1", None],
    ids=spelled,
)
def test_max_events_must_be_a_count(max_events: object) -> None:
    """A batch holds at least one event."""
    with pytest.raises(ConfigurationError, match=r"^Configured\.max_events must be an integer of at least 1$"):
        Route(Configured(max_events=max_events))


@pytest.mark.parametrize("max_events", [1, 1000])
def test_max_events_may_be_any_count(max_events: int) -> None:
    """A forwarder may take one event a batch, or many."""
    assert max_events == Route(Configured(max_events=max_events)).forwarder.max_events


@pytest.mark.parametrize(
    "deadline",
    [
        pytest.param(0, id="zero"),
        pytest.param(-1, id="negative"),
        pytest.param(float("inf"), id="inf"),
        pytest.param(float("nan"), id="nan"),
        pytest.param(True, id="bool"),
        pytest.param("30", id="text"),
        pytest.param(None, id="none"),
        pytest.param(HidesItsClass(), id="hides-its-class"),
    ],
)
def test_a_deadline_must_be_finite_and_above_zero(deadline: object) -> None:
    """The library relies on deadlines, so each must be one."""
    with pytest.raises(ConfigurationError, match=r"^Configured\.deadline must be a finite number of seconds above 0$"):
        Route(Configured(deadline=deadline))


@pytest.mark.parametrize(
    ("expected", "attributes"),
    [
        pytest.param(30.0, {}, id="absent"),
        pytest.param(5, {"deadline": 5}, id="int"),
        pytest.param(0.25, {"deadline": 0.25}, id="float"),
        pytest.param(2.5, {"deadline": HostileFloat(2.5)}, id="hostile-float"),
        pytest.param(3, {"deadline": HostileInt(3)}, id="hostile-int"),
    ],
)
def test_a_route_knows_the_deadline(expected: float, attributes: dict[str, object]) -> None:
    """A route has its forwarder's deadline, 30 seconds where that has none."""
    assert (expected, 30.0) == (Route(Configured(**attributes)).deadline, DEFAULT_DEADLINE)


@pytest.mark.parametrize(
    "actions",
    [
        pytest.param("auth.*", id="text"),
        pytest.param((), id="empty-tuple"),
        pytest.param([], id="empty-list"),
        pytest.param(None, id="none"),
        pytest.param({"auth.*": True}, id="dict"),
        pytest.param(iter(["auth.*"]), id="iterator"),
    ],
)
def test_actions_must_be_several(actions: object) -> None:
    """``actions`` is a tuple, list or set of at least one."""
    with pytest.raises(
        ConfigurationError,
        match=r'^Route\(actions=\.\.\.\) must be a tuple of at least one action or prefix, such as \("auth\.\*",\)$',
    ):
        route(actions=actions)


@pytest.mark.parametrize("action", ["", "a*b", "**", "*.create", None, 42, b"auth.*"], ids=spelled)
def test_each_action_must_make_sense(action: object) -> None:
    """Each is an action, or a prefix with one star at its end."""
    with pytest.raises(
        ConfigurationError,
        match=r"^Route\(actions=\.\.\.\): each must be an action, or a prefix with one \* at its end$",
    ):
        route(actions=("auth.login", action))


def test_actions_are_held_as_a_tuple() -> None:
    """A list is copied, so that the filter cannot change."""
    actions = ["auth.*", "session.create"]
    held = route(actions=actions).actions
    actions.append("*")

    assert ("auth.*", "session.create") == held


@pytest.mark.parametrize("dispatch", ["async", None, True, 1], ids=spelled)
def test_dispatch_must_be_a_dispatch(dispatch: object) -> None:
    """The way is one of the three, and no bare text."""
    with pytest.raises(
        ConfigurationError,
        match=r"^Route\(dispatch=\.\.\.\) must be Dispatch\.AUTO, Dispatch\.ASYNC or Dispatch\.SYNC$",
    ):
        route(dispatch=dispatch)


@pytest.mark.parametrize("name", ["where", "transform"])
@pytest.mark.parametrize("function", ["text", 0, asynchronous], ids=["text", "zero", "async-function"])
def test_functions_must_be_functions(name: str, function: object) -> None:
    """``where`` and ``transform`` are functions that answer at once."""
    with pytest.raises(
        ConfigurationError, match=rf"^Route\({name}=\.\.\.\) must be a function of one event that is not async$"
    ):
        route(**{name: function})


@pytest.mark.parametrize("policy", [5, "default", RetryPolicy], ids=["int", "text", "class"])
def test_policy_must_be_a_policy(policy: object) -> None:
    """``policy`` is a `RetryPolicy`."""
    with pytest.raises(ConfigurationError, match=r"^Route\(policy=\.\.\.\) must be a RetryPolicy$"):
        route(policy=policy)


def test_a_route_may_have_a_policy_of_its_own() -> None:
    """A route keeps its own policy."""
    policy = RetryPolicy(max_attempts=2)

    assert policy is route(policy=policy).policy


@pytest.mark.parametrize("queue", ["", "a b", 1, "a\n"], ids=spelled)
def test_queue_must_be_a_name(queue: object) -> None:
    """``queue`` keeps the rule of names."""
    with pytest.raises(
        ConfigurationError,
        match=r"^Route\(queue=\.\.\.\) must be 1 to 255 of A-Z a-z 0-9 _ \. : -, and has no meaning with"
        r" Dispatch\.SYNC$",
    ):
        route(queue=queue)


def test_an_inline_route_has_no_queue() -> None:
    """A queue and `Dispatch.SYNC` contradict each other."""
    with pytest.raises(ConfigurationError, match=r"^Route\(queue=\.\.\.\) must be .* has no meaning with"):
        route(queue="audit", dispatch=Dispatch.SYNC)


@pytest.mark.parametrize("dispatch", [Dispatch.AUTO, Dispatch.ASYNC])
def test_a_route_may_name_its_queue(dispatch: Dispatch) -> None:
    """A route that may become a job can say on which queue."""
    assert "audit" == route(queue="audit", dispatch=dispatch).queue


def test_an_inline_route_needs_no_queue() -> None:
    """`Dispatch.SYNC` without a queue makes sense."""
    assert Dispatch.SYNC is route(dispatch=Dispatch.SYNC).dispatch


@pytest.mark.parametrize("since", [datetime.fromisoformat("2026-01-31"), "2026-01-31T12:00:00Z", 0], ids=spelled)
def test_since_must_be_an_aware_datetime(since: object) -> None:
    """``since`` names a moment."""
    with pytest.raises(
        ConfigurationError, match=r"^Route\(since=\.\.\.\) must be an aware datetime: give it a tzinfo$"
    ):
        route(since=since)


def test_since_is_kept() -> None:
    """An aware ``since`` is kept as it is."""
    assert NOON is route(since=NOON).since


def test_a_route_is_frozen() -> None:
    """A route cannot be changed, since a lane hangs on it."""
    with pytest.raises(FrozenInstanceError):
        route().actions = ("auth.*",)


def test_repr_hides_what_is_derived() -> None:
    """``repr`` shows the options, and not what was made of them."""
    shown = repr(route(actions=("auth.*", "session.create")))

    assert (False, False) == ("exact" in shown, "prefixes" in shown)


def test_routes_of_one_forwarder_are_equal_by_their_options() -> None:
    """Routes are values."""
    forwarder = RecordingForwarder()

    assert (True, False) == (
        Route(forwarder, actions=("auth.*",)) == Route(forwarder, actions=("auth.*",)),
        Route(forwarder, actions=("auth.*",)) == Route(forwarder, actions=("auth*",)),
    )
