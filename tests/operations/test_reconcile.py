"""`reconcile`: both sides of the equation, and what is between them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from sigra_forward import ConfigurationError, State
from sigra_forward._ledger import Receipt
from sigra_forward.operations import Difference, DifferenceKind, Reconciliation, reconcile
from sigra_forward.operations._access import Access
from sigra_forward.testing import make_event
from tests.operations.support_operations import OperatedWorld, kinds
from tests.relay.support_lane import BEGIN, UNREADABLE
from tests.support_perform import raises

SECOND = timedelta(seconds=1)


def sides(found: Reconciliation) -> tuple[int, ...]:
    """Return all its counts, in the order of the equation."""
    right = (found.completed, found.retryable, found.cancelled, found.discarded, found.owed)
    return (found.wanted, found.orphans, *right)


def test_an_empty_lane_is_balanced(world: Any) -> None:
    """Nothing is wanted, and nothing is there."""
    found = reconcile(world.operated, "siem").finish()

    assert ((0,) * 7, True, True, False) == (sides(found), found.is_finished, found.is_balanced, found.has_differences)


def test_both_sides_are_counted(world: Any) -> None:
    """Each receipt under its state, what has none as owed, what has no row as an orphan: and they are equal."""
    world.commit(*"123456789")
    world.settle(State.COMPLETED, "1", "2", "3", "gone")
    world.settle(State.RETRYABLE, "4")
    world.settle(State.CANCELLED, "5", "6")
    world.settle(State.DISCARDED, "7")

    found = reconcile(world.operated, "siem")
    differences = list(found)

    assert {"gone": "orphan", "8": "owed", "9": "owed"} == kinds(differences)
    assert (9, 1, 4, 1, 2, 1, 2) == sides(found)
    assert (10, 10, True, True) == (found.left, found.right, found.is_balanced, found.has_differences)
    assert [] == list(found)


def test_what_is_all_paid_has_no_differences(world: Any) -> None:
    """After a relay has done its work."""
    world.commit(*"123")
    world.run(5)
    world.clock.advance(1)

    found = reconcile(world.operated, "siem").finish()

    assert ((3, 0, 3, 0, 0, 0, 0), 0, False) == (sides(found), found.moved, found.has_differences)


@pytest.mark.parametrize("page", [1, 2, 7, 8])
def test_it_is_read_page_by_page(world: Any, page: int) -> None:
    """However long the pages are."""
    names = [str(number) for number in range(1, 8)]
    world.commit(*names)
    world.settle(State.COMPLETED, *names[::2], "gone")

    found = Reconciliation(Access(world.operated), "siem", None, None, make_due=False, page=page)

    assert {"gone": "orphan", "2": "owed", "4": "owed", "6": "owed"} == kinds(list(found))
    assert (7, 1, 5, 0, 0, 0, 3) == sides(found)


def test_a_difference_says_what_there_is_to_say(world: Any) -> None:
    """Its time, and why."""
    world.commit("1", "2")
    at = world.now()
    world.settle(State.COMPLETED, "gone")
    world.table.unreadable.add("2")

    assert [
        Difference(DifferenceKind.ORPHAN, "gone", at, "its row is gone"),
        Difference(DifferenceKind.OWED, "1", at),
        Difference(DifferenceKind.UNREADABLE, "2", None, "metadata is no JSON"),
    ] == list(reconcile(world.operated, "siem"))


def test_what_is_below_the_floor_is_on_no_side(world: Any) -> None:
    """Neither rows nor receipts, as a job may have written them."""
    world.commit("1", "2", occurred_at=BEGIN - SECOND)
    world.settle(State.COMPLETED, "1")
    world.settle(State.COMPLETED, "gone", occurred_at=BEGIN - 2 * SECOND)

    assert (0,) * 7 == sides(reconcile(world.operated, "siem", since=BEGIN - timedelta(days=1)).finish())


def test_a_range_has_a_beginning_and_an_end(world: Any) -> None:
    """From *since* on, until before *until*, for rows and for receipts."""
    moments = [BEGIN + number * SECOND for number in range(5)]
    for number, moment in enumerate(moments):
        world.commit(f"paid {number}", f"owed {number}", occurred_at=moment)
        world.settle(State.COMPLETED, f"paid {number}", f"gone {number}", occurred_at=moment)

    found = reconcile(world.operated, "siem", moments[1], moments[3])

    differences = kinds(list(found))
    assert {"gone 1": "orphan", "gone 2": "orphan", "owed 1": "owed", "owed 2": "owed"} == differences
    assert (4, 2, 4, 0, 0, 0, 2) == sides(found)


def test_both_sides_go_by_the_time_of_the_row(world: Any) -> None:
    """A store rounds times: a receipt is within the range where its row is."""
    world.commit("in", "out", occurred_at=BEGIN + SECOND)
    world.table.add(make_event(id="out", occurred_at=BEGIN + SECOND * 0.9))
    world.settle(State.COMPLETED, "in", occurred_at=BEGIN + SECOND * 0.5)
    world.settle(State.COMPLETED, "out", occurred_at=BEGIN + SECOND * 1.5)

    found = reconcile(world.operated, "siem", BEGIN + SECOND).finish()

    assert ((1, 0, 1, 0, 0, 0, 0), False) == (sides(found), found.has_differences)


def test_another_event_under_a_reused_id_is_owed(world: Any) -> None:
    """And the receipt is one of a row that is gone."""
    world.commit("1")
    world.settle(State.COMPLETED, "1", occurred_at=world.now() - 2 * SECOND)

    found = reconcile(world.operated, "siem")

    assert [("1", "orphan"), ("1", "owed")] == [(each.audit_event_id, each.kind.value) for each in found]
    assert (1, 1, 1, 0, 0, 0, 1) == sides(found)


def test_the_route_tells_what_is_wanted(world: Any) -> None:
    """By its actions and by its function; what was sent and is wanted no more is an orphan."""
    world.commit("yes", "no", action="auth.login")
    world.commit("other", action="role.grant")
    world.settle(State.COMPLETED, "no", "other")
    operated = world.seen(actions=("auth.*",), where=lambda event: event.id != "no")

    found = reconcile(operated, "siem")
    differences = list(found)
    operated.close()

    assert {"no": "orphan", "other": "orphan", "yes": "owed"} == kinds(differences)
    assert {"its row is no longer wanted", None} == {each.detail for each in differences}
    assert (1, 2, 2, 0, 0, 0, 1) == sides(found)


def test_what_the_route_cannot_tell_is_wanted(world: Any) -> None:
    """As the relay has it, which charges the event."""
    world.commit("1", "2")
    world.settle(State.RETRYABLE, "1")
    operated = world.seen(where=raises(KeyError()))

    found = reconcile(operated, "siem").finish()
    operated.close()

    assert (2, 0, 0, 1, 0, 0, 1) == sides(found)


class TestRowsThatCannotBeRead:
    """They stay owed, unless they were paid before."""

    def test_one_that_was_paid_is_paid(self, world: Any) -> None:
        """Its receipt tells its time."""
        world.commit("in", "before", "after")
        world.settle(State.COMPLETED, "in")
        world.settle(State.COMPLETED, "before", occurred_at=BEGIN + SECOND)
        world.table.unreadable |= {"in", "before"}
        world.table.delete("after")

        found = reconcile(world.operated, "siem", BEGIN + 2 * SECOND).finish()

        assert ((1, 0, 1, 0, 0, 0, 0), False) == (sides(found), found.has_differences)

    def test_one_without_a_receipt_is_owed(self, world: Any) -> None:
        """Whatever the range is, for its time is not known; and it is not made due."""
        world.commit("1")
        world.table.unreadable.add("1")

        found = reconcile(world.operated, "siem", world.now() + SECOND, make_due=True)

        assert ({"1": "unreadable"}, 1, 0) == (kinds(list(found)), found.unreadable, found.made_due)
        assert ((1, 0, 0, 0, 0, 0, 1), []) == (sides(found), world.due_ids())

    def test_one_whose_id_is_none_is_told_by_what_it_looks_like(self, world: Any, monkeypatch: Any) -> None:
        """Nothing is found under such an id."""
        world.commit("1")
        world.table.unreadable.add("1")
        monkeypatch.setattr(world.table, "get_many", lambda _: {})

        (difference,) = reconcile(world.operated, "siem")

        assert Difference(DifferenceKind.UNREADABLE, "1", None, str(UNREADABLE)) == difference

    def test_one_that_cannot_be_told_when_it_is_read_whole(self, world: Any, monkeypatch: Any) -> None:
        """Its time can be, and so it is of the range."""
        (event,) = world.commit("1")
        monkeypatch.setattr(world.table, "get_many", lambda _: {"1": UNREADABLE})

        (difference,) = reconcile(world.operated, "siem")

        assert Difference(DifferenceKind.UNREADABLE, "1", event.occurred_at, str(UNREADABLE)) == difference


class TestWhileThingsMove:
    """What is written while it is read is no difference."""

    def test_what_is_paid_meanwhile_is_not_owed(self, world: Any, monkeypatch: Any) -> None:
        """It is read once more before it is named, and the sides differ by no more than was written."""
        world.commit("1", "2", "3", "4")
        get_many = world.table.get_many
        changed = world.made("4", action="auth.logout")

        def pay(names: Any) -> Any:
            world.settle(State.COMPLETED, "1")
            world.table.delete("2")
            world.table.add(changed[0])
            return get_many(names)

        monkeypatch.setattr(world.table, "get_many", pay)
        operated = world.seen(actions=("session.*",))

        found = reconcile(operated, "siem")
        differences = list(found)
        operated.close()

        assert {"3": "owed"} == kinds(differences)
        assert ((2, 0, 0, 0, 0, 0, 1), 1, True) == (sides(found), found.moved, found.is_balanced)

    def test_an_orphan_is_read_once_more(self, world: Any, monkeypatch: Any) -> None:
        """Its row may be there by then, or its receipt be gone."""
        world.settle(State.COMPLETED, "late", "pruned", "gone")
        get_many = world.table.get_many
        receipts = world.ledger.receipts

        def show(names: Any) -> Any:
            found = get_many(names)
            if len(names) == 3:
                world.commit("late", occurred_at=receipts(1, ["late"])["late"].occurred_at)
            return found

        monkeypatch.setattr(world.table, "get_many", show)
        monkeypatch.setattr(
            world.ledger,
            "receipts",
            lambda lane, names: {name: each for name, each in receipts(lane, names).items() if name != "pruned"},
        )

        found = reconcile(world.operated, "siem")

        assert {"gone": "orphan"} == kinds(list(found))
        assert (2, 1) == (found.completed, found.orphans)

    def test_a_receipt_that_is_written_before_its_row_is_read_is_told_as_moved(self, world: Any) -> None:
        """One side has it and the other has not."""
        world.commit("1")
        found = reconcile(world.operated, "siem")
        world.ledger.record(1, [])
        iterator = iter(found)
        page = world.ledger.page
        world.ledger.page = lambda *arguments: (page(*arguments), world.run(5))[0]

        differences = list(iterator)

        assert ([], 1, 0, 1) == (differences, found.left, found.right, found.moved)
        assert (True, False) == (found.is_balanced, found.has_differences)

    def test_rows_behind_the_last_one_of_the_beginning_are_left_out(self, world: Any, monkeypatch: Any) -> None:
        """Or it would never come to an end."""
        world.commit("1")
        head = world.table.head()
        monkeypatch.setattr(world.table, "head", lambda: head)
        world.commit("2")

        assert {"1": "owed"} == kinds(list(reconcile(world.operated, "siem")))


def test_sides_that_are_not_equal_are_told(world: Any, monkeypatch: Any) -> None:
    """Rows that a scan does not show, though they are there, are found by counting both sides."""
    world.commit("1", "2")
    world.settle(State.COMPLETED, "1", "2")
    scan = world.table.scan
    monkeypatch.setattr(world.table, "scan", lambda *arguments, **options: scan(*arguments, **options)[1:])

    found = reconcile(world.operated, "siem").finish()

    assert ((1, 2), False, True) == ((found.left, found.right), found.is_balanced, found.has_differences)


def test_what_is_owed_can_be_made_due(world: Any) -> None:
    """As a receipt of no attempt: the relay sends it next, though it may have passed it for a while."""
    (late,) = world.made("late")
    world.table.drawn(late)
    world.commit("1")
    world.run(1)
    world.clock.advance(3600)
    world.table.show(late)

    found = reconcile(world.operated, "siem", make_due=True)
    differences = list(found)

    at = world.now()
    assert ({"late": "owed"}, 1, (2, 0, 1, 0, 0, 0, 1)) == (kinds(differences), found.made_due, sides(found))
    assert Receipt("late", late.occurred_at, State.RETRYABLE, at, at, attempt=0, due_at=at) == world.receipt("late")
    world.run(0)
    world.clock.advance(1)
    assert (["1", "late"], False) == (world.sink.ids, reconcile(world.operated, "siem").finish().has_differences)


def test_what_the_relay_reads_next_is_not_made_due(world: Any) -> None:
    """Or it would be sent twice: its tail looks for no receipts where it has not been."""
    world.commit("1")
    world.run(10)
    world.commit("2")

    found = reconcile(world.operated, "siem", make_due=True)

    assert ({"2": "owed"}, 0, []) == (kinds(list(found)), found.made_due, world.due_ids())
    world.run(10)
    assert ["1", "2"] == world.sink.ids


def test_where_no_relay_ever_was_all_that_is_owed_is_made_due(tmp_path: Path) -> None:
    """One that comes later looks for receipts."""
    world = OperatedWorld(tmp_path)
    world.commit("1", "2")

    found = reconcile(world.operated, "siem", make_due=True).finish()

    assert (2, ["1", "2"]) == (found.made_due, world.due_ids())
    world.run(10)
    world.operated.close()
    assert ["1", "2"] == world.sink.ids


def test_another_event_under_a_reused_id_is_made_due(world: Any) -> None:
    """In the next generation."""
    world.commit("1")
    world.run(2)
    (event,) = world.commit("1")

    reconcile(world.operated, "siem", make_due=True).finish()

    receipt = world.receipt("1")
    assert (2, State.RETRYABLE, event.occurred_at) == (receipt.generation, receipt.state, receipt.occurred_at)


def test_mistakes_are_said_at_once(world: Any) -> None:
    """A name that is none, and a moment without a zone."""
    with pytest.raises(
        ConfigurationError, match=r"^there is no forwarder of that name; those of the AuditForward are: siem$"
    ):
        reconcile(world.operated, "nobody")
    naive: Any = BEGIN.replace(tzinfo=None)
    for moment in (naive, "2026-01-31"):
        with pytest.raises(
            ConfigurationError, match=r"^reconcile\(until=\.\.\.\) must be a datetime with a time zone$"
        ):
            reconcile(world.operated, "siem", None, moment)
    assert evolve(world.lane) == world.lane
