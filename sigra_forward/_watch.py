"""`Watch`: sees that the ledger knows every lane, and that there is a relay, and says so where there is not."""

from __future__ import annotations

from datetime import timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

from sigra_forward._attempt import own_words
from sigra_forward._bounded import BoundedCaller
from sigra_forward._event import DEFAULT_SOURCE
from sigra_forward._log import log_error
from sigra_forward._names import type_name
from sigra_forward._outcome import Outcome
from sigra_forward._steps import run_steps
from sigra_forward.telemetry import Failed, emit

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward

EVERY = 60.0
"""Seconds between two looks at most: what is wrong is said once a minute."""

OPEN_TIMEOUT = 1.5
"""Seconds that constructing an `AuditForward` waits for the ledger."""

LATELY = timedelta(seconds=60)
"""A lease that ended longer ago is of a relay that is there no more."""

NOT_STORED = "lane_not_stored"


class Watch:
    """
    What an `AuditForward` with a ledger has an eye on, a look a minute at most and never in the way of a dispatch.

    Args:
        host: The `AuditForward`.
    """

    def __init__(self, host: AuditForward) -> None:
        self._host = host
        self._caller = BoundedCaller()
        self._next = host.clock.monotonic() + EVERY
        self._source = host.source or DEFAULT_SOURCE
        self._unknown = set(host.routes)

    def open_lanes(self) -> None:
        """Have the ledger store every lane, within `OPEN_TIMEOUT`; tell of those that it has not."""
        try:
            self._caller.call(self._open_lanes, OPEN_TIMEOUT)
        except Exception as exc:  # noqa: BLE001 - the host goes on without it, and is told
            self._tell(exc)

    def look(self) -> None:
        """Begin a look, unless the last one was less than a minute ago."""
        now = self._host.clock.monotonic()
        if now >= self._next:
            self._next = now + EVERY
            Thread(target=self._look, name="sigra-forward-watch", daemon=True).start()

    def _look(self) -> None:
        try:
            self._open_lanes()
        except Exception as exc:  # noqa: BLE001 - whatever the ledger's library raises
            self._tell(exc)
            return
        try:
            is_relayed = self._is_relayed()
        except Exception as exc:  # noqa: BLE001 - likewise
            log_error("whether a relay is at work could not be told: the ledger raised %s", type_name(exc))
            return
        if not is_relayed:
            log_error(
                "no relay has been seen in the last minute: what is owed stays owed until one is started, "
                "with Relay(audit_forward).start() or `python -m sigra_forward relay`"
            )

    def _open_lanes(self) -> None:
        host: Any = self._host
        for name in sorted(self._unknown):
            run_steps(host.books.lane(self._source, name), host.bridge.call)
            self._unknown.discard(name)

    def _is_relayed(self) -> bool:
        host: Any = self._host
        now, lanes = (
            host.bridge.call(lambda _, ask=ask: ask(), None, None) for ask in (host.ledger.now, host.ledger.lanes)
        )
        ours = [lane for lane in lanes if lane.source == self._source and lane.forwarder in host.routes]
        return all(lane.leased_until is not None and now - lane.leased_until < LATELY for lane in ours)

    def _tell(self, exc: Exception) -> None:
        kind = type_name(exc)
        detail = own_words(exc) or "the ledger has not stored this lane: what is committed from here on is not owed yet"
        for name in sorted(self._unknown):
            emit(self._host.telemetry, Failed(name, "", None, 1, None, Outcome.ERROR, NOT_STORED, detail, kind))
