"""A sink that misbehaves on purpose."""

from __future__ import annotations

from collections import Counter
from time import monotonic, sleep

from sigra_forward import Ack, AuditEvent, Forwarder, SchemaMismatchError, SinkError

DOWN_AFTER = 100
"""Events that it takes before it is down…"""

DOWN_FOR = 1.5
"""…for so many seconds."""


class MisbehavingForwarder:
    """
    Hand events to *inner*, and of each hundred visits: refuse 3 for ever, fail on 1 for ever, and on 12 at first.

    It answers late for 5 more. And once it is down, and fails on everything.
    """

    deadline = 1.0

    def __init__(self, inner: Forwarder) -> None:
        self._inner = inner
        self._tries: Counter[str] = Counter()
        self._taken = 0
        self._down_until = 0.0

    def forward(self, event: AuditEvent) -> Ack | None:
        """Forward *event*, or not."""
        if self._taken == DOWN_AFTER and not self._down_until:
            self._down_until = monotonic() + DOWN_FOR
        if monotonic() < self._down_until:
            reason = "http_503"
            raise SinkError(reason)
        self._tries[event.id] += 1
        kind = int(str(event.metadata["visit"])) * 37 % 100  # so that they do not come one after the other
        if kind in {1, 2, 3}:
            msg = "the sink's schema has no place for this"
            raise SchemaMismatchError(msg)
        if kind == 4:
            msg = "a bug that this event always hits"
            raise RuntimeError(msg)
        if 5 <= kind < 17 and self._tries[event.id] <= kind % 4:
            msg = "a bug that this event hits at first"
            raise ValueError(msg)
        if 17 <= kind < 22:
            sleep(0.02)
        self._taken += 1
        return self._inner.forward(event)
