"""`replay`: send again what was settled. `excuse`: say why a dead letter shall not go out."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from sigra_forward import ConfigurationError, State
from sigra_forward.operations import Replayed, excuse, replay
from tests.relay.support_lane import BEGIN
from tests.support_perform import raises

SECOND = timedelta(seconds=1)


@pytest.fixture
def settled(world: Any) -> Any:
    """Give a lane with two receipts of each state, a second apart, which the tail has passed."""
    for number, state in enumerate([each for each in State for _ in range(2)]):
        name = f"{state.value} {number % 2}"
        world.commit(name, action=f"{state.value}.{number % 2}", occurred_at=BEGIN + number * SECOND)
        world.settle(state, name, reason=f"reason {number % 2}")
    return world


def replayed(world: Any, **options: Any) -> list[str]:
    """Replay, and return what that has changed, once it is seen that a dry run counts the same and does nothing."""
    lane = world.lane.number
    before = {each.audit_event_id: each for each in world.ledger.page(lane, "", 100)}
    dry = replay(world.operated, "siem", dry_run=True, **options)
    unchanged = {each.audit_event_id: each for each in world.ledger.page(lane, "", 100)}
    done = replay(world.operated, "siem", **options)
    after = {each.audit_event_id: each for each in world.ledger.page(lane, "", 100)}
    changed = [name for name in after if after[name] != before[name]]
    assert (before, True, False, dry.count) == (unchanged, dry.dry_run, done.dry_run, done.count)
    assert len(changed) == done.count
    return changed


DEAD = ["cancelled 0", "cancelled 1", "discarded 0", "discarded 1"]

CHOICES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "dead letters": (DEAD, {}),
    "a state": (["completed 0", "completed 1"], {"states": [State.COMPLETED]}),
    "no state": ([], {"states": []}),
    "ids": (["cancelled 1", "completed 0"], {"ids": ["completed 0", "nobody", "cancelled 1", "completed 0"]}),
    "ids of a state": (["cancelled 1"], {"ids": ["completed 0", "cancelled 1"], "states": [State.CANCELLED]}),
    "no ids": ([], {"ids": []}),
    "a reason": (["cancelled 1", "discarded 1"], {"reason": "reason 1"}),
    "an action": (["discarded 1"], {"actions": ["discarded.1"]}),
    "a prefix": (["cancelled 0", "cancelled 1", "discarded 0"], {"actions": ["cancelled*", "discarded.0"]}),
    "since": (["cancelled 1", "discarded 0", "discarded 1"], {"since": BEGIN + 5 * SECOND}),
    "until": (["cancelled 0"], {"until": BEGIN + 5 * SECOND}),
    "all of it": (
        ["retryable 1"],
        {"since": BEGIN + SECOND, "until": BEGIN + 5 * SECOND, "states": list(State), "reason": "reason 1"}
        | {"actions": ["retryable*"]},
    ),
}


@pytest.mark.parametrize(("expected", "options"), CHOICES.values(), ids=list(CHOICES))
def test_what_is_chosen_is_made_due(settled: Any, expected: list[str], options: dict[str, Any]) -> None:
    """And nothing else; a dry run counts it exactly."""
    assert expected == replayed(settled, **options)


def test_it_is_sent_again_under_the_same_key(settled: Any) -> None:
    """In the next generation, at once, in batches as what is new."""
    settled.take_over()
    settled.sink.calls.clear()

    done = replay(settled.operated, "siem", states=[State.COMPLETED, State.DISCARDED])
    settled.run(10)

    names = ["completed 0", "completed 1", "discarded 0", "discarded 1"]
    assert (4, 0) == (done.count, done.skipped)
    assert [names] == [sorted(call) for _, call in settled.sink.calls]
    assert {(State.COMPLETED, 2)} == {(settled.receipt(name).state, settled.receipt(name).generation) for name in names}


def test_it_is_begun_anew_in_what_it_is_charged(settled: Any) -> None:
    """Attempts, and the time that a dead letter takes, are counted from the replay on."""
    settled.take_over()
    settled.sink.rule = lambda event: ValueError() if event.id == "discarded 0" else None
    replay(settled.operated, "siem", ids=["discarded 0", "discarded 1"])

    settled.run(10)

    receipt = settled.receipt("discarded 0")
    assert (State.RETRYABLE, 1, 2) == (receipt.state, receipt.attempt, receipt.generation)


def test_a_replay_that_was_killed_is_finished(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another one as of the same moment: nothing is raised twice, though it was sent meanwhile and failed again."""
    names = [str(number) for number in range(10)]
    world.commit(*names)
    world.run(0)
    world.clock.advance(1)
    monkeypatch.setattr("sigra_forward.operations._replay.PAGE", 2)
    raise_some, calls = world.ledger.replay, iter(range(100))

    def killed(*arguments: Any) -> int:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return raise_some(*arguments)

    monkeypatch.setattr(world.ledger, "replay", killed)
    as_of = world.now()
    with pytest.raises(KeyboardInterrupt):
        replay(world.operated, "siem", states=[State.COMPLETED], as_of=as_of)
    generations = [each.generation for each in world.ledger.page(1, "", 100)]
    monkeypatch.setattr(world.ledger, "replay", raise_some)
    world.clock.advance(1)
    world.run(10)

    done = replay(world.operated, "siem", states=[State.COMPLETED], as_of=as_of)

    assert [2] * 4 + [1] * 6 == generations
    assert Replayed(count=6, skipped=0, as_of=as_of, dry_run=False) == done
    assert [2] * 10 == [each.generation for each in world.ledger.page(1, "", 100)]


def test_a_second_replay_is_one_of_its_own(settled: Any) -> None:
    """As of its own moment, by the ledger's clock."""
    first = replay(settled.operated, "siem", ids=["completed 0"])
    settled.clock.advance(1)

    second = replay(settled.operated, "siem", ids=["completed 0"])

    assert [(settled.now() - SECOND, 1), (settled.now(), 1)] == [(each.as_of, each.count) for each in (first, second)]
    assert 3 == settled.receipt("completed 0").generation


class TestWhatCannotBeSent:
    """It is counted, and let be."""

    def test_rows_that_are_not_there(self, world: Any) -> None:
        """Gone, not to be read, not wanted, of another event, or below the floor."""
        world.commit("gone", "unreadable", "other", "unwanted", "right")
        world.commit("old", occurred_at=BEGIN - SECOND)
        world.settle(State.COMPLETED, "gone", "unreadable", "unwanted", "right", "old")
        world.settle(State.COMPLETED, "other", occurred_at=BEGIN)
        world.table.delete("gone")
        world.table.unreadable.add("unreadable")
        operated = world.seen(where=lambda event: event.id != "unwanted")

        done = replay(operated, "siem", states=[State.COMPLETED])
        operated.close()

        assert (1, 5) == (done.count, done.skipped)
        assert ["right"] == world.due_ids()

    def test_what_the_route_cannot_tell_is_sent(self, settled: Any) -> None:
        """Then it is charged with it."""
        operated = settled.seen(where=raises(KeyError()))

        done = replay(operated, "siem")
        operated.close()

        assert (4, 0) == (done.count, done.skipped)


class TestTheRate:
    """However much is replayed, what is new has its share."""

    def test_so_many_become_due_a_second(self, world: Any) -> None:
        """They are spread over the time that they take."""
        names = [f"{number:03}" for number in range(100)]
        world.commit(*names)
        world.settle(State.DISCARDED, *names)
        now = world.now()

        done = replay(world.operated, "siem", rate=10)

        dues = [(world.receipt(name).due_at - now).total_seconds() for name in names]
        assert (100, [float(number // 10) for number in range(100)]) == (done.count, dues)

    @pytest.mark.parametrize(("rate", "expected"), [(0.5, [0, 2, 4]), (10**9, [0, 0, 0])])
    def test_few_or_many(self, world: Any, rate: float, expected: list[float]) -> None:
        """One in two seconds, or a page at a time."""
        world.commit("1", "2", "3")
        world.settle(State.DISCARDED, "1", "2", "3")
        now = world.now()

        replay(world.operated, "siem", rate=rate)

        assert expected == [(world.receipt(name).due_at - now).total_seconds() for name in "123"]

    def test_without_one_the_relay_takes_turns(self, world: Any) -> None:
        """What is committed while thousands are due goes out between them."""
        names = [f"{number:04}" for number in range(1000)]
        world.commit(*names)
        world.settle(State.DISCARDED, *names)
        world.take_over(page=100)
        replay(world.operated, "siem")
        world.sink.ids.clear()
        world.commit("new")
        world.clock.advance(60)

        world.run(0)

        assert (1001, True) == (len(world.sink.ids), world.sink.ids.index("new") <= 200)


class TestMistakes:
    """They are said before anything is done."""

    OPTIONS = {
        "ids": ({"ids": "1"}, "^replay: ids must be a sequence of texts$"),
        "an id": ({"ids": [1]}, "^replay: ids must be a sequence of texts$"),
        "states": ({"states": ["completed"]}, "^replay: states must be a sequence of State$"),
        "actions": ({"actions": "auth.*"}, "^replay: actions must be a sequence of texts$"),
        "no actions": ({"actions": []}, "actions"),
        "rate": ({"rate": 0}, "^replay: rate must be a finite number of more than 0$"),
        "since": (
            {"since": BEGIN.replace(tzinfo=None)},
            r"^replay\(since=\.\.\.\) must be a datetime with a time zone$",
        ),
        "as_of": ({"as_of": 5}, r"^replay\(as_of=\.\.\.\) must be a datetime with a time zone$"),
    }

    @pytest.mark.parametrize(("options", "words"), OPTIONS.values(), ids=list(OPTIONS))
    def test_an_option_makes_no_sense(self, settled: Any, options: dict[str, Any], words: str) -> None:
        """It says which one, and what is allowed."""
        with pytest.raises(ConfigurationError, match=words):
            replay(settled.operated, "siem", **options)

    def test_a_name_that_is_none(self, world: Any) -> None:
        """It says which there are."""
        with pytest.raises(ConfigurationError, match=r"those of the AuditForward are: siem$"):
            replay(world.operated, "nobody")


class TestExcuse:
    """A dead letter that shall not go out."""

    def test_a_dead_letter_is_excused(self, settled: Any) -> None:
        """It stays where it is, and says why; a replay takes that back."""
        is_there = excuse(settled.operated, "siem", "cancelled 0", "agreed with legal")
        receipt = settled.receipt("cancelled 0")
        replay(settled.operated, "siem", ids=["cancelled 0"])

        assert (True, State.CANCELLED, "agreed with legal") == (is_there, receipt.state, receipt.excuse)
        assert settled.receipt("cancelled 0").excuse is None

    @pytest.mark.parametrize("name", ["completed 0", "retryable 0", "nobody"])
    def test_nothing_else_is(self, settled: Any, name: str) -> None:
        """Whoever asks is told."""
        assert not excuse(settled.operated, "siem", name, "agreed")

    def test_the_forwarder_may_be_gone(self, world: Any) -> None:
        """Its lane is there."""
        world.ledger.lane("audit_events", "retired", BEGIN)

        assert not excuse(world.operated, "retired", "1", "agreed")
        with pytest.raises(
            ConfigurationError,
            match=r"^the ledger has no lane of that name; those of 'audit_events' are: siem, retired$",
        ):
            excuse(world.operated, "nobody", "1", "agreed")

    @pytest.mark.parametrize("why", ["", " ", None])
    def test_it_says_something(self, world: Any, why: Any) -> None:
        """An excuse is for whoever asks later."""
        with pytest.raises(ConfigurationError, match=r"^excuse\(why=\.\.\.\) must be a str that says something$"):
            excuse(world.operated, "siem", "1", why)


def test_all_moments_are_in_order(world: Any) -> None:
    """What a replay made due first is due first."""
    names = [f"{number:02}" for number in range(30)]
    world.commit(*names)
    world.settle(State.DISCARDED, *names)

    replay(world.operated, "siem", rate=7)

    dues = [world.receipt(name).due_at for name in names]
    assert all(before <= after for before, after in pairwise(dues))
