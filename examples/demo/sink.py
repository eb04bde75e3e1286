"""A sink that misbehaves on purpose, the same way in every run with the same visits."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from time import sleep

from sigra_forward import Ack, AuditEvent, Forwarder, SchemaMismatchError, SinkError


class MisbehavingForwarder:
    """
    Hand events to *inner*, and of each hundred visits: refuse 3 for ever, fail on 1 for ever, raise on 12 at first.

    It answers late for 5 more.
    """

    def __init__(self, inner: Forwarder) -> None:
        self._inner = inner
        self._tries: Counter[str] = Counter()
        self._lock = Lock()

    def forward(self, event: AuditEvent) -> Ack | None:
        """Forward *event*, or not."""
        with self._lock:
            self._tries[event.id] += 1
            tries = self._tries[event.id]
        visit = int(str(event.metadata["visit"])) % 100
        if visit < 3:
            msg = "the sink's schema has no place for this"
            raise SchemaMismatchError(msg)
        if visit < 4:
            msg = "a bug that this event always hits"
            raise RuntimeError(msg)
        if visit < 16 and tries <= visit % 4:
            raise (SinkError("http_503"), ConnectionResetError(), TimeoutError())[tries % 3]
        if visit < 21:
            sleep(0.05)
        return self._inner.forward(event)
