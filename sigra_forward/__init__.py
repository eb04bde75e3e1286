"""Gets every committed audit event out of a Python application, and can prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sigra_forward import signals, telemetry
from sigra_forward._audit_forward import AuditForward
from sigra_forward._backoff import backoff
from sigra_forward._dispatch import Dispatched
from sigra_forward._event import AuditEvent
from sigra_forward._job_args import JobArgs
from sigra_forward._outcome import Ack, CancelReason, Fault, Outcome, Result, Settlement, State
from sigra_forward._perform import aperform, perform
from sigra_forward._route import Dispatch, Route
from sigra_forward._settle import RetryPolicy, settle
from sigra_forward.errors import (
    ConfigurationError,
    EnqueueError,
    InvalidJobArgsError,
    MissingDependencyError,
    SchemaMismatchError,
    SigraForwardError,
    SinkError,
)
from sigra_forward.ports import (
    AsyncForwarder,
    AuditRepository,
    AuditSource,
    BatchForwarder,
    Forwarder,
    JobQueue,
    Ledger,
    Telemetry,
)

if TYPE_CHECKING:
    from sigra_forward import testing
    from sigra_forward.relay import Relay

__version__ = "0.1.0.dev0"

__all__ = [
    "Ack",
    "AsyncForwarder",
    "AuditEvent",
    "AuditForward",
    "AuditRepository",
    "AuditSource",
    "BatchForwarder",
    "CancelReason",
    "ConfigurationError",
    "Dispatch",
    "Dispatched",
    "EnqueueError",
    "Fault",
    "Forwarder",
    "InvalidJobArgsError",
    "JobArgs",
    "JobQueue",
    "Ledger",
    "MissingDependencyError",
    "Outcome",
    "Relay",
    "Result",
    "RetryPolicy",
    "Route",
    "SchemaMismatchError",
    "Settlement",
    "SigraForwardError",
    "SinkError",
    "State",
    "Telemetry",
    "aperform",
    "backoff",
    "perform",
    "settle",
    "signals",
    "telemetry",
    "testing",
]


def __getattr__(name: str) -> object:
    """Load the heavy parts on first use (PEP 562)."""
    if name == "testing":
        from importlib import import_module

        return import_module("sigra_forward.testing")
    if name == "Relay":
        from sigra_forward.relay import Relay

        return Relay
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
