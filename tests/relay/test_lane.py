"""`LaneWorker`: one lane on a fake clock."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sigra_forward import SchemaMismatchError, SinkError, State
from sigra_forward.relay._lane import LeaseLostError
from sigra_forward.relay._readings import Pace
from sigra_forward.telemetry import Delivered, Discarded, Failed
from tests.relay.support_lane import World
from tests.support_perform import raises


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Give a lane with nothing in it, that has begun."""
    world = World(tmp_path)
    world.run(0)
    return world


def ids(count: int, prefix: str = "e") -> list[str]:
    """Return some ids."""
    return [f"{prefix}{number:05}" for number in range(count)]


class TestTheTail:
    """What is new goes out at once."""

    def test_what_is_committed_is_delivered(self, world: World) -> None:
        """Within a poll, in batches that the sink takes, and is told and kept."""
        names = ids(250)
        world.commit(*names)

        world.run(5)

        assert names == world.sink.ids
        assert [100, 100, 50] == [len(batch) for _, batch in world.sink.calls]
        assert dict.fromkeys(names, State.COMPLETED) == world.states()
        assert names == [told.audit_event_id for told in world.telemetry.of(Delivered)]

    def test_what_was_there_before_is_delivered(self, tmp_path: Path) -> None:
        """The first sweep pays what was committed since the floor, before any relay was there."""
        world = World(tmp_path)
        names = ids(10)
        world.commit(*names)

        world.run(1)

        assert names == world.sink.ids

    def test_what_is_below_the_floor_is_not_owed(self, tmp_path: Path) -> None:
        """A row that is dated before it stays where it is."""
        world = World(tmp_path, pace=Pace(poll=600))
        world.run(0)
        world.commit("old", occurred_at=world.now().replace(year=2025))
        world.commit("new")

        world.run(90_000)

        assert ["new"] == world.sink.ids

    def test_nothing_is_sent_twice(self, world: World) -> None:
        """Not by the re-reads, the sweeps, or a second relay that takes over."""
        for name in ids(20):
            world.commit(name)
            world.run(3)
        world.worker.let_go()
        world.options["pace"] = Pace(poll=600)

        world.run(90_000, world.another("second"))

        assert ids(20) == world.sink.ids


class TestOutage:
    """The sink is down."""

    def test_nothing_is_charged(self, world: World) -> None:
        """Two probes an interval at most, and everything is delivered when it is back."""
        names = ids(300)
        world.sink.rule = lambda _: ConnectionRefusedError()
        world.commit(*names)
        world.run(24 * 3600)
        calls = len(world.sink.calls)

        assert ({}, []) == (world.states(), world.sink.ids)
        assert {1} == {len(batch) for _, batch in world.sink.calls[1:]}
        assert calls <= 1 + 2 * 24 * 3600 / 30
        world.sink.rule = lambda _: None
        world.run(60)

        assert sorted(names) == sorted(world.sink.ids)
        assert dict.fromkeys(names, State.COMPLETED) == world.states()

    def test_retry_after_is_honoured(self, world: World) -> None:
        """Nothing is tried for as long as the sink asks."""
        world.sink.rule = lambda _: SinkError("http_429", retry_after=120)
        world.commit(*ids(5))

        world.run(3600)

        moments = [at for at, _ in world.sink.calls]
        assert all(later - earlier >= 120 for earlier, later in pairwise(moments))
        assert 25 < len(moments) <= 31

    def test_a_sink_that_refuses_everything_cancels_nothing(self, world: World) -> None:
        """Whatever it says: when nothing goes through, it is the sink's fault."""
        world.sink.rule = lambda _: SchemaMismatchError("no such index")
        world.commit(*ids(50))
        world.run(24 * 3600)

        assert ({}, []) == (world.states(), world.telemetry.of(Discarded))
        world.sink.rule = lambda _: None
        world.run(60)

        assert 50 == len(world.sink.ids)


class TestPoison:
    """One event fails, and the others do not."""

    @pytest.mark.parametrize(
        ("error", "state"),
        [
            (SchemaMismatchError("no"), State.CANCELLED),
            (ValueError(), State.DISCARDED),
            (ConnectionResetError(), State.DISCARDED),
        ],
        ids=["schema", "error", "sink"],
    )
    def test_it_alone_ends(self, world: World, error: Exception, state: State) -> None:
        """The others are delivered, and it is a dead letter with the sink's words."""
        names = ids(40)
        world.sink.rule = lambda event: error if event.id == "e00017" else None
        world.commit(*names)

        for number in range(100):
            world.run(120)
            world.commit(f"later{number}")

        assert set(names) - {"e00017"} <= set(world.sink.ids)
        receipt: Any = world.receipt("e00017")
        assert state is receipt.state
        assert {state} == {each for each in world.states().values() if each is not State.COMPLETED}

    def test_alone_in_the_world_it_is_not_charged(self, tmp_path: Path) -> None:
        """Where nothing else goes out, nobody can tell whose fault it is."""
        world = World(tmp_path, pace=Pace(poll=60))
        world.sink.rule = lambda _: ValueError()
        world.commit("e")

        world.run(24 * 3600)

        receipt: Any = world.receipt("e")
        assert (State.RETRYABLE, 0) == (receipt.state, receipt.attempt)
        assert 1 <= len(world.sink.calls) <= 24 * 60 + 1
        assert set() == {type(told) for told in world.telemetry.events} - {Failed}


def test_an_outage_with_one_poison_event_among_many(tmp_path: Path) -> None:
    """Down for a day with 50,000 rows: nothing is dead-lettered by it, and it drains no faster than it may."""
    world = World(tmp_path, recovery_rate=500.0, probe_interval=120.0)
    world.run(0)
    names = ids(50_000)
    is_down = [True]

    def rule(event: Any) -> Any:
        if is_down[0]:
            return SinkError("http_503")
        return SchemaMismatchError("poison") if event.id == "e00100" else None

    world.sink.rule = rule
    world.commit(*names)
    world.run(24 * 3600)
    assert ({}, []) == (world.states(), world.sink.ids)
    down = [batch for _, batch in world.sink.calls]
    assert len(down) <= 1 + 2 * 24 * 3600 / 120

    is_down[0] = False
    began = world.clock.monotonic()
    for _ in range(150):
        world.run(1)
        passed = world.clock.monotonic() - began
        assert len(world.sink.ids) <= 500 * (passed + 1) + 2

    world.run(600)
    assert set(names) - {"e00100"} == set(world.sink.ids)
    assert len(world.sink.ids) == len(set(world.sink.ids))
    assert {State.COMPLETED: 49_999, State.CANCELLED: 1} == {
        state: list(world.states().values()).count(state) for state in set(world.states().values())
    }


class TestLateRows:
    """Rows that become visible behind the tail."""

    @pytest.mark.parametrize(
        ("late", "by", "poll"),
        [(6.0, 10.0, 5), (30.0, 70.0, 5), (400.0, 610.0, 5), (3000.0, 3700.0, 60), (100_000.0, 48 * 3600.0, 600)],
        ids=["5 s", "1 min", "10 min", "hourly", "daily"],
    )
    def test_each_is_delivered_by_the_reading_that_comes_next(
        self, tmp_path: Path, late: float, by: float, poll: float
    ) -> None:
        """A transaction that stays open for so long is delivered by the re-read, or the sweep, after it."""
        world = World(tmp_path, pace=Pace(poll=poll))
        world.run(0)
        began = world.clock.monotonic()
        row = world.table.drawn(*world.made("late"))
        world.commit("early")
        world.run(late)
        assert ["early"] == world.sink.ids

        world.table.show(row)
        world.run(by - late)

        assert ["early", "late"] == world.sink.ids
        assert world.clock.monotonic() == began + by


class TestTakeover:
    """Two relays, one lane."""

    def test_one_works_and_the_other_stands_by(self, world: World) -> None:
        """The second one sends nothing while the first one lives."""
        second = world.another("second")
        world.commit("e")

        assert second.step() > 0
        assert [] == world.sink.ids

    def test_the_lease_ends_without_its_holder(self, world: World) -> None:
        """The other one goes on where the first one has stood."""
        world.commit("one")
        world.run(5)
        world.commit("two")
        world.clock.advance(120)

        world.run(60, world.another("second"))

        assert ["one", "two"] == world.sink.ids

    def test_a_holder_that_was_frozen_learns_it(self, world: World) -> None:
        """It writes nothing but each yes, and stands by."""
        second = world.another("second")
        world.commit("one")

        def frozen(_: Any) -> None:
            world.clock.advance(300)
            world.sink.rule = lambda _: None
            second.step()

        world.sink.rule = frozen
        world.clock.advance(5)
        with pytest.raises(LeaseLostError):
            while True:
                world.worker.step()

        assert {"one": State.COMPLETED} == world.states()
        world.worker.doubt()
        assert world.worker.step() > 0

    def test_a_call_is_not_begun_when_the_lease_would_not_outlast_it(self, world: World) -> None:
        """The lease is renewed first; where it cannot be, nothing is sent, and what was taken before counts."""
        names = ids(300)
        world.commit(*names)

        def slow(event: Any) -> None:
            if event.id == "e00099":
                world.clock.advance(300)
                assert world.ledger.acquire(world.lane.number, "second", 60)

        world.sink.rule = slow
        world.clock.advance(5)
        with pytest.raises(LeaseLostError):
            while True:
                world.worker.step()

        assert [names[:100]] == [batch for _, batch in world.sink.calls]
        assert dict.fromkeys(names[:100], State.COMPLETED) == world.states()

    def test_letting_go_lets_another_one_begin_at_once(self, world: World) -> None:
        """A graceful end costs nobody a lease's length."""
        world.worker.let_go()
        world.worker.let_go()
        world.commit("one")

        world.run(5, world.another("second"))

        assert ["one"] == world.sink.ids


class TestALedgerThatFails:
    """What the sink has taken is written down as soon as that can be done."""

    def test_a_yes_that_cannot_be_kept_now_is_kept_later(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is told, the lane stands still, and nothing is sent again."""
        record = world.ledger.record
        world.commit(*ids(3))
        monkeypatch.setattr(world.ledger, "record", raises(OSError()))
        world.clock.advance(5)
        with pytest.raises(OSError):  # noqa: PT011
            while True:
                world.worker.step()
        world.worker.doubt()
        told = [(failed.audit_event_id, failed.reason) for failed in world.telemetry.of(Failed)]
        assert ids(3) == world.sink.ids

        with pytest.raises(OSError):  # noqa: PT011
            world.worker.step()
        monkeypatch.setattr(world.ledger, "record", record)
        world.worker.doubt()
        world.run(60)

        assert [(name, "receipt_not_kept") for name in ids(3)] == told
        assert (ids(3), dict.fromkeys(ids(3), State.COMPLETED)) == (world.sink.ids, world.states())
        assert ids(3) == [delivered.audit_event_id for delivered in world.telemetry.of(Delivered)]
