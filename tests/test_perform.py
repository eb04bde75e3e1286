"""
`perform`, `aperform`, and the same two of an `AuditForward`, held by one suite.

The table "perform, exactly", cell by cell; its rows with a ledger are in test_perform_ledger.py.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import logging
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from math import inf, nan
from typing import Any

import pytest
from attrs import evolve, frozen

from sigra_forward import (
    Ack,
    AuditEvent,
    AuditForward,
    CancelReason,
    ConfigurationError,
    Dispatch,
    EnqueueError,
    Fault,
    InvalidJobArgsError,
    JobArgs,
    Outcome,
    Result,
    RetryPolicy,
    Route,
    SchemaMismatchError,
    Settlement,
    SinkError,
    State,
    aperform,
    signals,
)
from sigra_forward.telemetry import SIGNALS, Delivered, Discarded, Failed, LoggingTelemetry
from sigra_forward.testing import (
    FlakyForwarder,
    InMemoryAuditRepository,
    RaisingForwarder,
    RecordingForwarder,
    RecordingTelemetry,
)
from tests.support_perform import (
    APERFORM,
    ASYNC_SHELLS,
    BOUND_APERFORM,
    BOUND_PERFORM,
    CANCELLED,
    COMPLETED,
    DISCARDED,
    EVENT,
    FUNCTIONS,
    JOB,
    ORDERS,
    PERFORM,
    POLICY,
    RETRY,
    SECRET,
    SHELLS,
    AsyncForwarder,
    AsyncRepository,
    GivingRepository,
    GivingTelemetry,
    RaisingRepository,
    RaisingTelemetry,
    Scene,
    Shell,
    gives,
    raises,
)

OTHER_ID = evolve(EVENT, id="another")
OTHER_SOURCE = evolve(EVENT, source="another")

each_shell = pytest.mark.parametrize("shell", SHELLS, ids=str)
each_function = pytest.mark.parametrize("shell", FUNCTIONS, ids=str)
each_order = pytest.mark.parametrize("order", ORDERS, ids=lambda kind: kind.__name__)


class AnAck(Ack):
    """A host's own kind of receipt."""


class AlikeMismatchError(SchemaMismatchError):
    """A forwarder's own kind of refusal."""


class BareSinkError(SinkError):
    """One that does not tell its base what it is given."""

    def __init__(self) -> None:
        Exception.__init__(self)


class BrokenSinkError(SinkError):
    """One that cannot be asked for anything."""

    reason = property(raises(RuntimeError(SECRET)))  # type: ignore[assignment]
    retry_after = property(raises(RuntimeError(SECRET)))  # type: ignore[assignment]

    def __init__(self) -> None:
        Exception.__init__(self)

    def __str__(self) -> str:
        raise RuntimeError(SECRET)


class SoftTimeLimitExceeded(Exception):
    """What Celery raises into a job that takes too long."""


class UnspeakableError(Exception):
    """One whose message cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError(SECRET)

    __repr__ = __str__


class LyingError(Exception):
    """One that claims to be the sink's fault."""

    __class__ = SinkError  # type: ignore[assignment]


class EvasiveError(Exception):
    """One that does not say what it is."""

    __class__ = property(raises(RuntimeError(SECRET)))  # type: ignore[assignment]


class AsyncioTimeoutAlike(asyncio.TimeoutError):
    """A library's own timeout."""


class NamelessMeta(type):
    """The type of a type that does not say its name."""

    __name__ = property(raises(RuntimeError(SECRET)))  # type: ignore[assignment]


class NamelessError(Exception, metaclass=NamelessMeta):
    """One whose type does not say its name, when it is asked."""


class Coy:
    """Raises, whatever it is asked."""

    __class__ = property(raises(RuntimeError(SECRET)))  # type: ignore[assignment]
    __bool__ = __eq__ = __str__ = __repr__ = raises(RuntimeError(SECRET))  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class Unaskable(type):
    """The type of a type that raises, whatever it is asked."""

    def __getattr__(cls, name: str) -> Any:
        raise RuntimeError(SECRET)


class OfUnaskable(metaclass=Unaskable):
    """One whose type raises, whatever it is asked."""


class Sticky:
    """Can be awaited, and cannot be let go of."""

    def __await__(self) -> Iterator[None]:
        return iter(())

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(SECRET)


@frozen(kw_only=True)
class Row:
    """
    One row of the table: what happens, and what must come of it.

    Args:
        result: The result.
        kind: The name of the type of its exception.
        named: What the telemetry event names: the forwarder, the id, and the action once the row is loaded.
        sent: The sink saw the event.
        scene: What to change in the usual scene. A port is made anew for each run.
    """

    result: Result
    kind: str | None = None
    named: tuple[str, str, str | None] = ("siem", EVENT.id, EVENT.action)
    sent: bool = False
    scene: Mapping[str, Callable[[], Any]]


def job_args(args: object, detail: str, kind: str | None = "InvalidJobArgsError") -> Row:
    """Return the row of malformed job args."""
    result = Result(Outcome.CANCEL, CancelReason.INVALID_JOB_ARGS, detail, settlement=CANCELLED)
    return Row(result=result, kind=kind, named=("", "", None), scene={"args": lambda: args})


def repository_raises(make: Callable[[], Exception], detail: str | None = None) -> Row:
    """Return the row of a repository that raises."""
    kind = type(make()).__name__
    return Row(
        result=Result(Outcome.ERROR, kind, detail, settlement=RETRY),
        kind=kind,
        named=("siem", EVENT.id, None),
        scene={"repository": lambda: RaisingRepository(make())},
    )


def repository_gives(answer: Any, kind: str) -> Row:
    """Return the row of a repository that gives no event."""
    detail = f"the repository gave a {kind}: it must give an AuditEvent or None"
    return Row(
        result=Result(Outcome.ERROR, "unexpected_return", detail, settlement=RETRY),
        named=("siem", EVENT.id, None),
        scene={"repository": lambda: GivingRepository(answer)},
    )


def route(kind: str | None, detail: str | None, **options: Any) -> Row:
    """Return the row of a route whose own functions fail."""
    return Row(
        result=Result(Outcome.ERROR, kind, detail, Fault.EVENT, settlement=RETRY),
        kind=kind,
        scene={"route": lambda: options},
    )


def not_routed(**options: Any) -> Row:
    """Return the row of a route that does not want the event."""
    result = Result(Outcome.CANCEL, CancelReason.NOT_ROUTED, settlement=CANCELLED)
    return Row(result=result, scene={"route": lambda: options})


def accepts(answer: Ack | None) -> Row:
    """Return the row of a forwarder that says yes."""
    return Row(
        result=Result(Outcome.OK, ack=answer, settlement=COMPLETED),
        sent=True,
        scene={"forwarder": lambda: RecordingForwarder(answer)},
    )


def gives_junk(answer: Any, kind: str) -> Row:
    """Return the row of a forwarder that says neither yes nor no."""
    detail = f"forward() gave a {kind}: it must give None or an Ack"
    return Row(
        result=Result(Outcome.ERROR, "unexpected_return", detail, Fault.EVENT, settlement=RETRY),
        sent=True,
        scene={"forwarder": lambda: RecordingForwarder(answer)},
    )


def refuses(make: Callable[[], Exception], detail: str) -> Row:
    """Return the row of a forwarder that refuses the event for ever."""
    return Row(
        result=Result(Outcome.CANCEL, CancelReason.SCHEMA_MISMATCH, detail, Fault.EVENT, settlement=CANCELLED),
        kind=type(make()).__name__,
        sent=True,
        scene={"forwarder": lambda: RaisingForwarder(make())},
    )


def sink(
    make: Callable[[], Exception],
    kind: str,
    reason: str,
    detail: str | None = None,
    retry_after: float | None = None,
    retry_in: int = 7,
) -> Row:
    """Return the row of a sink that is at fault."""
    settlement = Settlement(State.RETRYABLE, retry_in)
    return Row(
        result=Result(Outcome.ERROR, reason, detail, Fault.SINK, retry_after, settlement=settlement),
        kind=kind,
        sent=True,
        scene={"forwarder": lambda: RaisingForwarder(make())},
    )


def timeout(make: Callable[[], Exception]) -> Row:
    """Return the row of a sink that does not answer in time."""
    return sink(make, type(make()).__name__, type(make()).__name__)


def event(make: Callable[[], Exception], kind: str, detail: str | None = None) -> Row:
    """Return the row of a forwarder that fails over this event."""
    return Row(
        result=Result(Outcome.ERROR, kind, detail, Fault.EVENT, settlement=RETRY),
        kind=kind,
        sent=True,
        scene={"forwarder": lambda: RaisingForwarder(make())},
    )


TOLD = "job args key 'forwarder'"
RULE = "must be a str of 1 to 255 characters, none of them a control, surrogate, line or paragraph separator"
NO_MAPPING = "job args must be a mapping with the keys forwarder and audit_event_id; got "

ROWS: dict[str, Row] = {
    "args empty": job_args({}, "job args key 'forwarder' is missing"),
    "args without an id": job_args({"forwarder": "siem"}, "job args key 'audit_event_id' is missing"),
    "args no mapping": job_args(["siem", EVENT.id], NO_MAPPING + "list"),
    "args None": job_args(None, NO_MAPPING + "NoneType"),
    "args coy": job_args(Coy(), NO_MAPPING + "Coy"),
    "args forwarder None": job_args({"forwarder": None, "audit_event_id": "1"}, f"{TOLD} {RULE}; got NoneType"),
    "args forwarder with a newline": job_args(
        {"forwarder": "a\nb", "audit_event_id": "1"}, f"{TOLD} {RULE}; it breaks that rule"
    ),
    "forwarder unknown": Row(
        result=Result(Outcome.CANCEL, CancelReason.UNKNOWN_FORWARDER, settlement=CANCELLED),
        named=("nobody", EVENT.id, None),
        scene={"args": lambda: JobArgs("nobody", EVENT.id)},
    ),
    "row not there": Row(
        result=Result(Outcome.CANCEL, CancelReason.AUDIT_EVENT_NOT_FOUND, settlement=CANCELLED),
        named=("siem", "nowhere", None),
        scene={"args": lambda: JobArgs("siem", "nowhere", EVENT.occurred_at)},
    ),
    "repository raises": repository_raises(lambda: RuntimeError(SECRET)),
    "repository raises OSError": repository_raises(lambda: ConnectionResetError(SECRET)),
    "repository raises an error of ours": repository_raises(lambda: ConfigurationError("no table"), "no table"),
    "repository raises SinkError": repository_raises(lambda: SinkError("busy", 99), "busy"),
    "repository raises SchemaMismatchError": repository_raises(lambda: SchemaMismatchError("no"), "no"),
    "repository raises an unspeakable error": repository_raises(UnspeakableError),
    "repository gives a dict": repository_gives({"id": EVENT.id}, "dict"),
    "repository gives False": repository_gives(False, "bool"),
    "repository gives a class": repository_gives(AuditEvent, "type"),
    "repository gives something coy": repository_gives(Coy(), "Coy"),
    "repository gives something unaskable": repository_gives(OfUnaskable(), "OfUnaskable"),
    "action not routed": not_routed(actions=("mfa.*",)),
    "where says no": not_routed(where=gives(False)),
    "where says something false": not_routed(where=gives([])),
    "where raises": route("ZeroDivisionError", None, where=raises(ZeroDivisionError(SECRET))),
    "where raises OSError": route("OSError", None, where=raises(OSError(SECRET))),
    "where raises SchemaMismatchError": route("SchemaMismatchError", "no", where=raises(SchemaMismatchError("no"))),
    "where raises an error of ours": route("SinkError", "busy", where=raises(SinkError("busy", 99))),
    "where gives something coy": route("RuntimeError", None, where=gives(Coy())),
    "where is async": route(
        "ConfigurationError", "where returned an awaitable; it must answer at once", where=gives(Sticky())
    ),
    "transform raises": route("KeyError", None, transform=raises(KeyError(SECRET))),
    "transform gives None": route(
        "ConfigurationError", "transform must return an AuditEvent; got NoneType", transform=gives(None)
    ),
    "transform gives a dict": route(
        "ConfigurationError", "transform must return an AuditEvent; got dict", transform=gives({})
    ),
    "transform is async": route(
        "ConfigurationError", "transform must return an AuditEvent; got Sticky", transform=gives(Sticky())
    ),
    "transform gives another id": route(
        "ConfigurationError", "transform must keep the event's source and id", transform=gives(OTHER_ID)
    ),
    "transform gives another source": route(
        "ConfigurationError", "transform must keep the event's source and id", transform=gives(OTHER_SOURCE)
    ),
    "forwarder gives None": accepts(None),
    "forwarder gives an Ack": accepts(Ack("17", "indexed", "d41d8")),
    "forwarder gives an Ack of its own": accepts(AnAck("17")),
    "forwarder gives True": gives_junk(True, "bool"),
    "forwarder gives False": gives_junk(False, "bool"),
    "forwarder gives a tuple": gives_junk((Ack(),), "tuple"),
    "forwarder gives a class": gives_junk(Ack, "type"),
    "forwarder gives an exception": gives_junk(SinkError("busy"), "SinkError"),
    "forwarder gives something coy": gives_junk(Coy(), "Coy"),
    "forwarder gives something unaskable": gives_junk(OfUnaskable(), "OfUnaskable"),
    "SchemaMismatchError": refuses(lambda: SchemaMismatchError("no column actor"), "no column actor"),
    "a kind of SchemaMismatchError": refuses(lambda: AlikeMismatchError("no column actor"), "no column actor"),
    "SinkError": sink(lambda: SinkError("http_503"), "SinkError", "http_503", "http_503"),
    "SinkError with detail": sink(
        lambda: SinkError("http_503", detail="try\nlater"),
        "SinkError",
        "http_503",
        "http_503: try\N{REPLACEMENT CHARACTER}later",
    ),
    "SinkError with retry_after": sink(
        lambda: SinkError("http_429", 60.5), "SinkError", "http_429", "http_429", 60.5, retry_in=61
    ),
    "SinkError with retry_after beyond the policy": sink(
        lambda: SinkError("http_429", 86_400), "SinkError", "http_429", "http_429", 86_400, retry_in=900
    ),
    "SinkError with retry_after nan": sink(lambda: SinkError("down", nan), "SinkError", "down", "down"),
    "SinkError with retry_after inf": sink(lambda: SinkError("down", inf), "SinkError", "down", "down"),
    "SinkError with retry_after -1": sink(lambda: SinkError("down", -1), "SinkError", "down", "down"),
    "SinkError with retry_after True": sink(lambda: SinkError("down", True), "SinkError", "down", "down"),
    "SinkError with retry_after text": sink(
        lambda: SinkError("down", "60"),  # type: ignore[arg-type]
        "SinkError",
        "down",
        "down",
    ),
    "SinkError with retry_after coy": sink(
        lambda: SinkError("down", Coy()),  # type: ignore[arg-type]
        "SinkError",
        "down",
        "down",
    ),
    "SinkError with an empty reason": sink(lambda: SinkError(""), "SinkError", "SinkError", ""),
    "SinkError with a number for a reason": sink(
        lambda: SinkError(503),  # type: ignore[arg-type]
        "SinkError",
        "SinkError",
        "503",
    ),
    "SinkError with a coy reason": sink(
        lambda: SinkError(Coy()),  # type: ignore[arg-type]
        "SinkError",
        "SinkError",
    ),
    "SinkError that kept nothing": sink(BareSinkError, "BareSinkError", "BareSinkError", ""),
    "SinkError that cannot be asked": sink(BrokenSinkError, "BrokenSinkError", "BrokenSinkError"),
    "OSError": sink(lambda: OSError(28, SECRET), "OSError", "OSError"),
    "ConnectionError": sink(lambda: ConnectionRefusedError(SECRET), "ConnectionRefusedError", "ConnectionRefusedError"),
    "TimeoutError": timeout(lambda: TimeoutError(SECRET)),
    "asyncio.TimeoutError": timeout(lambda: asyncio.TimeoutError(SECRET)),
    "a kind of asyncio.TimeoutError": timeout(lambda: AsyncioTimeoutAlike(SECRET)),
    "concurrent.futures.TimeoutError": timeout(lambda: concurrent.futures.TimeoutError(SECRET)),
    "ValueError": event(lambda: ValueError(SECRET), "ValueError"),
    "MemoryError": event(MemoryError, "MemoryError"),
    "RecursionError": event(lambda: RecursionError(SECRET), "RecursionError"),
    "a queue's soft time limit": event(lambda: SoftTimeLimitExceeded(SECRET), "SoftTimeLimitExceeded"),
    "concurrent.futures.CancelledError": event(lambda: concurrent.futures.CancelledError(SECRET), "CancelledError"),
    "another error of ours": event(lambda: EnqueueError("the broker is down"), "EnqueueError", "the broker is down"),
    "an unspeakable error": event(UnspeakableError, "UnspeakableError"),
    "a lying error": event(lambda: LyingError(SECRET), "LyingError"),
    "an evasive error": event(lambda: EvasiveError(SECRET), "EvasiveError"),
    "a nameless error": event(lambda: NamelessError(SECRET), "NamelessError"),
}
if sys.version_info >= (3, 11):
    ROWS["a group of errors"] = event(
        lambda: vars(builtins)["ExceptionGroup"](SECRET, [OSError(SECRET)]), "ExceptionGroup"
    )

each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def scene_of(row: Row, **others: Any) -> Scene:
    """Return a fresh scene of *row*."""
    return Scene(**{name: make() for name, make in row.scene.items()}, **others)


class TestEachRow:
    """Every row of the table, by every way to run a job."""

    @each_shell
    @each_row
    def test_result(self, row: Row, shell: Shell) -> None:
        """The outcome, reason, detail, fault and settlement are the table's."""
        assert row.result == scene_of(row).run(shell)

    @each_shell
    @each_row
    def test_exception(self, row: Row, shell: Shell) -> None:
        """The exception is in the result, for this process alone."""
        result = scene_of(row).run(shell)

        assert row.kind == (
            None if result.exception is None else type.__dict__["__name__"].__get__(type(result.exception))
        )

    @each_shell
    @each_row
    def test_sent(self, row: Row, shell: Shell) -> None:
        """The sink sees the committed event once, or nothing at all."""
        scene = scene_of(row)

        scene.run(shell)

        assert [EVENT] * row.sent == scene.forwarder.events

    @each_shell
    @each_row
    def test_told(self, row: Row, shell: Shell) -> None:
        """Exactly one event is fired: `Delivered` for OK, `Failed` for every other exit."""
        scene, result = scene_of(row), row.result
        named = (*row.named, 1, Dispatch.ASYNC)

        scene.run(shell)

        told = Delivered(*named)
        if result.outcome is not Outcome.OK:
            retry_in = result.settlement.retry_in
            told = Failed(*named, result.outcome, result.reason, result.detail, row.kind, retry_in)
        assert [told] == scene.telemetry.events

    @each_shell
    @each_row
    def test_last_attempt(self, row: Row, shell: Shell) -> None:
        """An error of the last attempt is discarded, and `Discarded` follows the `Failed` that it ends."""
        scene, is_error = scene_of(row, attempt=5), row.result.outcome is Outcome.ERROR
        named = (*row.named, 5, Dispatch.ASYNC)

        result = scene.run(shell)

        assert (DISCARDED if is_error else row.result.settlement) == result.settlement
        assert [Discarded(*named, row.result.reason)] * is_error == scene.telemetry.events[1:]

    @each_shell
    @each_row
    def test_no_foreign_message(self, row: Row, shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing of a foreign exception's message is kept, told or logged."""
        caplog.set_level(logging.DEBUG)
        recorded, logged = scene_of(row), scene_of(row, telemetry=LoggingTelemetry())

        results = recorded.run(shell), logged.run(shell)

        assert "s3cret" not in f"{results} {recorded.telemetry.events} {caplog.text}"


@each_shell
def test_exception_itself(shell: Shell) -> None:
    """The exception in the result is the one that was raised."""
    error = SinkError("http_503")

    assert error is Scene(forwarder=RaisingForwarder(error)).run(shell).exception


@each_shell
def test_args_as_mapping(shell: Shell) -> None:
    """Job args may come as the mapping that travelled in the queue."""
    assert Outcome.OK is Scene(args=JOB.to_dict()).run(shell).outcome


@each_shell
def test_hostile_mapping(shell: Shell) -> None:
    """A mapping that raises is malformed job args, told by the exception's type alone."""

    class Hostile(dict[str, object]):
        def __getitem__(self, key: str) -> object:
            raise OSError(SECRET)

    result = Scene(args=Hostile()).run(shell)

    assert CancelReason.INVALID_JOB_ARGS is result.reason
    assert "job args key 'forwarder' cannot be read: OSError" == result.detail


@each_shell
def test_repository_spells_the_id(shell: Shell) -> None:
    """From the reload on, the event is named as the repository spells it."""
    upper = EVENT.id.upper()
    scene = Scene(args=JobArgs("siem", upper), repository=GivingRepository(EVENT))

    scene.run(shell)

    assert [EVENT.id] == [told.audit_event_id for told in scene.telemetry.events]


@each_shell
def test_transform_is_what_the_sink_sees(shell: Shell) -> None:
    """What `transform` returns is what goes out, and what `where` sees is the committed event."""
    seen = []
    options = {
        "where": lambda event: seen.append(event) or True,
        "transform": lambda event: evolve(event, ip_address=None, action="redacted"),
    }
    scene = Scene(route=options)

    scene.run(shell)

    assert [evolve(EVENT, ip_address=None, action="redacted")] == scene.forwarder.events
    assert [EVENT] == seen
    assert ["session.create"] == [told.action for told in scene.telemetry.events]


@each_shell
@pytest.mark.parametrize("option", ["where", "transform"])
def test_coroutine_out_of_a_route(option: str, shell: Shell) -> None:
    """A coroutine out of `where` or `transform` is closed without a warning, and nothing is sent."""

    async def answer() -> AuditEvent:
        return EVENT

    scene = Scene(route={option: lambda event: answer()})

    assert Outcome.ERROR is scene.run(shell).outcome
    assert [] == scene.forwarder.events


def test_async_forwarder_under_perform() -> None:
    """The bare sync function cannot await: an async forwarder's coroutine is closed, and nothing was sent."""
    inner = RecordingForwarder()

    result = Scene(forwarder=AsyncForwarder(inner)).run(PERFORM)

    detail = "forward() gave a coroutine: it must give None or an Ack"
    assert Result(Outcome.ERROR, "unexpected_return", detail, Fault.EVENT, settlement=RETRY) == result
    assert [] == inner.events


def test_async_repository_under_perform() -> None:
    """The bare sync function cannot await an async repository either."""
    scene = Scene(repository=AsyncRepository(InMemoryAuditRepository([EVENT])))

    result = scene.run(PERFORM)

    detail = "the repository gave a coroutine: it must give an AuditEvent or None"
    assert Result(Outcome.ERROR, "unexpected_return", detail, settlement=RETRY) == result
    assert [] == scene.forwarder.events


@pytest.mark.parametrize("shell", ASYNC_SHELLS, ids=str)
def test_coroutine_out_of_a_coroutine(shell: Shell) -> None:
    """What an async forwarder gives is awaited once; a further coroutine is closed and is no yes."""

    async def never() -> None:
        raise AssertionError

    class Nested:
        def forward(self, event: AuditEvent) -> Any:
            return never()

    assert "unexpected_return" == Scene(forwarder=Nested()).run(shell).reason


@pytest.mark.parametrize("shell", [APERFORM, BOUND_PERFORM, BOUND_APERFORM], ids=str)
def test_sync_method_that_gives_a_coroutine(shell: Shell) -> None:
    """Where async ports are awaited, a plain method that gives a coroutine is one too."""

    async def acknowledge() -> Ack:
        return Ack("17")

    class Wrapper:
        def forward(self, event: AuditEvent) -> Any:
            return acknowledge()

    assert Ack("17") == Scene(forwarder=Wrapper()).run(shell).ack


def test_async_forwarder_past_its_deadline() -> None:
    """Under the sync method an async forwarder is cancelled at its deadline, and that is the sink's fault."""

    class Hanging:
        deadline = 0.01

        async def forward(self, event: AuditEvent) -> None:
            await asyncio.Event().wait()

    scene = Scene(forwarder=Hanging())

    result = scene.run(BOUND_PERFORM)

    assert Result(Outcome.ERROR, "TimeoutError", None, Fault.SINK, settlement=RETRY) == result


@each_shell
@pytest.mark.parametrize(
    ("port", "scene"),
    [
        ("repository", lambda: Scene(repository=RaisingRepository(StopIteration(SECRET)))),
        ("forwarder", lambda: Scene(forwarder=RaisingForwarder(StopIteration(SECRET)))),
    ],
    ids=["repository", "forwarder"],
)
def test_stop_iteration(port: str, scene: Callable[[], Scene], shell: Shell) -> None:
    """A `StopIteration` is an error like others, though a coroutine can tell it as `RuntimeError` only."""
    result = scene().run(shell)

    assert Outcome.ERROR is result.outcome
    assert result.reason in {"StopIteration", "RuntimeError"}
    assert (Fault.EVENT if port == "forwarder" else None) is result.fault


class TestNotFoundGrace:
    """A row that is not there yet."""

    GRACE = RetryPolicy(backoff=lambda _: 7, not_found_grace=3600)

    def run(self, shell: Shell, age: timedelta | None, policy: RetryPolicy = GRACE, **others: Any) -> Result:
        """Run a job for a row that is not there, and is *age* old."""
        occurred_at = None if age is None else datetime.now(timezone.utc) - age
        return Scene(args=JobArgs("siem", "nowhere", occurred_at), policy=policy, **others).run(shell)

    @each_shell
    def test_within(self, shell: Shell) -> None:
        """Within the grace it is an error to retry."""
        expected = Result(Outcome.ERROR, CancelReason.AUDIT_EVENT_NOT_FOUND, settlement=RETRY)

        assert expected == self.run(shell, timedelta(minutes=1))

    @each_shell
    def test_last_attempt_within(self, shell: Shell) -> None:
        """Within the grace too the last attempt is the last one."""
        assert DISCARDED == self.run(shell, timedelta(minutes=1), attempt=5).settlement

    @each_shell
    def test_clock_behind(self, shell: Shell) -> None:
        """A row that seems to come from the future, by another machine's clock, is young."""
        assert Outcome.ERROR is self.run(shell, timedelta(minutes=-1)).outcome

    @each_shell
    @pytest.mark.parametrize("age", [timedelta(hours=2), None], ids=["older", "unknown age"])
    def test_beyond(self, age: timedelta | None, shell: Shell) -> None:
        """Beyond the grace, or where nobody knows how old it is, the job is cancelled."""
        expected = Result(Outcome.CANCEL, CancelReason.AUDIT_EVENT_NOT_FOUND, settlement=CANCELLED)

        assert expected == self.run(shell, age)

    @each_shell
    def test_no_grace(self, shell: Shell) -> None:
        """There is no grace by default, however young the row."""
        assert Outcome.CANCEL is self.run(shell, timedelta(0), POLICY).outcome

    @each_shell
    def test_the_routes_own(self, shell: Shell) -> None:
        """The grace is that of the route's own policy, where it has one."""
        assert Outcome.ERROR is self.run(shell, timedelta(minutes=1), POLICY, route={"policy": self.GRACE}).outcome


@each_shell
def test_policy_of_the_route(shell: Shell) -> None:
    """A route's own policy replaces the one for all."""
    scene = Scene(forwarder=RaisingForwarder(ValueError()), route={"policy": RetryPolicy(max_attempts=1)})

    assert DISCARDED == scene.run(shell).settlement


@each_shell
def test_policy_gets_the_attempt(shell: Shell) -> None:
    """The backoff is asked about the attempt that failed."""
    policy = RetryPolicy(backoff=lambda attempt: 10 * attempt)

    result = Scene(forwarder=RaisingForwarder(ValueError()), policy=policy, attempt=3).run(shell)

    assert Settlement(State.RETRYABLE, 30) == result.settlement


@each_shell
@pytest.mark.parametrize(
    "backoff",
    [raises(ZeroDivisionError(SECRET)), gives("soon"), gives(nan), gives(-1), gives(Coy()), gives(OfUnaskable())],
    ids=["raises", "text", "nan", "negative", "coy", "unaskable"],
)
def test_broken_backoff(backoff: Callable[[int], float], shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    """A backoff that fails is replaced by the default curve, with a log line that quotes nothing."""
    scene = Scene(forwarder=RaisingForwarder(ValueError()), policy=RetryPolicy(backoff=backoff))

    result = scene.run(shell)

    assert result.settlement.retry_in in range(17, 27)
    assert "the default curve is used" in caplog.text
    assert "s3cret" not in caplog.text


class Coyint(int):
    """An integer that raises, whatever is done with it."""

    __ge__ = __gt__ = __le__ = __lt__ = __int__ = __index__ = raises(RuntimeError(SECRET))  # type: ignore[assignment]


JUNK_ATTEMPTS: dict[str, object] = {
    "0": 0,
    "-1": -1,
    "True": True,
    "1.0": 1.0,
    "text": "2",
    "None": None,
    "nan": nan,
    "list": [2],
    "coy": Coy(),
    "a coy 0": Coyint(0),
}


@each_shell
@pytest.mark.parametrize("junk", JUNK_ATTEMPTS)
def test_junk_attempt(junk: str, shell: Shell) -> None:
    """An attempt that is no integer of at least 1 counts as 1."""
    scene = Scene(attempt=JUNK_ATTEMPTS[junk])

    scene.run(shell)

    assert [Delivered("siem", EVENT.id, EVENT.action, 1, Dispatch.ASYNC)] == scene.telemetry.events


@each_shell
def test_attempt_of_a_hostile_kind(shell: Shell) -> None:
    """An integer of another kind is told as a plain one."""
    scene = Scene(attempt=Coyint(3))

    scene.run(shell)

    assert [int] == [type(told.attempt) for told in scene.telemetry.events]
    assert [3] == [told.attempt for told in scene.telemetry.events]


@each_shell
def test_attempt_beyond_the_last(shell: Shell) -> None:
    """An attempt beyond the policy's last one is still made, and is the last."""
    scene = Scene(forwarder=FlakyForwarder(1), attempt=10**400)

    assert DISCARDED == scene.run(shell).settlement
    assert COMPLETED == scene.run(shell).settlement


MISBOUND = "perform(ledger=...) is a object: pass an object with lane, look, record, block, see ports.Ledger"


@each_function
@pytest.mark.parametrize(
    "misbound",
    [{"ledger": object()}, {"policy": None}, {"policy": 5}, {"policy": RetryPolicy}, {"policy": Coy()}],
    ids=["a ledger", "policy None", "policy 5", "policy a class", "policy coy"],
)
def test_misbound(misbound: dict[str, object], shell: Shell) -> None:
    """A ledger, or a policy that is none, is an error that says so, and nothing is sent."""
    scene = Scene(policy=misbound.get("policy", POLICY))

    result = scene.run(shell, ledger=misbound.get("ledger"))

    assert (Outcome.ERROR, None, State.RETRYABLE) == (result.outcome, result.fault, result.settlement.state)
    assert [] == scene.forwarder.events
    assert [("", "", None, "RuntimeError" if result.detail is None else "ConfigurationError")] == [
        (told.forwarder, told.audit_event_id, told.action, told.kind) for told in scene.telemetry.events
    ]


@each_function
def test_misbound_says_what_to_do(shell: Shell) -> None:
    """The error names the argument, and what it must be."""
    assert MISBOUND == Scene().run(shell, ledger=object()).detail
    assert "perform(policy=...) must be a RetryPolicy" == Scene(policy=5).run(shell).detail


@pytest.mark.parametrize("shell", [PERFORM, APERFORM], ids=str)
def test_default_forwarders(shell: Shell) -> None:
    """A name in a job makes nothing: a defaultdict gives what it holds, and no more."""
    forwarders = defaultdict(RecordingForwarder)

    result = Scene(forwarders=forwarders).run(shell)

    assert CancelReason.UNKNOWN_FORWARDER is result.reason
    assert {} == forwarders


class Handless:
    """No forwarder at all."""


@pytest.mark.parametrize("shell", [PERFORM, APERFORM], ids=str)
@pytest.mark.parametrize(
    ("entry", "detail"),
    [
        (Handless(), "the forwarder, a Handless, has no forward(event): see sigra_forward.ports.Forwarder"),
        (RecordingForwarder, "the forwarder is the class RecordingForwarder: pass an instance of it"),
        (None, None),
    ],
    ids=["no forward", "a class", "None"],
)
def test_entry_that_is_no_forwarder(entry: Any, detail: str | None, shell: Shell) -> None:
    """What is registered and cannot forward is as good as not registered."""
    scene = Scene(forwarders={"siem": entry})

    result = scene.run(shell)

    assert Result(Outcome.CANCEL, CancelReason.UNKNOWN_FORWARDER, detail, settlement=CANCELLED) == result
    assert [("siem", EVENT.id, None)] == [tuple(told[:3]) for told in scene.telemetry.events]


class RaisingMapping(dict[str, object]):
    """Raises *error* when it is asked."""

    def __init__(self, error: BaseException) -> None:
        self.get = raises(error)  # type: ignore[method-assign]


@pytest.mark.parametrize("shell", [PERFORM, APERFORM], ids=str)
@pytest.mark.parametrize("forwarders", [None, 7, RaisingMapping(OSError(SECRET))], ids=["None", "7", "raises"])
def test_forwarders_that_cannot_be_asked(forwarders: Any, shell: Shell) -> None:
    """Registered forwarders that cannot be asked are an error, for nothing is known."""

    def run() -> Result:
        return shell.run(JOB, repository=InMemoryAuditRepository([EVENT]), forwarders=forwarders, policy=POLICY)

    result = run()

    assert (Outcome.ERROR, None, RETRY) == (result.outcome, result.fault, result.settlement)


@pytest.mark.parametrize("shell", [PERFORM, APERFORM], ids=str)
@pytest.mark.parametrize("repository", [None, object()], ids=["None", "no get"])
def test_repository_that_is_none(repository: object, shell: Shell) -> None:
    """A repository without `get` is an error like any other of it."""
    expected = Result(Outcome.ERROR, "AttributeError", settlement=RETRY)

    assert expected == Scene(repository=repository).run(shell)


class TestOurOwnWords:
    """The message of our own errors."""

    @each_shell
    @pytest.mark.parametrize(
        "error", [SchemaMismatchError("x" * 1000), SinkError("x" * 1000)], ids=["SchemaMismatchError", "SinkError"]
    )
    def test_bounded(self, error: Exception, shell: Shell) -> None:
        """At most 500 characters of it are kept and told."""
        scene = Scene(forwarder=RaisingForwarder(error))

        result = scene.run(shell)

        assert "x" * 499 + "…" == result.detail
        assert [result.detail] == [told.detail for told in scene.telemetry.events]

    @each_shell
    def test_reason_bounded(self, shell: Shell) -> None:
        """A sink's reason is at most 255 characters, with no line break in it."""
        result = Scene(forwarder=RaisingForwarder(SinkError("a\n" + "x" * 1000))).run(shell)

        assert "a\N{REPLACEMENT CHARACTER}" + "x" * 252 + "…" == result.reason

    @each_shell
    def test_plain(self, shell: Shell) -> None:
        """What a str of another kind says is kept as plain text."""

        class Text(str):
            __slots__ = ()
            __len__ = __bool__ = raises(RuntimeError(SECRET))  # type: ignore[assignment]

        class WordyError(SinkError):
            def __str__(self) -> str:
                return Text("my words")

        result = Scene(forwarder=RaisingForwarder(WordyError(Text("busy")))).run(shell)

        assert ("busy", "my words") == (result.reason, result.detail)
        assert (str, str) == (type(result.reason), type(result.detail))


class TestTelemetryThatFails:
    """Whatever telemetry does, the result stands."""

    @each_shell
    @pytest.mark.parametrize(
        "telemetry",
        [
            RaisingTelemetry(ValueError(SECRET)),
            RaisingTelemetry(UnspeakableError()),
            RaisingTelemetry(StopIteration(SECRET)),
            GivingTelemetry(True),
            GivingTelemetry(Coy()),
            GivingTelemetry(OfUnaskable()),
            GivingTelemetry(Sticky()),
        ],
        ids=["raises", "unspeakable", "StopIteration", "True", "coy", "unaskable", "sticky"],
    )
    @pytest.mark.parametrize("answer", [None, True], ids=["OK", "ERROR"])
    def test_result_stands(self, answer: Any, telemetry: Any, shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
        """What telemetry raises or gives changes nothing, and its message is not logged."""
        expected = Scene(forwarder=RecordingForwarder(answer)).run(shell)
        scene = Scene(forwarder=RecordingForwarder(answer), telemetry=telemetry, attempt=1)

        assert expected == scene.run(shell)
        assert "s3cret" not in caplog.text

    @each_shell
    def test_raises(self, shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
        """That it raised is logged, by the exception's type alone."""
        Scene(telemetry=RaisingTelemetry(ValueError(SECRET))).run(shell)

        assert ["telemetry raised ValueError"] == [record.getMessage() for record in caplog.records]

    @each_shell
    def test_discarded_is_told_after_a_failed_that_raised(self, shell: Shell) -> None:
        """Each telemetry event is handed over, whatever became of the one before."""
        telemetry = RaisingTelemetry(ValueError())

        Scene(forwarder=RaisingForwarder(ValueError()), telemetry=telemetry, attempt=5).run(shell)

        assert [Failed, Discarded] == [type(told) for told in telemetry.events]

    @each_shell
    def test_async(self, shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
        """An async `emit` does not run: it is closed without a warning, and logged."""

        class AsyncTelemetry:
            async def emit(self, event: Any) -> None:
                raise AssertionError

        result = Scene(telemetry=AsyncTelemetry()).run(shell)

        assert Outcome.OK is result.outcome
        assert ["Telemetry.emit is async and did not run: make it a plain function"] == [
            record.getMessage() for record in caplog.records
        ]

    @pytest.mark.parametrize("shell", [PERFORM, APERFORM], ids=str)
    def test_none(self, shell: Shell) -> None:
        """Telemetry that is none at all is as good as one that raises."""
        assert Outcome.OK is Scene(telemetry=None).run(shell).outcome

    @each_shell
    @each_order
    def test_order(self, order: type[BaseException], shell: Shell) -> None:
        """An order out of telemetry goes on; what it told has been told, and nothing is told in its place."""
        telemetry = RaisingTelemetry(order())

        with pytest.raises(order):
            Scene(telemetry=telemetry).run(shell)

        assert [Delivered] == [type(told) for told in telemetry.events]


@each_shell
def test_subscribers_change_nothing(shell: Shell) -> None:
    """By default the blinker signals are told; a subscriber that raises or is async changes nothing."""
    heard: list[Any] = []

    async def is_async(sender: str, event: Any) -> None:
        raise AssertionError

    broken = raises(ValueError(SECRET))
    for subscriber in (lambda sender, event: broken(), is_async, lambda sender, event: heard.append((sender, event))):
        signals.forward_error.connect(subscriber, weak=False)

    result = Scene(forwarder=RaisingForwarder(OSError()), telemetry=SIGNALS).run(shell)

    expected = Failed("siem", EVENT.id, EVENT.action, 1, Dispatch.ASYNC, Outcome.ERROR, "OSError", None, "OSError", 7)
    assert Result(Outcome.ERROR, "OSError", None, Fault.SINK, settlement=RETRY) == result
    assert [("siem", expected)] == heard


@each_shell
def test_signals_by_default(shell: Shell) -> None:
    """Without a telemetry of the host's own, the blinker signals are told."""
    heard: list[str] = []
    signals.forward_ok.connect(lambda sender, event: heard.append(sender), weak=False)

    shell(JOB, repository=InMemoryAuditRepository([EVENT]), forwarders={"siem": RecordingForwarder()})

    assert ["siem"] == heard


PORTS: dict[str, Callable[[BaseException], dict[str, Any]]] = {
    "repository": lambda order: {"repository": RaisingRepository(order)},
    "where": lambda order: {"route": {"where": raises(order)}},
    "transform": lambda order: {"route": {"transform": raises(order)}},
    "forwarder": lambda order: {"forwarder": RaisingForwarder(order)},
    "backoff": lambda order: {
        "forwarder": RaisingForwarder(ValueError()),
        "policy": RetryPolicy(backoff=raises(order)),
    },
}


class TestOrders:
    """What is no `Exception` is an order to the process, and not a failure of the job."""

    @each_shell
    @each_order
    @pytest.mark.parametrize("port", PORTS)
    def test_out_of_a_port(self, port: str, order: type[BaseException], shell: Shell) -> None:
        """It fires the error event once, and is raised again."""
        scene = Scene(**PORTS[port](order(SECRET)))
        action = None if port == "repository" else EVENT.action
        kind = order.__name__

        with pytest.raises(order):
            scene.run(shell)

        failed = Failed("siem", EVENT.id, action, 1, Dispatch.ASYNC, Outcome.ERROR, kind, None, kind)
        assert [failed] == scene.telemetry.events

    @each_shell
    @each_order
    def test_out_of_the_args(self, order: type[BaseException], shell: Shell) -> None:
        """It is told even when it comes before anything is known of the job."""

        class Hostile(dict[str, object]):
            def __getitem__(self, key: str) -> object:
                raise order

        scene = Scene(args=Hostile())

        with pytest.raises(order):
            scene.run(shell)

        assert [("", "", order.__name__)] == [
            (told.forwarder, told.audit_event_id, told.kind) for told in scene.telemetry.events
        ]

    @each_order
    @pytest.mark.parametrize("shell", [PERFORM, APERFORM], ids=str)
    def test_out_of_the_registry(self, order: type[BaseException], shell: Shell) -> None:
        """It is told when it comes out of the mapping of the registered forwarders."""
        scene = Scene(forwarders=RaisingMapping(order()))

        with pytest.raises(order):
            scene.run(shell)

        assert [order.__name__] == [told.kind for told in scene.telemetry.events]

    @each_order
    def test_signals(self, order: type[BaseException]) -> None:
        """The error event goes out by the signals too."""
        heard: list[Failed] = []
        signals.forward_error.connect(lambda sender, event: heard.append(event), weak=False)

        with pytest.raises(order):
            Scene(forwarder=RaisingForwarder(order()), telemetry=SIGNALS).run(PERFORM)

        assert [order.__name__] == [told.kind for told in heard]


class Waiting:
    """Says that it was called, and then waits."""

    def __init__(self) -> None:
        self.called = asyncio.Event()

    async def forward(self, event: AuditEvent) -> None:
        """Wait for ever."""
        self.called.set()
        await asyncio.Event().wait()


class Blocking:
    """Says so in the loop that it was called in a thread, and then waits to be let go."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.go = threading.Event()
        self._loop = asyncio.get_running_loop()

    def forward(self, event: AuditEvent) -> None:
        """Wait to be let go."""
        self._loop.call_soon_threadsafe(self.called.set)
        assert self.go.wait(10)


async def cancel_in_flight(port: Any, job: Any) -> bool:
    """Cancel *job* once *port* is called, and tell whether it heeded."""
    task = asyncio.ensure_future(job)
    await asyncio.wait_for(port.called.wait(), 10)
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()


CANCELLED_EVENT = Failed(
    "siem", EVENT.id, EVENT.action, 1, Dispatch.ASYNC, Outcome.ERROR, "CancelledError", None, "CancelledError"
)


def test_cancelled_while_an_async_forwarder_works() -> None:
    """A task that is cancelled in flight tells so, and is cancelled."""
    telemetry = RecordingTelemetry()

    async def scenario() -> bool:
        port = Waiting()
        ports: Any = {"repository": InMemoryAuditRepository([EVENT]), "forwarders": {"siem": port}}
        return await cancel_in_flight(port, aperform(JOB, telemetry=telemetry, **ports))

    assert asyncio.run(scenario())
    assert [CANCELLED_EVENT] == telemetry.events


def test_cancelled_while_a_sync_forwarder_works() -> None:
    """It is cancelled too while a sync forwarder works in a thread, which is left to end."""
    telemetry = RecordingTelemetry()

    async def scenario() -> bool:
        port = Blocking()
        ports: Any = {"repository": InMemoryAuditRepository([EVENT]), "forwarders": {"siem": port}}
        try:
            return await cancel_in_flight(port, aperform(JOB, telemetry=telemetry, **ports))
        finally:
            port.go.set()

    assert asyncio.run(scenario())
    assert [CANCELLED_EVENT] == telemetry.events


def test_cancelled_while_bound() -> None:
    """`AuditForward.aperform` is cancelled like `aperform`."""
    telemetry = RecordingTelemetry()

    async def scenario() -> bool:
        port = Waiting()
        with AuditForward(InMemoryAuditRepository([EVENT]), {"siem": port}, telemetry=telemetry) as audit_forward:
            return await cancel_in_flight(port, audit_forward.aperform(JOB))

    assert asyncio.run(scenario())
    assert [CANCELLED_EVENT] == telemetry.events


def test_closed_in_flight() -> None:
    """A coroutine that is closed before its end tells so."""
    telemetry = RecordingTelemetry()

    async def scenario() -> None:
        repository = AsyncRepository(InMemoryAuditRepository([EVENT]))
        job = aperform(JOB, repository=repository, forwarders={"siem": Waiting()}, telemetry=telemetry)
        job.send(None)
        job.close()

    asyncio.run(scenario())

    assert ["GeneratorExit"] == [told.kind for told in telemetry.events]


def test_results_of_one_job_agree() -> None:
    """One job comes to the same by every way."""
    results = [Scene(forwarder=RaisingForwarder(SinkError("http_503"))).run(shell) for shell in SHELLS]

    assert [results[0]] * len(SHELLS) == results


def test_route_under_the_bare_functions() -> None:
    """The bare functions take a forwarder itself as well as a `Route` to it."""
    forwarder = RecordingForwarder()

    for entry in (forwarder, Route(forwarder)):
        Scene(forwarders={"siem": entry}).run(PERFORM)

    assert [EVENT, EVENT] == forwarder.events


def test_invalid_args_keep_the_error() -> None:
    """The error about malformed job args is in the result."""
    result = Scene(args={}).run(BOUND_APERFORM)

    assert InvalidJobArgsError is type(result.exception)


@pytest.mark.parametrize("dispatch", ["dispatch", "adispatch"])
def test_event_in_hand(dispatch: str) -> None:
    """An event in hand is not read again: only jobs reload."""
    forwarder = RecordingForwarder()

    with AuditForward(RaisingRepository(AssertionError()), {"siem": forwarder}) as audit_forward:
        fates = getattr(audit_forward, dispatch)(EVENT)
        if dispatch == "adispatch":
            fates = asyncio.run(fates)

    assert [EVENT] == forwarder.events
    assert Result(Outcome.OK, settlement=COMPLETED) == fates["siem"].result
