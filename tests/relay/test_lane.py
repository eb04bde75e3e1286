"""`LaneWorker`: one lane on a fake clock."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from sigra_forward import JobArgs, RetryPolicy, SchemaMismatchError, SinkError, State
from sigra_forward._ledger import Receipt
from sigra_forward.relay._lane import LeaseLostError
from sigra_forward.relay._readings import Pace
from sigra_forward.telemetry import Delivered, Discarded, Failed
from tests.relay.support_lane import BEGIN, World
from tests.support_perform import raises


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Give a lane with nothing in it, that has begun."""
    world = World(tmp_path)
    world.run(0)
    return world


@pytest.fixture
def fresh(tmp_path: Path) -> World:
    """Give a lane at which no relay was ever at work."""
    return World(tmp_path)


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

    def test_many_small_pages(self, tmp_path: Path) -> None:
        """More of them than one turn has."""
        world = World(tmp_path, page=1)
        world.run(0)
        world.commit(*ids(150))

        world.run(5)

        assert ids(150) == world.sink.ids

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

    def test_one_event_in_the_midst_of_what_is_settled(self, tmp_path: Path) -> None:
        """The probe finds it, wherever it is in the page that could not be finished."""
        world = World(tmp_path, page=200)
        names = ids(400)
        world.commit(*names)
        settled = [due(name, world.now(), state=State.COMPLETED, due_at=None) for name in names if name != "e00150"]
        world.ledger.record(1, settled)
        world.sink.rule = lambda _: SinkError("http_503")

        world.run(90)
        down = [batch for _, batch in world.sink.calls]
        world.sink.rule = lambda _: None
        world.run(30)

        assert [["e00150"]] * 4 == down
        assert ["e00150"] == world.sink.ids

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


class TestManyPoisonEvents:
    """Several events in a row fail, and the sink is up."""

    @pytest.mark.parametrize("error", [ValueError(), ConnectionResetError()], ids=["error", "sink"])
    @pytest.mark.parametrize("max_events", [1, 100])
    def test_they_alone_end(self, tmp_path: Path, max_events: int, error: Exception) -> None:
        """The others are delivered within a few probes, and each of them is a dead letter in the end."""
        policy = RetryPolicy(max_attempts=3, max_delay=60, horizon=600)
        world = World(tmp_path, policy=policy, pace=Pace(poll=30))
        world.sink.max_events = max_events
        world.worker = world.another()
        names = ids(60)
        poison = {*names[:8], *names[50:]}
        world.sink.rule = lambda event: error if event.id in poison else None
        world.commit(*names)

        world.run(300)
        delivered = set(world.sink.ids)
        for number in range(120):
            world.run(60)
            world.commit(f"later{number}")
        world.run(120)

        assert set(names) - poison == delivered
        assert poison == {name for name, state in world.states().items() if state is State.DISCARDED}
        assert {State.COMPLETED, State.DISCARDED} == set(world.states().values())
        assert len(world.sink.ids) == len(set(world.sink.ids))

    def test_they_keep_nothing_back_that_is_due_behind_them(self, fresh: World) -> None:
        """However many are due that fail: what is due after them goes out, and so does what is new."""
        names = ids(60)
        fresh.commit(*names)
        fresh.ledger.record(1, [due(name, fresh.now()) for name in names])
        poison = set(names[:50])
        fresh.sink.rule = lambda event: ValueError() if event.id in poison else None

        for number in range(60):
            fresh.run(30)
            fresh.commit(f"new{number}")
        fresh.run(60)

        assert {*names[50:], *(f"new{number}" for number in range(60))} == set(fresh.sink.ids)
        assert {State.RETRYABLE} == {fresh.states()[name] for name in poison}
        assert all(receipt.attempt for receipt in fresh.ledger.receipts(1, list(poison)).values())
        assert len(fresh.sink.ids) == len(set(fresh.sink.ids))


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
        [(6.0, 10.0, 5), (30.0, 70.0, 5), (400.0, 610.0, 5), (3000.0, 3700.0, 60), (100_000.0, 49 * 3600.0, 600)],
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

    def test_a_row_that_comes_before_all_that_the_lane_began_with(self, tmp_path: Path) -> None:
        """Whatever was written as the lane began is delivered within the hour, by whichever relay works it then."""
        world = World(tmp_path, pace=Pace(poll=60), lease=10.0)
        row = world.table.drawn(*world.made("late"))
        world.commit("early")
        world.run(60)
        world.table.show(row)

        world.run(1800)
        world.clock.advance(20)
        world.run(1800, world.another("next"))
        swept = world.ledger.cursors(1)["daily"].moved_at
        world.clock.advance(20)
        world.run(20 * 3600, world.another("third"))

        assert ["early", "late"] == world.sink.ids
        assert (timedelta(hours=1), swept) == (swept - BEGIN, world.ledger.cursors(1)["daily"].moved_at)

    def test_a_relay_that_was_killed_before_it_could_read_again(self, tmp_path: Path) -> None:
        """The next one reads again what the tail had passed, though nothing had been read again yet."""
        world = World(tmp_path, lease=10.0)
        world.run(0)
        row = world.table.drawn(*world.made("late"))
        world.commit("early")
        world.run(5)
        world.table.show(row)

        world.clock.advance(20)
        world.run(10, world.another("next"))

        assert ["early", "late"] == world.sink.ids


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

    @pytest.mark.parametrize(
        ("lease", "deadline", "longest"),
        [(60.0, 30.0, 60.0), (60.0, 90.0, 100.0), (15.0, 5.0, 15.0), (1.0, 2.0, 2.5)],
        ids=["by default", "a slow sink", "short", "shorter than the deadline"],
    )
    def test_how_long_a_lane_waits_for_one_that_was_killed(
        self, tmp_path: Path, lease: float, deadline: float, longest: float
    ) -> None:
        """As long as the lease, or the deadline of the sink and twice a margin of 5 s, or of a quarter of the lease."""
        world = World(tmp_path, lease=lease)
        world.sink.deadline = deadline
        world.rebind()
        world.run(60)
        world.commit("one")
        world.run(10)

        killed_at = world.clock.monotonic()
        held = world.lane.leased_until - world.now()
        world.commit("two")
        world.run(2 * longest, world.another("second"))

        assert ["one", "two"] == world.sink.ids
        assert longest / 2 <= held.total_seconds() <= longest
        assert world.sink.calls[-1][0] - killed_at <= longest + 5

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

    @pytest.mark.parametrize(("slow_at", "sent"), [("e00000", 0), ("e00150", 100)])
    def test_a_lease_that_cannot_be_renewed_before_a_call(self, world: World, slow_at: str, sent: int) -> None:
        """Nothing more is sent, and what was taken before counts."""
        names = ids(300)

        def slow(event: Any) -> Any:
            if event.id == slow_at:
                world.clock.advance(300)
                assert world.ledger.acquire(world.lane.number, "second", 60)
            return event

        world.rebind(transform=slow)
        world.run(0)
        world.commit(*names)
        world.clock.advance(5)
        with pytest.raises(LeaseLostError):
            while True:
                world.worker.step()

        assert names[:sent] == [name for _, batch in world.sink.calls for name in batch]
        assert dict.fromkeys(names[:sent], State.COMPLETED) == world.states()

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

    def test_what_is_written_on_the_side_fails_while_the_next_page_goes_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither page is sent again."""
        world = World(tmp_path, page=2)
        world.run(0)
        record, failing = world.ledger.record, iter([OSError()])

        def fails_once(lane: int, receipts: Any, *rest: Any) -> bool:
            for error in failing if receipts else ():
                raise error
            return bool(record(lane, receipts, *rest))

        monkeypatch.setattr(world.ledger, "record", fails_once)
        world.commit(*ids(6))
        world.clock.advance(5)
        with pytest.raises(OSError):  # noqa: PT011
            while True:
                world.worker.step()
        world.worker.doubt()
        world.run(60)

        assert ids(6) == world.sink.ids
        assert dict.fromkeys(ids(6), State.COMPLETED) == world.states()
        assert ids(6) == [delivered.audit_event_id for delivered in world.telemetry.of(Delivered)]

    def test_a_lease_that_cannot_be_asked_for_between_two_calls(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the sink has taken by then is not sent again."""
        renew, names = world.ledger.renew, ids(300)

        def slow(event: Any) -> Any:
            if event.id == "e00150":
                world.clock.advance(50)
            return event

        world.rebind(transform=slow)
        world.run(0)
        world.commit(*names)
        monkeypatch.setattr(world.ledger, "renew", raises(KeyError()))
        world.clock.advance(5)
        with pytest.raises(KeyError):
            while True:
                world.worker.step()
        world.worker.doubt()
        monkeypatch.setattr(world.ledger, "renew", renew)
        world.run(100)

        assert names == world.sink.ids
        assert dict.fromkeys(names, State.COMPLETED) == world.states()


class TestPace:
    """How fast it goes."""

    def test_no_faster_than_it_may(self, tmp_path: Path) -> None:
        """Neither what is new nor what was there."""
        world = World(tmp_path, rate=10.0)
        world.commit(*ids(30, "old"))
        world.run(0)
        world.commit(*ids(70, "new"))

        counts = []
        for _ in range(13):
            world.run(1)
            counts.append(len(world.sink.ids))

        assert all(count <= 10 * (second + 2) for second, count in enumerate(counts))
        assert 100 == counts[-1]

    def test_what_a_slow_sink_has_taken_is_written_down_meanwhile(self, tmp_path: Path) -> None:
        """A kill repeats no more than a second's worth, and the lease is kept."""
        world = World(tmp_path, lease=60.0)
        world.run(0)
        world.sink.max_events = 1
        world.rebind()
        kept: list[int] = []

        def slow(_: Any) -> None:
            world.clock.advance(2)
            kept.append(len(world.states()))

        world.sink.rule = slow
        world.commit(*ids(100))
        world.run(500)

        assert list(range(100)) == kept
        assert (ids(100), 3) == (world.sink.ids, world.ledger.acquire(1, "first", 1).epoch)

    def test_others_that_go_first_have_their_time(self, tmp_path: Path) -> None:
        """What a queue has delivered meanwhile is not sent again; what it has lost is."""
        world = World(tmp_path, pace=Pace(poll=5, grace=60))
        world.run(0)
        taken, lost = world.commit("taken", "lost")
        world.run(30)
        assert "ok" == world.host.perform(JobArgs("siem", taken.id)).outcome.value
        began = len(world.sink.calls)

        world.run(29)
        assert began == len(world.sink.calls)
        world.run(6)
        assert [lost.id] == world.sink.calls[-1][1]
        world.run(3600)
        assert began + 1 == len(world.sink.calls)


class TestGracefulEnd:
    """It is told to stop."""

    def test_the_batch_in_hand_is_settled(self, world: World) -> None:
        """And nothing more is sent; the next one goes on from there."""
        answers = [True, False]
        world.worker.let_go()
        worker = world.another("second", goes_on=lambda: answers.pop(0) if answers else False)
        worker.step()
        world.commit(*ids(250))
        world.clock.advance(5)

        for _ in range(5):
            worker.step()
        worker.let_go()
        first = list(world.sink.ids)
        world.run(5)

        assert ids(100) == first
        assert sorted(world.sink.ids) == ids(250)

    def test_those_that_have_failed_before_are_left_as_well(self, fresh: World) -> None:
        """What is due stays due."""
        fresh.commit("e")
        fresh.ledger.record(1, [due("e", fresh.now())])

        fresh.another(goes_on=lambda: False).step()

        assert ([], State.RETRYABLE) == (fresh.sink.ids, fresh.states()["e"])


def due(name: str, now: Any, **fields: Any) -> Receipt:
    """Return a receipt that is due."""
    return evolve(Receipt(name, now, State.RETRYABLE, now, now, due_at=now, reason="http_500"), **fields)


class TestWhatIsDue:
    """What has failed is tried again in time."""

    def test_it_is_tried_again_when_it_is_due(self, fresh: World) -> None:
        """Not before, and the yes settles it with one attempt more."""
        fresh.commit("other", "e")
        fresh.ledger.record(1, [due("e", fresh.now(), due_at=fresh.now() + timedelta(seconds=100), attempt=4)])
        fresh.run(99)
        assert ["other"] == fresh.sink.ids

        fresh.run(10)

        receipt: Any = fresh.receipt("e")
        assert (["other", "e"], State.COMPLETED, 5) == (fresh.sink.ids, receipt.state, receipt.attempt)

    def test_what_was_replayed_goes_in_batches(self, fresh: World) -> None:
        """It has not failed in its generation."""
        names = ids(150)
        fresh.commit(*names)
        fresh.ledger.record(1, [due(name, fresh.now(), reason=None, attempt=0, generation=2) for name in names])

        fresh.run(1)

        assert [100, 50] == [len(batch) for _, batch in fresh.sink.calls]
        assert {2} == {receipt.generation for receipt in fresh.ledger.page(1, "", 1000)}

    def test_more_than_a_page_of_it(self, tmp_path: Path) -> None:
        """It is paid page by page."""
        fresh = World(tmp_path, page=10)
        names = ids(35)
        fresh.commit(*names)
        fresh.ledger.record(1, [due(name, fresh.now(), reason=None) for name in names])

        fresh.run(1)

        assert names == sorted(fresh.sink.ids)

    def test_a_sink_that_stops_leaves_the_rest(self, fresh: World) -> None:
        """Those that have failed before are not tried when those that have not have stopped it."""
        fresh.commit("fresh", "known")
        fresh.ledger.record(1, [due("fresh", fresh.now(), reason=None), due("known", fresh.now())])
        fresh.sink.rule = lambda _: SinkError("http_503", retry_after=60)

        fresh.run(10)

        assert [["fresh"]] == [batch for _, batch in fresh.sink.calls]

    def test_rows_that_are_gone_unreadable_or_not_wanted_are_put_off(self, fresh: World) -> None:
        """They are looked at again in an hour, charged nothing, and say why."""
        for name in ("gone", "torn", "other", "fine"):
            fresh.commit(name, action="other" if name == "other" else "session.create")
            fresh.ledger.record(1, [due(name, fresh.now())])
        fresh.table.delete("gone")
        fresh.table.unreadable.add("torn")
        fresh.rebind(actions=("session.*",))
        before = fresh.now()

        fresh.run(1)

        receipts = {receipt.audit_event_id: receipt for receipt in fresh.ledger.page(1, "", 10)}
        reasons = {"gone": "audit_event_not_found", "torn": "unreadable_row", "other": "not_routed", "fine": None}
        assert reasons == {name: receipt.reason for name, receipt in receipts.items()}
        assert {3600} == {(receipts[name].due_at - before).seconds for name in ("gone", "torn", "other")}
        assert [1, 1, 1] == [receipts[name].attempt for name in ("gone", "torn", "other")]

    def test_a_reused_id_is_another_event(self, fresh: World) -> None:
        """What is due of the row that had it before does not count."""
        fresh.ledger.record(1, [due("e", fresh.now() - timedelta(days=1), attempt=7)])
        fresh.commit("e")

        fresh.run(1)

        receipt: Any = fresh.receipt("e")
        assert (State.COMPLETED, 1, 2, ["e"]) == (receipt.state, receipt.attempt, receipt.generation, fresh.sink.ids)


class TestRowsThatCannotBeRead:
    """A row that is no event stays owed."""

    def test_it_is_told_and_stops_nothing(self, world: World) -> None:
        """It is told when it is new and at each sweep, and is delivered when it can be read."""
        world.commit("one", "torn", "two")
        world.table.unreadable.add("torn")
        world.run(900)
        told = [(failed.audit_event_id, failed.reason, failed.detail) for failed in world.telemetry.of(Failed)]
        world.run(3600)
        again = len(world.telemetry.of(Failed))

        world.table.unreadable.clear()
        world.run(3700)

        sweeps = ["hourly", "daily"]  # both come when the lane is an hour old
        assert ([("torn", "unreadable_row", "metadata is no JSON")], 1 + len(sweeps)) == (told, again)
        assert ["one", "two", "torn"] == world.sink.ids

    def test_a_route_that_cannot_tell_is_the_events_fault(self, world: World) -> None:
        """It is charged, and tried again, in the tail and when it is due."""
        broken = [True]

        def where(event: Any) -> bool:
            if event.id == "odd" and broken[0]:
                raise KeyError
            return bool(event.id != "unwanted")

        world.rebind(where=where)
        world.commit("one", "odd", "unwanted", "two")
        world.run(100)
        receipt: Any = world.receipt("odd")
        broken[0] = False
        world.run(100)

        assert ("KeyError", 2) == (receipt.reason, receipt.attempt)
        assert ["one", "two", "odd"] == world.sink.ids
        assert world.receipt("unwanted") is None


def test_a_probe_draws_from_what_is_due_where_nothing_is_new(world: World) -> None:
    """One event that is due, and another; the first yes closes the breaker."""
    names = ids(3)
    world.commit(*names)
    world.run(5)
    world.ledger.record(1, [due(name, world.now()) for name in ("x", "y")])
    world.table.add(world.made("x")[0])
    world.table.add(world.made("y")[0])
    world.ledger.block(1, 10)

    world.run(60)

    assert {"x", "y"} <= set(world.sink.ids)
    assert world.lane.blocked_until is None


def test_a_breaker_that_ends_with_nothing_owed_is_closed(world: World) -> None:
    """There is nothing to probe with."""
    world.ledger.block(1, 10)

    world.run(60)

    assert (None, []) == (world.lane.blocked_until, world.sink.calls)


def test_an_outage_while_what_was_there_before_goes_out(fresh: World) -> None:
    """The probes draw from what the sweep has yet to read, and it goes on when the sink is back."""
    names = ids(300)
    fresh.commit(*names)
    fresh.sink.rule = lambda _: SinkError("http_503")
    fresh.run(600)
    calls = fresh.sink.calls_since(1)
    fresh.sink.rule = lambda _: None
    fresh.run(60)

    assert {1} == {len(batch) for batch in calls}
    assert names == sorted(fresh.sink.ids)


def test_the_lease_is_kept_though_there_is_little_to_look_at(tmp_path: Path) -> None:
    """A poll that is longer than the lease costs nobody the lane."""
    world = World(tmp_path, pace=Pace(poll=300), lease=60.0)
    world.run(0)
    for _ in range(20):
        world.run(15)
        assert world.ledger.acquire(1, "second", 60) is None


def test_hourly_sweeps_that_come_more_often(tmp_path: Path) -> None:
    """Each of them reads the last day, whatever they are told to be called."""
    world = World(tmp_path, pace=Pace(poll=60, hourly=600, rereads=()))
    world.run(0)
    row = world.table.drawn(*world.made("late"))
    world.commit("early")
    world.run(7000)
    world.table.show(row)

    world.run(700)

    assert ["early", "late"] == world.sink.ids


def test_the_hourly_sweep_reads_a_day_and_no_more(tmp_path: Path) -> None:
    """It begins where the tail stood a day ago."""
    world = World(tmp_path, pace=Pace(poll=600, rereads=(), daily=10**9))
    world.run(0)
    for number in range(50):
        world.commit(f"hour{number:02}")
        world.run(3600)
    began: list[Any] = []
    scan = world.table.scan

    def noted(after: Any, *rest: Any, **options: Any) -> Any:
        began.append((after, options["until"]))
        return scan(after, *rest, **options)

    world.table.scan = noted  # type: ignore[method-assign]

    world.run(3600)  # up to hour 51

    (sweep,) = {after for after, until in began if until is not None}
    assert 24 <= 51 - int(sweep) <= 25
