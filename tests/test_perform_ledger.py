"""The table "perform, exactly" with a ledger: what is sent, what is kept, and who owns the retry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from sigra_forward import (
    Ack,
    CancelReason,
    Fault,
    JobArgs,
    Outcome,
    RetryPolicy,
    SchemaMismatchError,
    Settlement,
    SinkError,
    State,
)
from sigra_forward._books import DISABLED_FOR, PROBE_INTERVAL
from sigra_forward._ledger import Receipt
from sigra_forward.errors import SinkDisabledError
from sigra_forward.stores import SQLiteLedger
from sigra_forward.telemetry import Delivered, Discarded, Failed
from sigra_forward.testing import FlakyForwarder, InMemoryAuditRepository, RaisingForwarder, RecordingForwarder
from tests.support_perform import COMPLETED, EVENT, JOB, ORDERS, POLICY, SHELLS, GivingRepository, Scene, Shell, raises

SECOND = timedelta(seconds=1)
LEFT_TO_RELAY = Settlement(State.RETRYABLE)

each_shell = pytest.mark.parametrize("shell", SHELLS, ids=str)


class AsyncLedger:
    """Awaits nothing, and asks *ledger*."""

    def __init__(self, ledger: SQLiteLedger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ledger, name)

        async def awaited(*arguments: Any) -> Any:
            return method(*arguments)

        return awaited


class FailingLedger:
    """Raises *error* for each call of the methods *named*, for *times* of them, and asks *ledger* for all else."""

    def __init__(self, ledger: SQLiteLedger, error: BaseException, *named: str, times: int = 100) -> None:
        self._ledger = ledger
        self._error = error
        self._named = named
        self.left = times

    def __getattr__(self, name: str) -> Any:
        if name in self._named and self.left:
            return self._raise
        return getattr(self._ledger, name)

    def _raise(self, *_: object) -> Any:
        self.left -= 1
        raise self._error


@pytest.fixture
def ledger(tmp_path: Path) -> SQLiteLedger:
    """Give a ledger with nothing in it."""
    ledger = SQLiteLedger(tmp_path / "ledger.db")
    ledger.create()
    return ledger


def receipt_in(ledger: SQLiteLedger) -> Receipt | None:
    """Return the receipt of the event."""
    return ledger.receipts(lane_in(ledger), [EVENT.id]).get(EVENT.id)


def lane_in(ledger: SQLiteLedger) -> int:
    """Return the number of the lane."""
    return ledger.lane("audit_events", "siem", EVENT.occurred_at).number


def with_ledger(shell: Shell, ledger: Any) -> Any:
    """Return *ledger* as that shell takes it: the bare `perform` cannot await."""
    return AsyncLedger(ledger) if shell.async_ports else ledger


@each_shell
class TestWhatIsKept:
    """One job, and the receipt that it leaves."""

    def test_a_yes(self, shell: Shell, ledger: SQLiteLedger) -> None:
        """It is completed, with the sink's own receipt."""
        scene = Scene(forwarder=RecordingForwarder(Ack("17", "indexed")))

        result = scene.run(shell, ledger=with_ledger(shell, ledger))

        receipt = receipt_in(ledger)
        assert (Outcome.OK, COMPLETED, False) == (result.outcome, result.settlement, result.duplicate)
        assert (State.COMPLETED, 1, 1, Ack("17", "indexed"), None, None) == (
            receipt.state,
            receipt.attempt,
            receipt.generation,
            receipt.ack,
            receipt.due_at,
            receipt.reason,
        )
        assert [EVENT.occurred_at, receipt.first_at] == [receipt.occurred_at, receipt.last_at]
        assert [Delivered] == [type(told) for told in scene.telemetry.events]
        assert [] == list(ledger.attempts(lane_in(ledger), EVENT.id))

    def test_a_refusal_for_good(self, shell: Shell, ledger: SQLiteLedger) -> None:
        """It is cancelled, with the sink's words, and so is the job."""
        scene = Scene(forwarder=RaisingForwarder(SchemaMismatchError("no such field")))

        result = scene.run(shell, ledger=with_ledger(shell, ledger))

        receipt = receipt_in(ledger)
        assert (Outcome.CANCEL, Settlement(State.CANCELLED)) == (result.outcome, result.settlement)
        assert (State.CANCELLED, "schema_mismatch", "no such field", None) == (
            receipt.state,
            receipt.reason,
            receipt.detail,
            receipt.due_at,
        )
        (failure,) = ledger.attempts(lane_in(ledger), EVENT.id)
        assert (1, 1, "schema_mismatch") == (failure.generation, failure.attempt, failure.reason)

    @pytest.mark.parametrize(
        "scene",
        [
            lambda: Scene(forwarder=RaisingForwarder(ValueError())),
            lambda: Scene(forwarder=RecordingForwarder(17)),  # type: ignore[arg-type]
            lambda: Scene(route={"where": raises(ValueError())}),
            lambda: Scene(route={"transform": raises(ValueError())}),
            lambda: Scene(route={"transform": lambda _: None}),
        ],
        ids=["an error", "an unexpected return", "where", "transform", "transform gives nothing"],
    )
    def test_the_events_fault(self, scene: Callable[[], Scene], shell: Shell, ledger: SQLiteLedger) -> None:
        """It is to be tried again by the relay, when the policy says, and the queue ends the job."""
        told = scene()

        result = told.run(shell, ledger=with_ledger(shell, ledger))

        receipt = receipt_in(ledger)
        assert (Outcome.ERROR, Fault.EVENT, LEFT_TO_RELAY) == (result.outcome, result.fault, result.settlement)
        assert (State.RETRYABLE, 1) == (receipt.state, receipt.attempt)
        assert 6 * SECOND < receipt.due_at - receipt.last_at < 8 * SECOND
        assert [None] == [failed.retry_in for failed in told.telemetry.of(Failed)]
        assert 1 == len(ledger.attempts(lane_in(ledger), EVENT.id))

    @pytest.mark.parametrize("attempt", [1, 5, 99])
    def test_no_attempt_is_the_last(self, attempt: int, shell: Shell, ledger: SQLiteLedger) -> None:
        """The relay gives up, and nobody else."""
        scene = Scene(forwarder=RaisingForwarder(ValueError()), attempt=attempt)

        assert LEFT_TO_RELAY == scene.run(shell, ledger=with_ledger(shell, ledger)).settlement
        assert [] == scene.telemetry.of(Discarded)

    @pytest.mark.parametrize(
        ("error", "blocked"),
        [
            (SinkError("http_503"), PROBE_INTERVAL),
            (SinkError("http_429", retry_after=120), 120),
            (SinkError("http_429", retry_after=10**9), POLICY.max_retry_after),
            (ConnectionRefusedError(), PROBE_INTERVAL),
            (TimeoutError(), PROBE_INTERVAL),
            (SinkDisabledError("http_410"), DISABLED_FOR),
        ],
        ids=["sink", "retry after", "retry after ages", "OSError", "TimeoutError", "disabled"],
    )
    def test_the_sinks_fault(self, error: Exception, blocked: float, shell: Shell, ledger: SQLiteLedger) -> None:
        """Nothing is charged to the event, and the lane's breaker opens, for as long as the sink asks."""
        scene = Scene(forwarder=RaisingForwarder(error))

        result = scene.run(shell, ledger=with_ledger(shell, ledger))

        look = ledger.look(lane_in(ledger), EVENT.id)
        assert (Outcome.ERROR, Fault.SINK, LEFT_TO_RELAY, None) == (
            result.outcome,
            result.fault,
            result.settlement,
            look.receipt,
        )
        assert (blocked - 60) * SECOND < look.blocked_until - look.now <= blocked * SECOND

    @pytest.mark.parametrize(
        ("scene", "reason"),
        [
            (lambda: Scene(args={"forwarder": "siem"}), CancelReason.INVALID_JOB_ARGS),
            (lambda: Scene(args=JobArgs("nobody", EVENT.id)), CancelReason.UNKNOWN_FORWARDER),
            (lambda: Scene(repository=InMemoryAuditRepository()), CancelReason.AUDIT_EVENT_NOT_FOUND),
            (lambda: Scene(route={"actions": ("other",)}), CancelReason.NOT_ROUTED),
            (lambda: Scene(repository=GivingRepository(17)), "unexpected_return"),
        ],
        ids=["args", "forwarder", "row", "route", "no event"],
    )
    def test_a_job_that_ends_for_its_own_sake(
        self, scene: Callable[[], Scene], reason: Any, shell: Shell, ledger: SQLiteLedger
    ) -> None:
        """The event stays owed, and the sink is not blamed."""
        told = scene()

        result = told.run(shell, ledger=with_ledger(shell, ledger))

        look = ledger.look(lane_in(ledger), EVENT.id)
        assert (reason, None, None) == (result.reason, look.receipt, look.blocked_until)
        assert [] == told.forwarder.events


@each_shell
class TestWhatStands:
    """What the ledger knows already decides whether anything is sent."""

    @pytest.mark.parametrize("state", [State.COMPLETED, State.CANCELLED, State.DISCARDED])
    def test_what_is_settled_is_not_sent_again(self, state: State, shell: Shell, ledger: SQLiteLedger) -> None:
        """The job ends well, in that state, and nobody is told a second time."""
        stands = self.keep(ledger, state, reason="why", ack=Ack("17"))
        scene = Scene()

        result = scene.run(shell, ledger=with_ledger(shell, ledger))

        assert (Outcome.OK, Settlement(state), True) == (result.outcome, result.settlement, result.duplicate)
        assert ("why", Ack("17")) == (result.reason, result.ack)
        assert ([], [], stands) == (scene.forwarder.events, scene.telemetry.events, receipt_in(ledger))

    def test_what_is_to_be_tried_again_is_tried(self, shell: Shell, ledger: SQLiteLedger) -> None:
        """A yes settles it, in its own generation."""
        stands = self.keep(ledger, State.RETRYABLE, attempt=3, generation=2)

        assert COMPLETED == Scene().run(shell, ledger=with_ledger(shell, ledger)).settlement

        receipt = receipt_in(ledger)
        assert (State.COMPLETED, 4, 2, stands.first_at) == (
            receipt.state,
            receipt.attempt,
            receipt.generation,
            receipt.first_at,
        )

    def test_who_fails_beside_the_relay_changes_nothing(self, shell: Shell, ledger: SQLiteLedger) -> None:
        """What is to be tried again stays so, at the time that the relay has set."""
        stands = self.keep(ledger, State.RETRYABLE)
        scene = Scene(forwarder=RaisingForwarder(ValueError()))

        assert LEFT_TO_RELAY == scene.run(shell, ledger=with_ledger(shell, ledger)).settlement
        assert stands == receipt_in(ledger)

    def test_another_event_under_its_id(self, shell: Shell, ledger: SQLiteLedger) -> None:
        """Its receipt pays nothing, and the new one is of the next generation."""
        self.keep(ledger, State.COMPLETED, occurred_at=EVENT.occurred_at - 2 * SECOND)
        scene = Scene()

        scene.run(shell, ledger=with_ledger(shell, ledger))

        receipt = receipt_in(ledger)
        assert ([EVENT.id], 2, EVENT.occurred_at) == (scene.forwarder.ids, receipt.generation, receipt.occurred_at)

    def test_an_open_breaker(self, shell: Shell, ledger: SQLiteLedger) -> None:
        """Nothing is sent, nothing is kept, and the job ends as an error."""
        ledger.block(lane_in(ledger), 60)
        scene = Scene()

        result = scene.run(shell, ledger=with_ledger(shell, ledger))

        assert (Outcome.ERROR, "breaker_open", LEFT_TO_RELAY) == (result.outcome, result.reason, result.settlement)
        assert ([], None, ["breaker_open"]) == (
            scene.forwarder.events,
            receipt_in(ledger),
            [failed.reason for failed in scene.telemetry.of(Failed)],
        )

    def test_what_is_settled_needs_no_sink(self, shell: Shell, ledger: SQLiteLedger) -> None:
        """It is told though the breaker is open."""
        self.keep(ledger, State.COMPLETED)
        ledger.block(lane_in(ledger), 60)

        assert Scene().run(shell, ledger=with_ledger(shell, ledger)).duplicate

    @staticmethod
    def keep(ledger: SQLiteLedger, state: State, **fields: Any) -> Receipt:
        """Have a receipt of the event stand."""
        moment = EVENT.occurred_at
        due_at = moment if state is State.RETRYABLE else None
        receipt = evolve(Receipt(EVENT.id, moment, state, moment, moment, due_at=due_at), **fields)
        ledger.record(lane_in(ledger), [receipt])
        return ledger.receipts(lane_in(ledger), [EVENT.id])[EVENT.id]


@each_shell
class TestALedgerThatFails:
    """It is down, or comes back in the midst."""

    @pytest.mark.parametrize("method", ["lane", "look"])
    def test_it_cannot_be_read(self, method: str, shell: Shell, ledger: SQLiteLedger) -> None:
        """Nothing is sent: whether the sink has the event already cannot be told."""
        scene = Scene()

        result = scene.run(shell, ledger=FailingLedger(ledger, ValueError("secret"), method))

        assert (Outcome.ERROR, "ValueError", None, LEFT_TO_RELAY) == (
            result.outcome,
            result.reason,
            result.detail,
            result.settlement,
        )
        assert [] == scene.forwarder.events

    def test_a_yes_that_cannot_be_kept(self, shell: Shell, ledger: SQLiteLedger) -> None:
        """The sink's answer stands, and it is said that a repeat may follow."""
        scene = Scene()
        failing = FailingLedger(ledger, ValueError(), "record")

        result = scene.run(shell, ledger=failing)

        assert (Outcome.OK, COMPLETED, 98) == (result.outcome, result.settlement, failing.left)
        told = [
            (type(told), getattr(told, "reason", None), getattr(told, "kind", None)) for told in scene.telemetry.events
        ]
        assert [(Failed, "receipt_not_kept", "ValueError"), (Delivered, None, None)] == told
        assert receipt_in(ledger) is None

    def test_a_yes_is_kept_at_the_second_try(self, shell: Shell, ledger: SQLiteLedger) -> None:
        """A connection that was lost costs no repeat."""
        scene = Scene()

        scene.run(shell, ledger=FailingLedger(ledger, ValueError(), "record", times=1))

        assert State.COMPLETED is receipt_in(ledger).state
        assert [Delivered] == [type(told) for told in scene.telemetry.events]

    @pytest.mark.parametrize("method", ["record", "block"])
    def test_a_failure_that_cannot_be_kept(self, method: str, shell: Shell, ledger: SQLiteLedger) -> None:
        """It is told as well, and found out once more."""
        scene = Scene(forwarder=RaisingForwarder(ValueError() if method == "record" else SinkError("down")))

        result = scene.run(shell, ledger=FailingLedger(ledger, OSError(), method))

        assert (Outcome.ERROR, LEFT_TO_RELAY) == (result.outcome, result.settlement)
        assert ["receipt_not_kept", result.reason] == [failed.reason for failed in scene.telemetry.of(Failed)]

    @pytest.mark.parametrize("order", [order for order in ORDERS if order is not GeneratorExit])
    def test_an_order_while_a_yes_is_kept(self, order: type[BaseException], shell: Shell, ledger: SQLiteLedger) -> None:
        """It is kept all the same, the order is told of, and goes on to the process."""
        scene = Scene()

        with pytest.raises(order):
            scene.run(shell, ledger=FailingLedger(ledger, order(), "record", times=1))

        assert State.COMPLETED is receipt_in(ledger).state
        assert [order.__name__] == [failed.kind for failed in scene.telemetry.of(Failed)]


def test_a_task_that_is_cancelled_while_a_yes_is_kept(ledger: SQLiteLedger) -> None:
    """The receipt is shielded: it is written, and the task is cancelled then."""

    class Slow(AsyncLedger):
        began = asyncio.Event()

        def __getattr__(self, name: str) -> Any:
            method = super().__getattr__(name)
            if name != "record":
                return method

            async def slow(*arguments: Any) -> Any:
                self.began.set()
                await asyncio.sleep(0)
                return await method(*arguments)

            return slow

    async def cancelled() -> None:
        from sigra_forward import aperform

        slow = Slow(ledger)
        ports = {"repository": InMemoryAuditRepository([EVENT]), "forwarders": {"siem": RecordingForwarder()}}
        task = asyncio.ensure_future(aperform(JOB, ledger=slow, **ports))  # type: ignore[arg-type]
        await slow.began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())

    assert State.COMPLETED is receipt_in(ledger).state


def test_steps_that_nobody_takes_any_more_are_let_go(ledger: SQLiteLedger) -> None:
    """A coroutine that is closed in the midst of keeping a yes ends there."""
    from sigra_forward._attempt import Attempt
    from sigra_forward.testing import RecordingTelemetry

    telemetry = RecordingTelemetry()
    attempt = Attempt.of_job(JOB, {"siem": RecordingForwarder()}, 1, RetryPolicy(), ledger, telemetry)
    steps = attempt.steps(InMemoryAuditRepository([EVENT]), telemetry)
    port, argument, _ = next(steps)
    while "_record" not in getattr(port, "__name__", ""):
        port, argument, _ = steps.send(port(argument))

    steps.close()

    assert receipt_in(ledger) is None


@each_shell
def test_every_attempt_is_of_one_generation(shell: Shell, ledger: SQLiteLedger) -> None:
    """Two jobs of one event: the first fails, the second settles it, and the third finds it settled."""
    scene = Scene(forwarder=FlakyForwarder(1, ValueError()))

    results = [scene.run(shell, ledger=with_ledger(shell, ledger)) for _ in range(3)]

    assert [(Outcome.ERROR, False), (Outcome.OK, False), (Outcome.OK, True)] == [
        (result.outcome, result.duplicate) for result in results
    ]
    assert 1 == len(scene.forwarder.events)
