"""The live view: it only listens to the library's signals, as a host's dashboard would."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sigra_forward import CancelReason, Outcome, signals
from sigra_forward.telemetry import Delivered, Discarded, Failed


class Board:
    """
    Count what the signals tell, and show it.

    Args:
        rows: How many deliveries will end.
        console: Where to show it.

    Attributes:
        ended: How each delivery that the sink did not take was told to have ended, by event id.
        retries: How many attempts failed and were tried again, by reason.
    """

    def __init__(self, rows: int, console: Console) -> None:
        self.ended: dict[str, str] = {}
        self.retries: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._lock = Lock()
        self._progress = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task("", total=rows, counts="")

    def __enter__(self) -> Board:
        signals.forward_ok.connect(self._on_ok)
        signals.forward_error.connect(self._on_error)
        signals.forward_discarded.connect(self._on_discarded)
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """Write *line* above the bar."""
        self._progress.console.print(line)

    def _on_ok(self, sender: str, event: Delivered) -> None:
        self._count("delivered", ends=True)

    def _on_error(self, sender: str, event: Failed) -> None:
        reason = word(event.reason)
        if event.outcome is Outcome.CANCEL:
            self.ended[event.audit_event_id] = f"cancelled: {reason}"
            self._count("cancelled", ends=True)
        elif event.retry_in is not None:
            self.retries[reason] += 1
            self._count("retries")

    def _on_discarded(self, sender: str, event: Discarded) -> None:
        self.ended[event.audit_event_id] = f"discarded: {word(event.reason)}"
        self._count("discarded", ends=True)

    def _count(self, what: str, *, ends: bool = False) -> None:
        with self._lock:
            self._counts[what] += 1
            counts = "  ".join(f"{name} {count}" for name, count in sorted(self._counts.items()))
            self._progress.update(self._task, advance=int(ends), counts=counts)


def word(reason: CancelReason | str | None) -> str:
    """Return *reason* as text."""
    return reason.value if isinstance(reason, CancelReason) else str(reason)
