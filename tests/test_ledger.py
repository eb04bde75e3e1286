"""`Receipt`: which event it is of."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from sigra_forward import State
from sigra_forward._ledger import Receipt

MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("expected", "audit_event_id", "later"),
    [
        pytest.param(True, "1", 0, id="the same"),
        pytest.param(True, "1", 1, id="rounded up"),
        pytest.param(True, "1", -1, id="rounded down"),
        pytest.param(False, "1", 1.000001, id="later"),
        pytest.param(False, "1", -1.000001, id="earlier"),
        pytest.param(False, "2", 0, id="another id"),
    ],
)
def test_a_receipt_is_of_one_event(expected: bool, audit_event_id: str, later: float) -> None:
    """The id and the event's own time, to a second by which stores round, tell which one."""
    receipt = Receipt("1", MOMENT, State.COMPLETED, MOMENT, MOMENT)

    assert expected == receipt.is_of(audit_event_id, MOMENT + timedelta(seconds=later))
