"""`OverrunningForwarder`: one that may be at work twice at once."""

from __future__ import annotations

from threading import Event, Lock

from sigra_forward import AuditEvent

PATIENCE = 10.0


class OverrunningForwarder:
    """
    A sync forwarder that takes more than twice its deadline, until it is called again.

    Attributes:
        again: It was called again.
        most_at_once: In how many threads it was at work at once, at most.
    """

    deadline = 0.1

    def __init__(self) -> None:
        self._lock, self.again = Lock(), Event()
        self._at_work = self._calls = self.most_at_once = 0

    def forward(self, event: AuditEvent) -> None:
        """Say yes, late."""
        with self._lock:
            self._calls += 1
            self._at_work += 1
            self.most_at_once = max(self.most_at_once, self._at_work)
        if self._calls > 1:
            self.again.set()
        self.again.wait(PATIENCE)
        with self._lock:
            self._at_work -= 1
