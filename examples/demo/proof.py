"""The check: read the database and the sink's file back, and account for every id."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from attrs import frozen
from rich.table import Table

from examples.demo.board import Board


@frozen
class Proof:
    """
    What became of every committed row.

    Args:
        committed: The ids in the application's own table.
        received: How often each id stands in the sink's file.
        ended: How the deliveries that the sink did not take were told to have ended, by id.
        retries: How many attempts failed and were tried again, by reason.
    """

    committed: frozenset[str]
    received: Counter[str]
    ended: dict[str, str]
    retries: Counter[str]

    @property
    def missing(self) -> set[str]:
        """The ids that were committed, and are neither in the sink nor told as cancelled or discarded."""
        return set(self.committed) - set(self.received) - set(self.ended)

    @property
    def foreign(self) -> set[str]:
        """The ids in the sink that were never committed."""
        return set(self.received) - set(self.committed)

    @property
    def holds(self) -> bool:
        """Whether every committed row is accounted for, and nothing else was sent."""
        return bool(self.committed) and not self.missing and not self.foreign

    def table(self) -> Table:
        """Return the account as a table."""
        table = Table("what", "rows", title="Where every committed row went")
        table.columns[1].justify = "right"
        table.add_row("[bold]committed to the audit table", str(len(self.committed)))
        table.add_row("in the sink's file", str(len(self.committed & set(self.received))))
        for end, count in sorted(Counter(self.ended.values()).items()):
            table.add_row(end, str(count))
        table.add_row("[bold]missing", str(len(self.missing)), end_section=True)
        table.add_row("repeats in the sink's file", str(self.received.total() - len(self.received)))
        for reason, count in sorted(self.retries.items()):
            table.add_row(f"attempts tried again: {reason}", str(count))
        return table

    def verdict(self) -> str:
        """Return the outcome as one line."""
        if self.holds:
            return "[green]Every committed row is in the sink, or was told as cancelled or discarded."
        return f"[red]NOT PROVEN: {len(self.missing)} missing, {len(self.foreign)} foreign: {sorted(self.missing)[:3]}"


def prove(database: Path, file: Path, board: Board) -> Proof:
    """Read both sides by themselves: the table by SQL, the sink's file line by line."""
    with closing(sqlite3.connect(database)) as connection:
        committed = frozenset(id_ for (id_,) in connection.execute("SELECT id FROM audit_events"))
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return Proof(committed, Counter(json.loads(line)["id"] for line in lines), board.ended, board.retries)
