"""`AuditSourceContract`: what every audit source promises."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sigra_forward._bridge import Bridge
from sigra_forward._event import AuditEvent
from sigra_forward._source import Found
from sigra_forward.testing.contracts._audit_repository import AuditRepositoryContract
from sigra_forward.testing.contracts._hostile import HOSTILE_TEXTS

MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)


class AuditSourceContract(AuditRepositoryContract):
    """
    Hold an audit source, sync or async, to the port's promises, those of an audit repository included.

    Give the fixture ``repository`` and the methods as for `AuditRepositoryContract`. The repository must read its table
    in the order of ``occurred_at``, or of commit: here the two are one.
    """

    def _commit_many(self, repository: Any, count: int, **fields: Any) -> list[AuditEvent]:
        moments = [MOMENT + timedelta(seconds=number) for number in range(count)]
        return [
            self._committed(repository, number, occurred_at=moment, **fields)
            for number, moment in enumerate(moments, 1)
        ]

    def test_an_empty_table_has_no_rows(self, repository: Any) -> None:
        """There is no last row, nothing to read, and nothing to count."""
        nothing = (ask(repository.head), list(ask(repository.scan, None, 10)), ask(repository.count))

        assert (None, [], 0) == nothing

    @pytest.mark.parametrize("whole", [True, False])
    @pytest.mark.parametrize("limit", [1, 3, 7, 8])
    def test_a_scan_goes_through_all_rows_in_order(self, repository: Any, limit: int, whole: bool) -> None:
        """Page by page, each row once, the oldest first."""
        events = self._commit_many(repository, 7)

        found = _all(repository, limit=limit, whole=whole)

        assert [event.id for event in events] == [row.audit_event_id for row in found]
        assert 7 == len({row.position for row in found})
        assert ask(repository.head) == found[-1].position

    def test_a_scan_tells_ids_and_times_or_whole_rows(self, repository: Any) -> None:
        """What is needed to look for receipts, or what is needed to send."""
        (event,) = self._commit_many(repository, 1, metadata={"method": "otp"})

        ((brief,), (whole,)) = (ask_scan(repository, None, 10, whole=whole) for whole in (False, True))

        assert (event.id, event.occurred_at, None, None) == (
            brief.audit_event_id,
            brief.occurred_at,
            brief.event,
            brief.error,
        )
        assert (brief.position, ask(repository.get, event.id)) == (whole.position, whole.event)

    def test_rows_at_one_moment_are_told_apart(self, repository: Any) -> None:
        """The id breaks ties: no page ends in the midst of them for good, and none comes twice."""
        ids = {self._committed(repository, number, occurred_at=MOMENT).id for number in range(1, 8)}

        found = [row.audit_event_id for row in _all(repository, limit=2)]

        assert (7, ids) == (len(found), set(found))

    def test_a_stretch_has_two_ends(self, repository: Any) -> None:
        """A scan begins behind its first position and ends with its last."""
        events = self._commit_many(repository, 6)
        positions = [row.position for row in _all(repository)]

        stretch = ask_scan(repository, positions[1], 10, until=positions[4])

        assert [event.id for event in events[2:5]] == [row.audit_event_id for row in stretch]
        assert 3 == ask_count(repository, after=positions[1], until=positions[4])

    def test_an_end_before_the_beginning_leaves_nothing(self, repository: Any) -> None:
        """Such a stretch is empty, and no error."""
        self._commit_many(repository, 3)
        positions = [row.position for row in _all(repository)]

        assert [] == list(ask_scan(repository, positions[2], 10, until=positions[0]))

    def test_a_position_stays_when_its_row_is_gone_or_others_come(self, repository: Any) -> None:
        """What is committed behind a position is found from it."""
        self._commit_many(repository, 2)
        head = ask(repository.head)
        late = self._committed(repository, 9, occurred_at=MOMENT + timedelta(hours=1))

        assert [late.id] == [row.audit_event_id for row in ask_scan(repository, head, 10)]

    @pytest.mark.parametrize(
        ("wanted", "actions"),
        [
            (["auth.login", "auth.logout", "AUTH.login", "role.grant", "a%"], ["*"]),
            (["auth.login"], ["auth.login"]),
            (["auth.login", "auth.logout"], ["auth.*"]),
            (["auth.login", "role.grant"], ["auth.login", "role.*"]),
            (["auth.login", "auth.logout", "AUTH.login", "role.grant", "a%"], ["auth.*", "*"]),
            (["a%"], ["a%"]),
            ([], ["a_*", "uth.*", "%", "' OR 1=1 --"]),
        ],
    )
    def test_actions_are_filtered_as_a_route_does(self, repository: Any, wanted: list[str], actions: list[str]) -> None:
        """Exact, or by a prefix, letter by letter: nothing in a name is a pattern."""
        names = ["auth.login", "auth.logout", "AUTH.login", "role.grant", "a%"]
        for number, name in enumerate(names, 1):
            self._committed(repository, number, action=name, occurred_at=MOMENT + timedelta(seconds=number))

        found = ask_scan(repository, None, 10, actions=actions, whole=True)

        assert wanted == [row.event.action for row in found if row.event]
        assert len(wanted) == ask_count(repository, actions=actions)

    def test_many_are_found_by_their_ids(self, repository: Any) -> None:
        """Those that are there, however many are asked for, and nothing for what cannot be an id."""
        events = self._commit_many(repository, 40)
        unknown = [self.new_id(number) for number in range(41, 100)]

        found = ask(repository.get_many, [*unknown, *(event.id for event in events), *HOSTILE_TEXTS.values()])

        assert {event.id: ask(repository.get, event.id) for event in events} == dict(found)

    def test_no_ids_find_nothing(self, repository: Any) -> None:
        """An empty page asks for nothing."""
        assert {} == dict(ask(repository.get_many, []))


_bridge = Bridge()


def ask(method: Any, *arguments: Any, **options: Any) -> Any:
    """Return what a source answers, be it sync or async."""
    return _bridge.call(lambda _: method(*arguments, **options), None, None)


def ask_scan(repository: Any, after: str | None, limit: int, **options: Any) -> list[Found]:
    """Return what a scan finds."""
    return list(ask(repository.scan, after, limit, **options))


def ask_count(repository: Any, **options: Any) -> int:
    """Return what a count comes to."""
    return ask(repository.count, **options)  # type: ignore[no-any-return]


def _all(repository: Any, *, limit: int = 100, **options: Any) -> list[Found]:
    found: list[Found] = []
    while page := ask_scan(repository, found[-1].position if found else None, limit, **options):
        found += page
    return found
