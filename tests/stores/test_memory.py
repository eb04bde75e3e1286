"""`InMemoryAuditRepository`."""

from __future__ import annotations

import pytest

from sigra_forward import AuditEvent
from sigra_forward.stores import InMemoryAuditRepository
from sigra_forward.testing import make_event
from sigra_forward.testing.contracts._audit_source import AuditSourceContract


class TestInMemoryAuditRepository(AuditSourceContract):
    """The contract."""

    @pytest.fixture(name="repository")
    def _repository(self) -> InMemoryAuditRepository:
        return InMemoryAuditRepository(source="logins")

    def commit(self, repository: InMemoryAuditRepository, event: AuditEvent) -> None:
        repository.add(event)


def test_begins_with_the_events_it_is_given() -> None:
    """The events given at construction are committed."""
    event = make_event()

    repository = InMemoryAuditRepository([event])

    assert (1, event) == (len(repository), repository.get(event.id))


def test_an_event_is_told_as_of_the_tables_source() -> None:
    """What it is given of another source comes back under its own."""
    event = make_event(source="elsewhere")

    stored = InMemoryAuditRepository(source="here").add(event)

    assert ("here", event.id) == (stored.source, stored.id)


def test_an_event_replaces_the_one_with_the_same_id() -> None:
    """There is one row for each id: the last."""
    repository = InMemoryAuditRepository([make_event(id="1", action="before")])

    repository.add(make_event(id="1", action="after"))

    assert (1, "after") == (len(repository), repository.get("1").action)
