"""The check: read the table, the sink's file and the ledger back, and account for every id."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

from attrs import frozen
from rich.table import Table

from examples.demo.host import audit_forward
from sigra_forward import State
from sigra_forward.operations import Reconciliation, reconcile
from sigra_forward.stores import SQLiteLedger


@frozen
class Proof:
    """
    What became of every committed row.

    Args:
        committed: The ids in the application's own table.
        received: How often each id stands in the sink's file.
        dead: The dead letters in the ledger, each with its state and reason, by id.
        attempts: How many attempts failed, by reason.
        found: What `reconcile` says.
    """

    committed: frozenset[str]
    received: Counter[str]
    dead: dict[str, str]
    attempts: Counter[str]
    found: Reconciliation

    @property
    def missing(self) -> set[str]:
        """The ids that were committed, and are neither in the sink nor dead letters."""
        return set(self.committed) - set(self.received) - set(self.dead)

    @property
    def foreign(self) -> set[str]:
        """The ids in the sink that were never committed."""
        return set(self.received) - set(self.committed)

    @property
    def holds(self) -> bool:
        """Whether every committed row is accounted for, nothing else was sent, and the ledger says the same."""
        is_paid = self.found.is_balanced and not self.found.has_differences and not self.found.retryable
        return bool(self.committed) and not self.missing and not self.foreign and is_paid

    def table(self) -> Table:
        """Return the account as a table."""
        table = Table("what", "rows", title="Where every committed row went")
        table.columns[1].justify = "right"
        table.add_row("[bold]committed to the audit table", str(len(self.committed)))
        table.add_row("in the sink's file", str(len(self.committed & set(self.received))))
        for end, count in sorted(Counter(self.dead.values()).items()):
            table.add_row(end, str(count))
        table.add_row("[bold]missing", str(len(self.missing)), end_section=True)
        table.add_row("repeats in the sink's file", str(self.received.total() - len(self.received)))
        for reason, count in sorted(self.attempts.items()):
            table.add_row(f"attempts that failed: {reason}", str(count))
        return table

    def verdict(self) -> str:
        """Return the outcome in two lines."""
        found = self.found
        states = f"{found.completed} completed + {found.cancelled} cancelled + {found.discarded} discarded"
        says = f"reconcile: {found.wanted} wanted = {states} + {found.retryable} retryable + {found.owed} owed"
        if self.holds:
            return f"{says}\n[green]Every committed row is in the sink, or a dead letter that says why not."
        names = sorted(self.missing)[:3]
        return f"{says}\n[red]NOT PROVEN: {len(self.missing)} missing, {len(self.foreign)} foreign: {names}"


def prove(folder: Path) -> Proof:
    """Read each by itself: the table by SQL, the sink's file line by line, and the ledger."""
    with closing(sqlite3.connect(folder / "application.db")) as connection:
        committed = frozenset(id_ for (id_,) in connection.execute("SELECT id FROM audit_events"))
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        reasons = connection.execute("SELECT reason, count(*) FROM sigra_forward_attempts GROUP BY reason")
        attempts = Counter(dict(reasons.fetchall()))
    with closing(SQLiteLedger(folder / "ledger.db")) as ledger:
        receipts = ledger.page(1, "", len(committed), (State.CANCELLED, State.DISCARDED))
        dead = {receipt.audit_event_id: f"{receipt.state.value}: {receipt.reason}" for receipt in receipts}
    with audit_forward(folder) as host:
        found = reconcile(host, "siem").finish()
    return Proof(committed, Counter(ids_in(folder / "siem.jsonl")), dead, attempts, found)


def ids_in(file: Path) -> list[str]:
    """Return the id of each line, but of one that the kill has torn: its event comes again, whole."""
    ids = []
    for line in file.read_text(encoding="ascii").splitlines():
        with suppress(ValueError):
            ids.append(json.loads(line)["id"])
    return ids
