"""What holds of `perform` and `aperform` whatever their ports raise or give."""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from sigra_forward import (
    Ack,
    AuditEvent,
    CancelReason,
    ConfigurationError,
    EnqueueError,
    Outcome,
    Result,
    RetryPolicy,
    SchemaMismatchError,
    SinkError,
    State,
    signals,
)
from sigra_forward.telemetry import SIGNALS, Delivered, Discarded, Failed
from sigra_forward.testing import isolated_signals
from tests.support_perform import EVENT, SHELLS, Scene, Shell

logging.getLogger("sigra_forward").addHandler(logging.NullHandler())


def hostile(*_: object, **__: object) -> Any:
    """Raise."""
    raise LookupError("https://siem.test/?token=s3cret")


METHODS = ["__str__", "__repr__", "__format__", "__eq__", "__bool__", "__len__", "__iter__", "__getattr__"]
METHODS += ["__getattribute__", "__setattr__", "__call__", "__index__", "__float__", "__lt__", "__ge__", "__reduce__"]
PROPERTIES = ["__class__", "__dict__", "__doc__", "__module__", "args", "reason", "retry_after", "detail"]
PROPERTIES += ["close", "cancel", "value", "__traceback__", "__cause__", "with_traceback"]

hostilities = st.frozensets(st.sampled_from(METHODS + PROPERTIES), max_size=5)
type_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300)


class UnaskableMeta(type):
    """A type that raises when it is asked for what it has not."""

    __getattr__ = hostile


class UnnamedMeta(type):
    """A type that does not say its name."""

    __name__ = __module__ = property(hostile)  # type: ignore[assignment]


@st.composite
def hostile_types(draw: Callable[[st.SearchStrategy[Any]], Any], base: type) -> type:
    """Build types that descend from *base*, and raise when they are asked for one thing or another."""
    namespace: dict[str, object] = {}
    for name in draw(hostilities):
        namespace[name] = property(hostile) if name in PROPERTIES else hostile
    meta = draw(st.sampled_from([type, type, UnaskableMeta, UnnamedMeta]))
    return meta(draw(type_names), (base,), namespace)


@frozen(repr=False)
class Act:
    """
    What a port does.

    Args:
        told: How a failing example is told.
        do: Does it.
        is_awaitable: It gives what can be awaited, which the ways to run a job may well tell apart.
        stops: It raises a `StopIteration`, which no coroutine can tell.
    """

    told: str
    do: Callable[[], Any]
    is_awaitable: bool = False
    stops: bool = False

    def __repr__(self) -> str:
        return self.told


BASES = [Exception, ValueError, KeyError, OSError, ConnectionError, TimeoutError, asyncio.TimeoutError]
BASES += [concurrent.futures.TimeoutError, concurrent.futures.CancelledError, MemoryError, RecursionError]
BASES += [StopIteration, StopAsyncIteration, AssertionError, Warning, ImportError, SystemError]
BASES += [SinkError, SchemaMismatchError, ConfigurationError, EnqueueError]

messages = st.one_of(st.text(max_size=20), st.text(min_size=501, max_size=510), st.integers(), st.none(), st.binary())
junk = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers()))


def raising(kind: type[BaseException], *args: Any, **attributes: Any) -> Act:
    """Return the act of raising *kind*, without asking its own constructor."""

    def do() -> Any:
        error = kind.__new__(kind, *args)
        BaseException.__init__(error, *args)
        for name, value in attributes.items():
            BaseException.__setattr__(error, name, value)
        raise error

    bases = [base.__name__ for base in type.mro(kind)[1:2]]
    return Act(f"raise {bases[0]} {args!r} {attributes!r}", do, stops=issubclass(kind, StopIteration))


@st.composite
def errors(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Act:
    """Build acts of raising all kinds of exceptions."""
    base = draw(st.sampled_from(BASES))
    kind = draw(st.one_of(st.just(base), hostile_types(base)))
    attributes: dict[str, Any] = {}
    plain = not {"reason", "retry_after"} & vars(kind).keys()
    if issubclass(base, SinkError) and plain:
        attributes = draw(st.fixed_dictionaries({}, optional={"reason": junk, "retry_after": junk}))
    return raising(kind, *draw(st.lists(messages, max_size=2)), **attributes)


@st.composite
def groups(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Act:
    """Build acts of raising a group of exceptions, where Python has them."""
    group = vars(builtins).get("ExceptionGroup")
    if group is None:
        return draw(errors())
    inner = draw(st.lists(st.sampled_from([OSError("x"), SinkError("x"), ValueError("x")]), min_size=1, max_size=3))
    return raising(group, "several", inner)


@st.composite
def objects(draw: Callable[[st.SearchStrategy[Any]], Any], *bases: type) -> Act:
    """Build acts of giving an object that raises when it is asked for one thing or another."""
    kind = draw(hostile_types(draw(st.sampled_from(bases))))
    return Act(f"give an object of a hostile type with {sorted(vars(kind))}", lambda: kind.__new__(kind))


@st.composite
def awaitables(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Act:
    """Build acts of giving something that can be awaited."""
    inner: Act = draw(st.one_of(values, errors()))

    async def coroutine() -> Any:
        return inner.do()

    class Awaitable(draw(hostile_types(object))):
        def __await__(self) -> Iterator[Any]:
            return inner.do()

    make = draw(st.sampled_from([coroutine, lambda: Awaitable.__new__(Awaitable), lambda: coroutine]))
    return Act(f"give an awaitable that would {inner}", make, is_awaitable=True, stops=inner.stops)


values = junk.map(lambda value: Act(f"give {value!r}", lambda: value))
KNOWN: dict[str, Callable[[], Any]] = {
    "an Ack": lambda: Ack("17"),
    "the class Ack": lambda: Ack,
    "the event": lambda: EVENT,
    "the class AuditEvent": lambda: AuditEvent,
    "an AuditEvent without a value": lambda: AuditEvent.__new__(AuditEvent),
    "an exception": lambda: SinkError("http_503"),
    "an exception type": lambda: SinkError,
    "a Result": lambda: Result(Outcome.OK),
}
known = st.sampled_from(sorted(KNOWN)).map(lambda name: Act(f"give {name}", KNOWN[name]))
acts = st.one_of(
    values, known, objects(object, str, int, float, dict, AuditEvent, Ack), errors(), groups(), awaitables()
)
GOOD = Act("do well", lambda: None)


@frozen
class Acts:
    """What each port does; `GOOD` is what it should."""

    repository: Act = GOOD
    forwarder: Act = GOOD
    where: Act = GOOD
    transform: Act = GOOD
    telemetry: Act = GOOD
    subscriber: Act = GOOD
    backoff: Act = GOOD

    @property
    def agree(self) -> bool:
        """Tell whether all ways to run a job must come to the same."""
        return not (self.repository.is_awaitable or self.forwarder.is_awaitable)

    def run(self, shell: Shell, attempt: object = 1) -> tuple[Result, list[Any]]:
        """Run a job by *shell*, and return its result and what was told."""
        events: list[Any] = []

        class Repository:
            def get(inner, audit_event_id: str) -> Any:
                return EVENT if self.repository is GOOD else self.repository.do()

        class Forwarder:
            def forward(inner, event: AuditEvent) -> Any:
                return self.forwarder.do()

        class Telemetry:
            def emit(inner, event: Any) -> Any:
                SIGNALS.emit(event)
                return self.telemetry.do()

        with isolated_signals():
            for signal in (signals.forward_ok, signals.forward_error, signals.forward_discarded):
                signal.connect(lambda sender, event: self.subscriber.do(), weak=False)
                signal.connect(lambda sender, event: events.append(event), weak=False)
            scene = Scene(
                repository=Repository(),
                forwarder=Forwarder(),
                route={
                    "where": lambda event: self.where is GOOD or self.where.do(),
                    "transform": lambda event: event if self.transform is GOOD else self.transform.do(),
                },
                telemetry=Telemetry(),
                attempt=attempt,
                policy=RetryPolicy(backoff=lambda failed: 7 if self.backoff is GOOD else self.backoff.do()),
            )
            return scene.run(shell), events


PORTS = ["repository", "forwarder", "where", "transform", "telemetry", "subscriber", "backoff"]

one_port = st.builds(lambda port, act: Acts(**{port: act}), st.sampled_from(PORTS), acts)
all_ports = st.builds(Acts, **{port: st.one_of(st.just(GOOD), acts) for port in PORTS})
any_ports = st.one_of(one_port, all_ports)

each_shell = pytest.mark.parametrize("shell", SHELLS, ids=str)

STATES = {
    Outcome.OK: {State.COMPLETED},
    Outcome.CANCEL: {State.CANCELLED},
    Outcome.ERROR: {State.RETRYABLE, State.DISCARDED},
}


@each_shell
@given(acts=any_ports, attempt=st.integers(1, 6))
def test_always_settled(acts: Acts, attempt: int, shell: Shell) -> None:
    """No `Exception` ever leaves, and the result is settled as its outcome asks."""
    result, _ = acts.run(shell, attempt)

    assert result.settlement.state in STATES[result.outcome]
    assert (result.settlement.state is State.RETRYABLE) == (type(result.settlement.retry_in) is int)


@each_shell
@given(acts=any_ports, attempt=st.integers(1, 6))
def test_told_once(acts: Acts, attempt: int, shell: Shell) -> None:
    """OK fires one `Delivered`; every other exit one `Failed`, and a `Discarded` after it when it is the last."""
    result, events = acts.run(shell, attempt)

    expected = [Delivered] if result.outcome is Outcome.OK else [Failed]
    if result.settlement.state is State.DISCARDED:
        expected.append(Discarded)
    assert expected == [type(event) for event in events]


@each_shell
@given(acts=any_ports)
def test_bounded_and_plain(acts: Acts, shell: Shell) -> None:
    """What is kept of an exception is short, plain text of one line."""
    result, _ = acts.run(shell)
    texts = [text for text in (result.reason, result.detail) if text is not None and type(text) is not CancelReason]

    assert [str] * len(texts) == [type(text) for text in texts]
    assert len(result.detail or "") <= 500
    assert [1] * len(texts) == [len(text.splitlines() or [""]) for text in texts]


@each_shell
@given(acts=any_ports)
def test_nothing_foreign_is_kept(acts: Acts, shell: Shell) -> None:
    """The message of a foreign exception stands neither in the result nor in what is told."""
    result, events = acts.run(shell)

    assert "s3cret" not in f"{result.reason}{result.detail}{[event[6:] for event in events]}"


@given(acts=any_ports.filter(lambda acts: acts.agree), attempt=st.integers(1, 6))
def test_all_ways_agree(acts: Acts, attempt: int) -> None:
    """All ways to run a job come to the same, but for the name of a `StopIteration` that crossed a coroutine."""

    def essence(shell: Shell) -> tuple[object, ...]:
        result, events = acts.run(shell, attempt)
        told = [event[:5] for event in events]
        reason = None if acts.repository.stops or acts.forwarder.stops else (result.reason, result.detail)
        return result.outcome, reason, result.fault, result.retry_after, result.settlement.state, told

    expected = essence(SHELLS[0])

    assert [expected] * len(SHELLS) == [essence(shell) for shell in SHELLS]


@given(acts=any_ports, attempt=st.one_of(junk, objects(object, int, float, str).map(lambda act: act.do())))
def test_any_attempt(acts: Acts, attempt: object) -> None:
    """Whatever is given for the attempt, it is told as an integer of at least 1."""
    _, events = acts.run(SHELLS[0], attempt)

    assert [int] * len(events) == [type(event.attempt) for event in events]
    assert min(event.attempt for event in events) >= 1
