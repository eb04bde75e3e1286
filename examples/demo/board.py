"""The live view, from outside: it reads the table, the sink's file and the ledger, and needs nothing of the host."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from types import TracebackType

from attrs import frozen
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.demo.application import SignInApplication
from examples.demo.host import audit_forward
from sigra_forward.operations import reconcile, status


@frozen
class Look:
    """How many rows are committed, and how many lines the sink's file has."""

    committed: int
    in_file: int


class Board:
    """
    Show how far it has come.

    Args:
        folder: Where everything is.
        rows: How many rows are to be committed.
        console: Where to show it.
    """

    def __init__(self, folder: Path, rows: int, console: Console) -> None:
        self._database, self._file = folder / "application.db", folder / "siem.jsonl"
        SignInApplication(self._database)  # makes the tables
        self._audit_forward = audit_forward(folder)  # the same lanes, and no relay
        self._progress = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task("", total=rows, counts="")

    def __enter__(self) -> Board:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._audit_forward.close()

    def say(self, line: str) -> None:
        """Write *line* above the bar."""
        self._progress.console.print(line)

    def look(self) -> Look:
        """Look how far it has come, and show it."""
        with closing(sqlite3.connect(self._database)) as connection:
            (committed,) = connection.execute("SELECT count(*) FROM audit_events").fetchone()
        in_file = self._file.read_bytes().count(b"\n") if self._file.exists() else 0
        for lane in status(self._audit_forward):
            dead = lane.cancelled + lane.discarded
            down = "  the sink is down" if lane.blocked_until else ""
            counts = f"in the sink {in_file}  to be tried again {lane.retryable}  dead letters {dead}{down}"
            self._progress.update(self._task, completed=committed, counts=counts)
        return Look(committed, in_file)

    def has_settled(self) -> bool:
        """Tell whether nothing is owed, and nothing to be tried again, but for what was committed just now."""
        if any(lane.retryable for lane in status(self._audit_forward)):
            return False
        return reconcile(self._audit_forward, "siem").finish().owed == 0
