"""A relay as a process of its own, which tells the sink what reading has found each event."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - another user may not be able to load it later
import logging
import os
import signal
import sys
from typing import Any

import sigra_forward._watch  # noqa: F401 - likewise
from sigra_forward import AuditForward, Relay, Route, signals
from sigra_forward.relay import _pages
from tests.proof.support_setting import LONG_AGO, Collector, Setting


def note_readings() -> dict[str, str]:
    """Return the name of the reading that has found an event, by its id, as pages are read from now on."""
    readings: dict[str, str] = {}
    original = _pages.Pages.page

    def page(self: Any, stretch: Any, after: Any, limit: int) -> Any:
        found = original(self, stretch, after, limit)
        readings.update((event.id, stretch.name) for event in found.events)
        return found

    _pages.Pages.page = page  # type: ignore[method-assign]
    return readings


def say(sender: str, event: Any) -> None:
    """Say what went wrong."""
    print("failed", event.audit_event_id, event.reason, event.kind, flush=True)


def main() -> None:
    """Work until SIGTERM."""
    logging.basicConfig()
    setting = Setting.read(sys.argv[1])
    signals.forward_error.connect(say)
    collector = Collector(setting.port, note_readings(), max_events=setting.max_events)
    if setting.user:  # before any file is opened
        os.setuid(setting.user)
    host = AuditForward(
        repository=setting.repository(),
        ledger=setting.the_ledger(),
        forwarders={"siem": Route(collector, since=LONG_AGO)},
    )
    relay = Relay(host, **setting.relay)
    signal.signal(signal.SIGTERM, lambda *_: relay.stop())
    print("works", flush=True)
    relay.run()


if __name__ == "__main__":
    main()
