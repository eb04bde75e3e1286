"""
The test kit: fakes that say how they work, fake clocks, and the contracts that anyone's adapter can subclass.

The contracts and fixtures need pytest and are loaded on first use; the fakes need nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sigra_forward.stores import InMemoryAuditRepository
from sigra_forward.testing._clocks import FakeClock, ScaledClock
from sigra_forward.testing._events import make_event
from sigra_forward.testing._forwarders import FlakyForwarder, RaisingForwarder, RecordingForwarder
from sigra_forward.testing._http_server import ReceivedRequest, ScriptedServer
from sigra_forward.testing._processes import SupervisedProcess
from sigra_forward.testing._proxy import TCPProxy
from sigra_forward.testing._queues import RecordingQueue, RefusingQueue
from sigra_forward.testing._signals import isolated_signals
from sigra_forward.testing._telemetry import RecordingTelemetry

if TYPE_CHECKING:
    from sigra_forward.testing._fixtures import isolate_signals
    from sigra_forward.testing.contracts import (
        AuditRepositoryContract,
        ForwarderContract,
        JobQueueContract,
        QueueWorkerContract,
        SinkContract,
    )

__all__ = [
    "AuditRepositoryContract",
    "FakeClock",
    "FlakyForwarder",
    "ForwarderContract",
    "InMemoryAuditRepository",
    "JobQueueContract",
    "QueueWorkerContract",
    "RaisingForwarder",
    "ReceivedRequest",
    "RecordingForwarder",
    "RecordingQueue",
    "RecordingTelemetry",
    "RefusingQueue",
    "ScaledClock",
    "ScriptedServer",
    "SinkContract",
    "SupervisedProcess",
    "TCPProxy",
    "isolate_signals",
    "isolated_signals",
    "make_event",
]


def __getattr__(name: str) -> object:
    """Load what needs pytest on first use."""
    if name == "isolate_signals":
        from sigra_forward.testing import _fixtures

        return _fixtures.isolate_signals
    if name.endswith("Contract") and name in __all__:
        from sigra_forward.testing import contracts

        return getattr(contracts, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
