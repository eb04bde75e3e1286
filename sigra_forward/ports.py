"""
The ports: what a host, an adapter or a sink implements. Nothing needs to inherit from them.

The suites in `sigra_forward.testing` (`ForwarderContract`, `AuditRepositoryContract`, `JobQueueContract`) hold an
implementation to the promises made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from sigra_forward._event import AuditEvent
from sigra_forward._job_args import JobArgs
from sigra_forward._outcome import Ack

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward
    from sigra_forward.telemetry import TelemetryEvent

DEFAULT_DEADLINE = 30.0
"""Seconds that one call to a forwarder may take in all, where it has no ``deadline`` attribute."""


@runtime_checkable
class Forwarder(Protocol):
    """
    Hands one event to one sink.

    It may be called twice for one event (the sink's yes can be lost), from several threads, and after a fork. It
    keeps to its own ``deadline`` (an attribute, in seconds, 30 where absent) including connects and retries of its
    own, because the library relies on it.
    """

    def forward(self, event: AuditEvent) -> Ack | None:
        """
        Hand *event* over; returning is yes.

        Raises:
            SchemaMismatchError: The sink can never accept this event.
            SinkError: The sink, and not the event, is at fault. `OSError` and `TimeoutError` mean the same.
            Exception: Anything else is this event's fault, and is tried again.
        """
        ...


@runtime_checkable
class AsyncForwarder(Protocol):
    """
    A `Forwarder` whose ``forward`` is awaited.

    The sync methods of an `AuditForward` run it on the library's own loop thread, and cancel it at its deadline.
    """

    async def forward(self, event: AuditEvent) -> Ack | None:
        """Hand *event* over; see `Forwarder.forward`."""
        ...


@runtime_checkable
class BatchForwarder(Protocol):
    """A `Forwarder` that also takes batches of up to ``max_events`` (an attribute)."""

    def forward(self, event: AuditEvent) -> Ack | None:
        """Hand *event* over; see `Forwarder.forward`."""
        ...

    def forward_batch(self, events: Sequence[AuditEvent]) -> Sequence[Ack | Exception | None] | None:
        """
        Hand *events* over.

        Returns:
            For each event what ``forward`` would have returned or raised; or ``None`` for "all accepted".

        Raises:
            SchemaMismatchError: The batch as a whole is refused. Which event is to blame is not known.
            SinkError: The sink is at fault.
            Exception: Nothing is known about any event.
        """
        ...


class AuditRepository(Protocol):
    """
    Reads the host's audit table.

    It may have a ``source`` attribute, the permanent name of that table, which it sets on every event. It is called
    from several threads and after a fork, and holds no cursor, lock or transaction when it has returned.
    """

    def get(self, audit_event_id: str, /) -> AuditEvent | None:
        """
        Return the committed row *audit_event_id*, or ``None`` when there is none.

        An id that cannot be one of this table's is not found, never an error. The returned event's ``id`` is the
        spelling that counts from here on.

        Raises:
            Exception: The table cannot be read now, or the row cannot be told as an `AuditEvent`; tried again.
        """
        ...


class AsyncAuditRepository(Protocol):
    """An `AuditRepository` whose ``get`` is awaited."""

    async def get(self, audit_event_id: str, /) -> AuditEvent | None:
        """Return the committed row *audit_event_id*; see `AuditRepository.get`."""
        ...


class JobQueue(Protocol):
    """
    Puts jobs on a queue, and has its workers call ``audit_forward.perform(args, attempt)``.

    A worker translates ``result.settlement`` into its library's own words and decides nothing itself.
    It may have ``aenqueue``, an awaitable twin of ``enqueue``, and ``close()``.
    """

    def bind(self, audit_forward: AuditForward, /) -> None:
        """
        Learn whom the jobs are for. `AuditForward` calls it once, at construction.

        Raises:
            ConfigurationError: It is bound already, or a route names a queue that it has not.
        """
        ...

    def enqueue(self, args: JobArgs, /) -> object:
        """
        Put one job on the queue within 1.5 seconds, DNS included.

        Raises:
            EnqueueError: It was not enqueued, whatever the library raised.
        """
        ...


class Telemetry(Protocol):
    """Hears what happened. Nothing that it raises changes the outcome of a job."""

    def emit(self, event: TelemetryEvent, /) -> object:
        """Take one of `Enqueued`, `Delivered`, `Failed` and `Discarded`, from any thread, without waiting."""
        ...


AnyForwarder: TypeAlias = "Forwarder | AsyncForwarder"
AnyRepository: TypeAlias = "AuditRepository | AsyncAuditRepository"
