"""The connection to the ledger is lost in each call that a relay makes, one after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from attrs import frozen

from sigra_forward import AuditEvent, AuditForward, Relay, RetryPolicy, Route, SchemaMismatchError, SinkError, State
from sigra_forward.relay import _relay
from sigra_forward.telemetry import Failed
from sigra_forward.testing import RecordingTelemetry
from tests.adapters.support_databases import OnMariaDB, OnPostgreSQL, OnSQLite
from tests.proof.support_losing import When, losing_ledger
from tests.proof.support_setting import LONG_AGO, row
from tests.proof.support_stage import Stage, sized, wait_until

GOOD = {f"{number:02}" for number in range(12)}
SHAKY, POISON = "05", "06.5"
AHEAD = "receipts_aside"
"""Belongs to a page that is read ahead: when the sink fails meanwhile, nobody wants it any more."""

IN_A_HURRY: dict[str, Any] = {"poll": 0.02, "lease": 0.2, "probe_interval": 0.03, "page": 5, "rereads": (0.05,)}

Report = Callable[..., None]


class Impatient(_relay._Troubles):
    """Says what keeps a lane from being worked, and waits for next to nothing."""

    def pause_after(self, exc: Exception) -> float:
        super().pause_after(exc)
        return 0.01


class Sink:
    """Is down at first, refuses one event once and another one always, and takes the rest."""

    deadline = 0.05
    max_events = 3

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._failures: list[tuple[str, Exception]] = [("", SinkError("http_503")), (SHAKY, ValueError())]

    def forward(self, event: AuditEvent) -> None:
        self.forward_batch([event])

    def forward_batch(self, events: Sequence[AuditEvent]) -> None:
        ids = [event.id for event in events]
        if self._failures and (self._failures[0][0] in {"", *ids}):
            raise self._failures.pop(0)[1]
        if POISON in ids:
            raise SchemaMismatchError("no field of ours")
        self.ids += ids


@frozen(kw_only=True)
class Came:
    """What came of a run: the call that was lost, what the sink took, what the ledger holds, what was said."""

    lost: str
    sent: list[str]
    receipts: dict[str, State]
    told: list[str]


class Connections:
    """On every database."""

    @pytest.mark.parametrize("when", list(When), ids=lambda when: when.value)
    def test_a_lost_connection(
        self,
        stage: Stage,
        when: When,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        report: Report,
    ) -> None:
        """Whichever call it is: that is told, nothing is missing, and no receipt says what the sink has not taken."""
        monkeypatch.setattr(_relay, "_Troubles", Impatient)
        stage.commit(*(row(name, 1) for name in sorted({*GOOD, POISON})))
        repository = stage.setting.repository()
        lost: Counter[str] = Counter()
        missing = repeats = 0
        for call in count(1, sized(4, 1)):
            came = _run(stage, repository, call, when, caplog)
            if not came.lost:
                break
            lost[came.lost] += 1
            missing += len(GOOD - {*came.sent})
            repeats += len(came.sent) - len({*came.sent})

            assert set(came.sent) == GOOD, came.lost
            assert came.receipts.pop(POISON, None) in {State.CANCELLED, State.RETRYABLE, None}, came.lost
            assert dict.fromkeys(GOOD, State.COMPLETED) == came.receipts, came.lost
            assert came.told or came.lost == AHEAD, came.lost
        names = sorted({name.removesuffix("_aside") for name in lost})
        report(losses=lost.total(), missing=missing, repeats=repeats, calls="/".join(names))

        assert lost.total() >= sized(5, 20)


def _run(stage: Stage, repository: Any, call: int, when: When, caplog: pytest.LogCaptureFixture) -> Came:
    """Relay all that there is, in a lane of its own, and lose the connection in *call*."""
    caplog.clear()
    sink, telemetry, name = Sink(), RecordingTelemetry(), f"siem_{when.value}_{call}"
    with losing_ledger(stage.setting) as (ledger, lose):
        host = AuditForward(
            repository,
            {name: Route(sink, since=LONG_AGO, policy=RetryPolicy(backoff=lambda _: 0.0))},
            ledger=ledger,
            telemetry=telemetry,
        )
        (lane,) = (lane.number for lane in stage.ledger.lanes() if lane.forwarder == name)
        ledger.lose_in(call, when, lose)

        def receipts() -> dict[str, State]:
            return {receipt.audit_event_id: receipt.state for receipt in stage.ledger.page(lane, "", 100)}

        def are_settled() -> bool:
            paid = {audit_event_id for audit_event_id, state in receipts().items() if state is State.COMPLETED}
            assert paid <= set(sink.ids)
            return paid == GOOD

        with host, Relay(host, recovery_rate=None, **IN_A_HURRY):
            wait_until(are_settled, "all is settled")
        told = [record.getMessage() for record in caplog.records]
        told += [failed.audit_event_id for failed in telemetry.of(Failed) if failed.reason == "receipt_not_kept"]
        return Came(lost=ledger.lost, sent=sink.ids, receipts=receipts(), told=told)


class TestOnPostgreSQL(OnPostgreSQL, Connections):
    """PostgreSQL."""


class TestOnMariaDB(OnMariaDB, Connections):
    """MariaDB."""


class TestOnSQLite(OnSQLite, Connections):
    """SQLite."""
