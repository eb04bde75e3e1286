"""`LedgerContract`: what every ledger promises."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from attrs import evolve

from sigra_forward._bridge import Bridge
from sigra_forward._ledger import Cursor, FailedAttempt, Lane, Lease, Receipt
from sigra_forward._outcome import Ack, State
from sigra_forward.testing.contracts._hostile import run_in_threads

MOMENT = datetime(2026, 1, 31, 9, 30, 0, 123456, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)

_FINAL = (State.COMPLETED, State.CANCELLED, State.DISCARDED)


class LedgerContract:
    """
    Hold a ledger, sync or async, to the port's promises.

    Give the fixture ``ledger``, with nothing in it, and ``other_ledger``, another object on the same database.
    """

    @pytest.fixture
    def lane(self, ledger: Any) -> int:
        """Give the number of a lane."""
        return _lane(ledger).number

    # The schema.

    def test_is_created_once(self, ledger: Any) -> None:
        """Creating what is there already changes nothing."""
        lane = _lane(ledger)
        ask(ledger.create)

        assert [lane] == ask(ledger.lanes)

    # Lanes.

    def test_a_lane_keeps_its_number_and_its_floor(self, ledger: Any, other_ledger: Any) -> None:
        """Whoever asks later, with a later floor, gets the lane as it was made."""
        lane = _lane(ledger)

        again = ask(other_ledger.lane, lane.source, lane.forwarder, MOMENT + SECOND)

        assert (lane, MOMENT, None) == (again, lane.floor, lane.blocked_until)

    def test_lanes_are_told_apart_by_source_and_forwarder(self, ledger: Any) -> None:
        """Names that differ in case or in a trailing blank alone are names of their own."""
        names = [("audit", "siem"), ("audit", "SIEM"), ("Audit", "siem"), ("audit", "siem ")]

        lanes = [ask(ledger.lane, *name, MOMENT) for name in names]

        assert (len(names), lanes) == (len({lane.number for lane in lanes}), ask(ledger.lanes))
        assert names == [(lane.source, lane.forwarder) for lane in lanes]

    def test_one_lane_is_made_by_many_at_once(self, ledger: Any) -> None:
        """Several processes that start together make one lane of it."""
        made: list[Lane] = []

        run_in_threads([lambda: made.append(_lane(ledger))] * 8)

        assert [made[0]] * 8 == made

    # Receipts.

    def test_a_receipt_comes_back_as_it_was(self, ledger: Any, lane: int) -> None:
        """Every field, to the microsecond."""
        receipts = [
            _receipt("1", State.COMPLETED, ack=Ack("ref", "202", "digest"), attempt=3),
            _receipt("2", State.RETRYABLE, due_at=MOMENT + 2 * SECOND, reason="http_503", detail="ü \u2028 '\"\\ 🔐"),
            _receipt("3", State.CANCELLED, reason="schema_mismatch", ack=Ack(), excuse="agreed with legal"),
            _receipt("4", State.DISCARDED, generation=2, first_at=MOMENT - SECOND, last_at=MOMENT + SECOND),
        ]

        ask(ledger.record, lane, receipts)

        assert {receipt.audit_event_id: receipt for receipt in receipts} == ask(
            ledger.receipts, lane, ["1", "2", "3", "4", "5"]
        )

    @pytest.mark.parametrize("other", ["A1", "a1 ", " a1", "á1", "a1\u200b", "a", "'", "a\ud800"])
    def test_an_id_that_differs_in_case_or_blanks_is_another(self, ledger: Any, lane: int, other: str) -> None:
        """Nothing is folded or trimmed."""
        ask(ledger.record, lane, [_receipt("a1", State.COMPLETED)])

        assert {} == ask(ledger.receipts, lane, [other])

    def test_lanes_have_receipts_of_their_own(self, ledger: Any, lane: int) -> None:
        """What one lane has paid, another owes."""
        other = ask(ledger.lane, "audit_events", "archive", MOMENT).number
        ask(ledger.record, lane, [_receipt("1", State.COMPLETED)])

        assert [1, 0] == [len(ask(ledger.receipts, number, ["1"])) for number in (lane, other)]

    def test_no_ids_have_no_receipts(self, ledger: Any, lane: int) -> None:
        """An empty page asks for nothing."""
        assert {} == ask(ledger.receipts, lane, [])

    def test_a_page_may_be_long(self, ledger: Any, lane: int) -> None:
        """Several thousand receipts are written and asked for at once."""
        ids = [f"{number:06}" for number in range(5000)]

        ask(ledger.record, lane, [_receipt(audit_event_id, State.COMPLETED) for audit_event_id in ids])

        assert set(ids) == set(ask(ledger.receipts, lane, ids))

    # What replaces what.

    @pytest.mark.parametrize("state", [state for state in State if state is not State.COMPLETED])
    @pytest.mark.parametrize("before", [state for state in State if state is not State.COMPLETED])
    def test_whoever_performs_writes_where_nothing_stands(
        self, ledger: Any, lane: int, before: State, state: State
    ) -> None:
        """What stands in this generation is not replaced by a failure of somebody without the lease."""
        first, second = _receipt("1", before), _receipt("1", state, reason="later", attempt=2)

        assert [True, True] == [ask(ledger.record, lane, [receipt]) for receipt in (first, second)]
        assert first == ask(ledger.receipts, lane, ["1"])["1"]

    @pytest.mark.parametrize("before", list(State))
    def test_a_yes_is_taken_from_anyone(self, ledger: Any, lane: int, before: State) -> None:
        """The sink has the event, whatever was thought of it, and the first yes stands."""
        first, second = _receipt("1", before), _receipt("1", State.COMPLETED, ack=Ack("2"), last_at=MOMENT + SECOND)
        ask(ledger.record, lane, [first])

        ask(ledger.record, lane, [second])

        expected = first if before is State.COMPLETED else second
        assert expected == ask(ledger.receipts, lane, ["1"])["1"]

    @pytest.mark.parametrize("state", list(State))
    @pytest.mark.parametrize("before", list(State))
    def test_the_holder_of_the_lease_settles_what_is_retryable(
        self, ledger: Any, lane: int, before: State, state: State
    ) -> None:
        """It replaces what was to be tried again, and nothing that is final but by a yes."""
        lease = _lease(ledger, lane)
        first, second = _receipt("1", before), _receipt("1", state, reason="later", attempt=2)
        ask(ledger.record, lane, [first])

        assert ask(ledger.record, lane, [second], lease)

        is_replaced = before is State.RETRYABLE or (state is State.COMPLETED and before is not State.COMPLETED)
        assert (second if is_replaced else first) == ask(ledger.receipts, lane, ["1"])["1"]

    @pytest.mark.parametrize("with_lease", [True, False])
    @pytest.mark.parametrize("state", list(State))
    @pytest.mark.parametrize("before", list(State))
    def test_another_event_under_a_reused_id(
        self, ledger: Any, lane: int, before: State, state: State, with_lease: bool
    ) -> None:
        """A receipt of an event of another time pays nothing, and is replaced under the next generation."""
        lease = _lease(ledger, lane) if with_lease else None
        ask(ledger.record, lane, [_receipt("1", before, generation=3)])
        new = _receipt("1", state, occurred_at=MOMENT + 2 * SECOND)

        ask(ledger.record, lane, [new], lease)

        assert evolve(new, generation=4) == ask(ledger.receipts, lane, ["1"])["1"]

    @pytest.mark.parametrize("rounded", [SECOND, -SECOND, timedelta(0)])
    def test_a_rounded_time_is_of_the_same_event(self, ledger: Any, lane: int, rounded: timedelta) -> None:
        """A second is what stores may round by."""
        first = _receipt("1", State.DISCARDED)
        ask(ledger.record, lane, [first])

        ask(ledger.record, lane, [_receipt("1", State.RETRYABLE, occurred_at=MOMENT + rounded)])

        assert first == ask(ledger.receipts, lane, ["1"])["1"]

    @pytest.mark.parametrize("state", list(State))
    def test_what_is_of_an_earlier_generation_is_not_taken(self, ledger: Any, lane: int, state: State) -> None:
        """A yes to what was sent before a replay is no yes to the replay."""
        lease = _lease(ledger, lane)
        replayed = _receipt("1", State.RETRYABLE, generation=2)
        ask(ledger.record, lane, [replayed])

        for lease_or_none in (lease, None):
            ask(ledger.record, lane, [_receipt("1", state)], lease_or_none)

        assert replayed == ask(ledger.receipts, lane, ["1"])["1"]

    def test_writers_at_once_keep_the_rules(self, ledger: Any, lane: int) -> None:
        """Several threads write the same receipts: a yes wins, whoever comes first."""
        ids = [str(number) for number in range(20)]

        def write(state: State, order: list[str]) -> None:
            for audit_event_id in order:
                ask(ledger.record, lane, [_receipt(audit_event_id, state, reason=state.value)])

        writers = [partial(write, state, order) for state in State for order in (ids, ids[::-1])]
        run_in_threads(writers)

        receipts = ask(ledger.receipts, lane, ids)
        assert {State.COMPLETED: 20} == _count(receipts.values())

    def test_batches_at_once_do_not_block_each_other_for_ever(self, ledger: Any, lane: int) -> None:
        """Batches that hold the same events in different orders all come through."""
        ids = [f"{number:03}" for number in range(100)]

        def write(order: list[str], state: State) -> None:
            for _ in range(5):
                ask(ledger.record, lane, [_receipt(audit_event_id, state) for audit_event_id in order])

        run_in_threads([partial(write, ids[start::2] + ids[::-1][start::2], State.COMPLETED) for start in (0, 1) * 3])

        assert 100 == len(ask(ledger.receipts, lane, ids))

    # Failed attempts.

    def test_failed_attempts_are_kept(self, ledger: Any, lane: int) -> None:
        """Each failure is kept beside the receipt, in their order."""
        lease = _lease(ledger, lane)
        failures = [FailedAttempt("1", 1, number, MOMENT + number * SECOND, f"no {number}", "why") for number in (1, 2)]
        failures.append(FailedAttempt("1", 2, 1, MOMENT))
        for failure in reversed(failures):
            ask(ledger.record, lane, [_receipt("1", State.RETRYABLE)], lease, None, [failure])

        assert failures == list(ask(ledger.attempts, lane, "1"))
        assert [] == list(ask(ledger.attempts, lane, "2"))

    # The one look before an event goes out.

    @pytest.mark.parametrize("state", [None, *State])
    def test_a_look_tells_the_receipt(self, ledger: Any, lane: int, state: State | None) -> None:
        """It is the one that stands, if there is one, in a lane whose breaker is closed."""
        receipts = [] if state is None else [_receipt("1", state, ack=Ack("ref"))]
        ask(ledger.record, lane, [*receipts, _receipt("2", State.COMPLETED)])

        look = ask(ledger.look, lane, "1")

        assert (receipts, None, False) == ([look.receipt] if look.receipt else [], look.blocked_until, look.is_blocked)
        assert abs(ask(ledger.now) - look.now) < 60 * SECOND

    def test_a_look_tells_the_breaker(self, ledger: Any, other_ledger: Any, lane: int) -> None:
        """It is open until a moment by the clock of the ledger, and then is not."""
        ask(other_ledger.block, lane, 60)
        opened = ask(ledger.look, lane, "1")
        ask(other_ledger.block, lane, None)
        ask(other_ledger.block, lane, 0)
        over = ask(ledger.look, lane, "1")
        ask(other_ledger.block, lane, None)

        assert [True, False, False] == [look.is_blocked for look in (opened, over, ask(ledger.look, lane, "1"))]

    # What is due, and how much is not completed.

    def test_what_is_due_comes_by_its_time(self, ledger: Any, lane: int) -> None:
        """Retryable receipts whose time has come, the longest due first, as many as are asked for."""
        now = ask(ledger.now)
        dues = {"1": now - SECOND, "2": now - 3 * SECOND, "3": now + 3600 * SECOND, "4": now - 2 * SECOND}
        receipts = [_receipt(name, State.RETRYABLE, due_at=due_at) for name, due_at in dues.items()]
        ask(ledger.record, lane, [*receipts, *(_receipt(state.value, state) for state in _FINAL)])

        due = [[receipt.audit_event_id for receipt in ask(ledger.due, lane, limit)] for limit in (2, 10)]

        assert [["2", "4"], ["2", "4", "1"]] == due
        assert now - 3 * SECOND == ask(ledger.next_due, lane)

    def test_nothing_is_due_where_nothing_failed(self, ledger: Any, lane: int) -> None:
        """An empty lane has no next time."""
        assert ([], None) == (list(ask(ledger.due, lane, 10)), ask(ledger.next_due, lane))

    def test_all_that_is_not_completed_is_counted(self, ledger: Any, lane: int) -> None:
        """Exactly, each state by itself, nought included."""
        empty = ask(ledger.counts, lane)
        states = [State.RETRYABLE] * 3 + [State.CANCELLED] * 2 + [State.COMPLETED] * 5
        ask(ledger.record, lane, [_receipt(str(number), state) for number, state in enumerate(states)])

        assert {State.RETRYABLE: 0, State.CANCELLED: 0, State.DISCARDED: 0} == empty
        assert {State.RETRYABLE: 3, State.CANCELLED: 2, State.DISCARDED: 0} == ask(ledger.counts, lane)

    def test_pages_hold_every_receipt_once(self, ledger: Any, lane: int) -> None:
        """In the order of their ids, byte by byte, of the states that are asked for."""
        ids = sorted(["a", "A", "á", "b ", "b", "10", "9", "~"], key=str.encode)
        receipts = [_receipt(name, _FINAL[number % 2]) for number, name in enumerate(ids)]
        ask(ledger.record, lane, receipts)

        found: list[str] = []
        while page := ask(ledger.page, lane, found[-1] if found else "", 3):
            found += [receipt.audit_event_id for receipt in page]

        assert ids == found
        cancelled = ask(ledger.page, lane, "", 100, [State.CANCELLED])
        assert ids[1::2] == [receipt.audit_event_id for receipt in cancelled]

    # What an operator does.

    def test_what_is_replayed_begins_anew(self, ledger: Any, lane: int) -> None:
        """It is due at once in the next generation, whatever it was, with nothing left of what was said of it."""
        states = list(State)
        told = {
            "reason": "why",
            "detail": "words",
            "ack": Ack("ref"),
            "attempt": 7,
            "excuse": "agreed",
            "generation": 2,
        }
        receipts = [_receipt(state.value, state, **told) for state in states]
        ask(ledger.record, lane, receipts)
        before = ask(ledger.now)

        count = ask(ledger.replay, lane, receipts)

        found = ask(ledger.receipts, lane, [state.value for state in states])
        after = ask(ledger.now)
        moments = {moment for each in found.values() for moment in (each.first_at, each.last_at, each.due_at)}
        assert (len(states), True) == (count, before <= min(moments) <= max(moments) <= after)
        for state in states:
            each = found[state.value]
            times = {"first_at": each.last_at, "last_at": each.last_at, "due_at": each.last_at}
            assert each == _receipt(state.value, State.RETRYABLE, attempt=0, generation=3, **times)
        assert len(states) == len(ask(ledger.due, lane, 10))

    def test_nothing_is_replayed_twice(self, ledger: Any, lane: int) -> None:
        """Only what still stands as it was given: a replay that is run again raises what the first one had not."""
        receipts = [_receipt(name, State.RETRYABLE if name == "3" else State.DISCARDED) for name in "123"]
        ask(ledger.record, lane, receipts)
        first = ask(ledger.replay, lane, [receipts[0], receipts[2]])

        assert (2, 1, 0) == (first, ask(ledger.replay, lane, receipts), ask(ledger.replay, lane, receipts))
        assert [2, 2, 2] == [each.generation for each in ask(ledger.receipts, lane, ["1", "2", "3"]).values()]

    def test_what_has_moved_on_is_not_replayed(self, ledger: Any, lane: int) -> None:
        """In its generation the state counts too; what is not there, or is another lane's, is let be."""
        other = ask(ledger.lane, "audit_events", "archive", MOMENT).number
        given = _receipt("1", State.RETRYABLE)
        ask(ledger.record, lane, [given])
        ask(ledger.record, other, [given])
        ask(ledger.record, lane, [_receipt("1", State.COMPLETED)])

        assert 0 == ask(ledger.replay, lane, [given, _receipt("2", State.RETRYABLE)])
        assert given == ask(ledger.receipts, other, ["1"])["1"]

    def test_what_is_replayed_may_be_due_later(self, ledger: Any, lane: int) -> None:
        """By so many seconds of the ledger's clock."""
        receipt = _receipt("1", State.CANCELLED)
        ask(ledger.record, lane, [receipt])

        ask(ledger.replay, lane, [receipt], 90.5)

        replayed = ask(ledger.receipts, lane, ["1"])["1"]
        assert timedelta(seconds=90.5) == replayed.due_at - replayed.last_at
        assert [] == list(ask(ledger.due, lane, 10))

    @pytest.mark.parametrize("state", list(State))
    def test_dead_letters_are_excused(self, ledger: Any, lane: int, state: State) -> None:
        """Nothing else is; whoever asks is told whether there was one."""
        receipt = _receipt("1", state, reason="why")
        ask(ledger.record, lane, [receipt])

        is_dead = state in {State.CANCELLED, State.DISCARDED}
        assert is_dead is ask(ledger.excuse, lane, "1", "agreed: 'ü'")
        assert (evolve(receipt, excuse="agreed: 'ü'") if is_dead else receipt) == ask(ledger.receipts, lane, ["1"])["1"]
        assert False is ask(ledger.excuse, lane, "2", "agreed")

    def test_an_excuse_may_be_said_again(self, ledger: Any, lane: int) -> None:
        """In the same words or in others."""
        ask(ledger.record, lane, [_receipt("1", State.CANCELLED)])

        assert [True] * 3 == [ask(ledger.excuse, lane, "1", why) for why in ("agreed", "agreed", "and again")]
        assert "and again" == ask(ledger.receipts, lane, ["1"])["1"].excuse

    def test_the_earliest_that_is_unpaid(self, ledger: Any, lane: int) -> None:
        """Of what is to be tried again, and of dead letters without an excuse; what is completed needs nothing."""
        moments = [MOMENT + number * SECOND for number in range(5)]
        states = [State.COMPLETED, State.CANCELLED, State.DISCARDED, State.RETRYABLE]
        nothing = ask(ledger.earliest_unpaid, lane)
        found = []
        for number in (3, 2, 1, 0):
            ask(ledger.record, lane, [_receipt(str(number), states[number], occurred_at=moments[number])])
            found.append(ask(ledger.earliest_unpaid, lane))
        for name in "12":
            ask(ledger.excuse, lane, name, "agreed")
            found.append(ask(ledger.earliest_unpaid, lane))

        assert nothing is None
        assert [moments[number] for number in (3, 2, 1, 1, 2, 3)] == found

    def test_a_floor_is_lowered_and_never_raised(self, ledger: Any, other_ledger: Any) -> None:
        """A cursor is written with it; where the floor is not higher nothing is done."""
        lane, other = _lane(ledger), ask(ledger.lane, "audit_events", "archive", MOMENT)
        cursors = [Cursor("backfill", None, str(number), MOMENT) for number in range(3)]
        floors = [MOMENT - SECOND, MOMENT - SECOND, MOMENT]

        lowered = [ask(ledger.lower, lane.number, *each) for each in zip(floors, cursors, strict=True)]

        assert [True, False, False] == lowered
        assert [evolve(lane, floor=MOMENT - SECOND), other] == ask(other_ledger.lanes)
        assert {"backfill": cursors[0]} == ask(ledger.cursors, lane.number)

    # Leases.

    def test_one_holds_a_lane(self, ledger: Any, other_ledger: Any, lane: int) -> None:
        """A second owner stands by, until the first one lets go."""
        lease = _lease(ledger, lane)
        refused = ask(other_ledger.acquire, lane, "second", 60)
        (leased,) = ask(other_ledger.lanes)
        ask(ledger.release, lease)
        (let_go,) = ask(other_ledger.lanes)

        taken = ask(other_ledger.acquire, lane, "second", 60)

        assert (None, lease.epoch + 1) == (refused, taken.epoch)
        assert (lease.until, None) == (leased.leased_until, let_go.leased_until)

    def test_a_lease_ends_by_the_clock_of_the_ledger(self, ledger: Any, other_ledger: Any, lane: int) -> None:
        """When it is over somebody else may have it, with the next epoch."""
        lease = ask(ledger.acquire, lane, "first", 0.05)
        while (taken := ask(other_ledger.acquire, lane, "second", 60)) is None:
            pass

        assert taken.epoch == lease.epoch + 1
        assert lease.until <= ask(ledger.now)

    def test_a_lease_is_renewed(self, ledger: Any, other_ledger: Any, lane: int) -> None:
        """Its end moves, its epoch does not, and the lane stays taken."""
        lease = ask(ledger.acquire, lane, "first", 0.05)

        renewed = ask(ledger.renew, lease, 60)

        assert (lease.epoch, True) == (renewed.epoch, renewed.until > lease.until + 50 * SECOND)
        assert ask(other_ledger.acquire, lane, "second", 60) is None

    def test_a_lane_is_taken_by_one_of_many(self, ledger: Any, lane: int) -> None:
        """Of several that come at once, one gets it."""
        taken: list[Lease | None] = []

        def take(owner: str) -> None:
            taken.append(ask(ledger.acquire, lane, owner, 60))

        run_in_threads([partial(take, owner) for owner in map(str, range(8))])

        assert 1 == sum(lease is not None for lease in taken)

    def test_who_has_lost_the_lease_writes_nothing_but_each_yes(
        self, ledger: Any, other_ledger: Any, lane: int
    ) -> None:
        """A relay that slept through its lease is told so; what the sink took from it counts, and nothing else does."""
        lost = ask(ledger.acquire, lane, "first", 60)
        ask(ledger.release, lost)
        ask(other_ledger.acquire, lane, "second", 60)
        receipts = [_receipt(state.value, state) for state in State]
        failure = FailedAttempt("retryable", 1, 1, MOMENT)

        held = ask(ledger.record, lane, receipts, lost, Cursor("tail", "10"), [failure])

        assert (False, None) == (held, ask(ledger.renew, lost, 60))
        assert {"completed"} == set(ask(ledger.receipts, lane, [state.value for state in State]))
        assert ({}, []) == (ask(ledger.cursors, lane), list(ask(ledger.attempts, lane, "retryable")))

    def test_a_lease_that_is_over_is_lost_though_nobody_has_taken_the_lane(self, ledger: Any, lane: int) -> None:
        """It is the clock that ends it, and not the next holder."""
        lease = ask(ledger.acquire, lane, "first", 0)

        assert not ask(ledger.record, lane, [_receipt("1", State.RETRYABLE)], lease)
        assert {} == ask(ledger.receipts, lane, ["1"])

    def test_letting_go_of_a_lost_lease_takes_it_from_nobody(self, ledger: Any, other_ledger: Any, lane: int) -> None:
        """The holder of the next epoch keeps the lane."""
        lost = ask(ledger.acquire, lane, "first", 0)
        kept = ask(other_ledger.acquire, lane, "second", 60)

        ask(ledger.release, lost)

        assert ask(ledger.record, lane, [_receipt("1", State.RETRYABLE)], kept)

    # Cursors and breakers.

    def test_a_cursor_moves_with_the_receipts(self, ledger: Any, lane: int) -> None:
        """It is written with them, by whoever holds the lease, and comes back as it was."""
        lease = _lease(ledger, lane)
        cursors = [Cursor("tail", "1"), Cursor("sweep", None, "99", MOMENT), Cursor("tail", "2", None, MOMENT + SECOND)]

        for cursor in cursors:
            assert ask(ledger.record, lane, [], lease, cursor)

        assert {cursor.name: cursor for cursor in cursors[1:]} == ask(ledger.cursors, lane)

    def test_a_breaker_is_the_lanes(self, ledger: Any, other_ledger: Any) -> None:
        """It is open until a moment by the ledger's clock, for every process, and can be closed."""
        lane = _lane(ledger)

        ask(ledger.block, lane.number, 60)
        ask(ledger.block, lane.number, 30)
        (blocked,) = ask(other_ledger.lanes)
        ask(other_ledger.block, lane.number, None)

        assert 50 * SECOND < blocked.blocked_until - ask(ledger.now) <= 60 * SECOND  # no shorter one cuts it short
        assert [lane] == ask(ledger.lanes)


_bridge = Bridge()


def ask(method: Any, *arguments: Any) -> Any:
    """Return what a ledger answers, be it sync or async."""
    return _bridge.call(lambda _: method(*arguments), None, None)


def _lane(ledger: Any) -> Lane:
    return ask(ledger.lane, "audit_events", "siem", MOMENT)  # type: ignore[no-any-return]


def _lease(ledger: Any, lane: int) -> Lease:
    return ask(ledger.acquire, lane, "first", 60)  # type: ignore[no-any-return]


def _receipt(audit_event_id: str, state: State, **fields: Any) -> Receipt:
    due_at = MOMENT if state is State.RETRYABLE else None
    known = {"occurred_at": MOMENT, "first_at": MOMENT, "last_at": MOMENT, "due_at": due_at}
    return Receipt(audit_event_id, state=state, **{**known, **fields})


def _count(receipts: Any) -> dict[State, int]:
    states = [receipt.state for receipt in receipts]
    return {state: states.count(state) for state in set(states)}
