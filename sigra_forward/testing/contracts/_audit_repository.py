"""`AuditRepositoryContract`: what every audit repository promises."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from typing import Any

import pytest

from sigra_forward._bridge import Bridge
from sigra_forward._event import DEFAULT_SOURCE, AuditEvent
from sigra_forward.testing._events import make_event
from sigra_forward.testing.contracts._hostile import HOSTILE_TEXTS, run_in_threads


class AuditRepositoryContract:
    """
    Hold an audit repository, sync or async, to the port's promises.

    Give the fixture ``repository``, over a table that holds nothing yet, and the method ``commit``. Where ids are no
    UUIDs, give ``new_id`` too.
    """

    fields: tuple[str, ...] = ("id", "action", "occurred_at", "outcome", "actor_id", "metadata")
    """The fields that the table under test stores, and that must come back as they were."""

    def commit(self, repository: Any, event: AuditEvent) -> None:
        """Write *event* into the table of *repository* as the host would, not by the repository, and commit."""
        raise NotImplementedError

    def new_id(self, number: int) -> str:
        """Return an id, another one for each *number* from 1 to 100, as the repository spells it."""
        return f"00000000-0000-4000-8000-{number:012d}"

    def _committed(self, repository: Any, number: int, **fields: Any) -> AuditEvent:
        event = make_event(id=self.new_id(number), **fields)
        self.commit(repository, event)
        return event

    def test_finds_a_committed_row(self, repository: Any) -> None:
        """A committed row comes back as an AuditEvent with the values that were written."""
        event = self._committed(
            repository,
            1,
            occurred_at=datetime(2026, 7, 1, 12, 30, 59, 123456, tzinfo=timezone.utc),
            metadata={"nested": {"list": [1, 2.5, None, True]}, "text": "ü 🔐 \u2028 ' \" \\"},
        )
        self._committed(repository, 2)

        found = _get(repository, event.id)

        assert isinstance(found, AuditEvent)
        assert {name: getattr(event, name) for name in self.fields} == {
            name: getattr(found, name) for name in self.fields
        }

    def test_sets_one_source(self, repository: Any) -> None:
        """Every event carries the source that the repository tells, if it tells one."""
        events = [self._committed(repository, number) for number in (1, 2)]

        sources = {_get(repository, event.id).source for event in events}

        assert {getattr(repository, "source", DEFAULT_SOURCE)} == sources

    def test_finds_nothing_under_an_unknown_id(self, repository: Any) -> None:
        """None, where no row has this id."""
        self._committed(repository, 1)

        assert _get(repository, self.new_id(2)) is None

    @pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
    def test_an_id_that_cannot_be_one_is_not_found(self, repository: Any, text: str) -> None:
        """None, never an error, and the table is as it was."""
        event = self._committed(repository, 1)
        self._committed(repository, 34)  # which one of the texts is, to a reader that is not strict

        assert _get(repository, text) is None
        assert _get(repository, event.id) is not None

    def test_sees_what_is_committed_later(self, repository: Any) -> None:
        """No cursor or snapshot is kept between calls: a later row is seen, and writers are not held up."""
        assert _get(repository, self.new_id(1)) is None
        for number in (1, 2):
            event = self._committed(repository, number)

            assert event.id == _get(repository, event.id).id

    def test_is_safe_for_threads(self, repository: Any) -> None:
        """Several threads read at once, and each gets its own row."""
        events = [self._committed(repository, number) for number in range(1, 9)]

        def read(event: AuditEvent) -> None:
            for _ in range(10):
                assert event.id == _get(repository, event.id).id

        run_in_threads([partial(read, event) for event in events])


_bridge = Bridge()


def _get(repository: Any, audit_event_id: str) -> Any:
    return _bridge.call(repository.get, audit_event_id, None)
