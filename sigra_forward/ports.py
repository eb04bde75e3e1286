"""
The ports: what a host, an adapter or a sink implements. Nothing needs to inherit from them.

The suites in `sigra_forward.testing` (`ForwarderContract`, `AuditRepositoryContract`, `JobQueueContract`) hold an
implementation to the promises made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from sigra_forward._event import AuditEvent
from sigra_forward._job_args import JobArgs
from sigra_forward._outcome import Ack

if TYPE_CHECKING:
    from datetime import datetime

    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._ledger import Cursor, FailedAttempt, Lane, Lease, Look, Receipt
    from sigra_forward._outcome import State
    from sigra_forward._source import Found
    from sigra_forward.errors import UnreadableRowError
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


class AuditSource(AuditRepository, Protocol):
    """
    Reads the host's audit table from end to end, for a relay; most repositories are one.

    A position is opaque text, unique for each row, and compared by the database alone. Rows become visible out of
    order: whoever reads must come again. Nothing is held open between two calls.
    """

    def get_many(self, audit_event_ids: Sequence[str], /) -> Mapping[str, AuditEvent | UnreadableRowError]:
        """
        Return the committed rows that are there of *audit_event_ids*, by id.

        A row that cannot be told as an `AuditEvent` is there as the error that says why.
        """
        ...

    def head(self) -> str | None:
        """Return the position of the last row that is there now, or ``None`` where there is none."""
        ...

    def scan(
        self,
        after: str | None,
        limit: int,
        *,
        until: str | None = None,
        actions: Sequence[str] = ("*",),
        whole: bool = False,
    ) -> Sequence[Found]:
        """
        Return up to *limit* committed rows in ascending order of their positions.

        Args:
            after: The position to begin behind; ``None``: begin with the first row.
            limit: How many at most.
            until: The position of the last row to return; ``None``: there is no end.
            actions: Those of a `Route`; rows of other actions are left out.
            whole: Whether to tell the events, and not only their ids and times.
        """
        ...

    def count(self, *, after: str | None = None, until: str | None = None, actions: Sequence[str] = ("*",)) -> int:
        """Return how many rows `scan` would return in all."""
        ...


class Ledger(Protocol):
    """
    Keeps what was delivered, beyond the life of any process. It is called from several threads, and after a fork.

    Of two receipts of one event in one lane the later one stands only where

    * the earlier one is of another event that had the same id: it is of an ``occurred_at`` that differs by more than a
      second; the later one then begins the next generation;
    * or both are of one generation, and the later one is a yes and the earlier one is none, or was ``RETRYABLE`` and
      the later one comes from the holder of the lane's lease.
    """

    def create(self) -> None:
        """
        Make the tables, unless they are there.

        Raises:
            ConfigurationError: They are of a newer version of this library.
        """
        ...

    def now(self) -> datetime:
        """Return the time by the ledger's clock, which leases and retries go by."""
        ...

    def lane(self, source: str, forwarder: str, floor: datetime, /) -> Lane:
        """Return the lane of that name, made with *floor* where it is not there yet."""
        ...

    def lanes(self) -> Sequence[Lane]:
        """Return all lanes, in the order in which they were made."""
        ...

    def acquire(self, lane: int, owner: str, seconds: float, /) -> Lease | None:
        """Return a lease of *lane* for *owner*, or ``None`` while somebody else has it."""
        ...

    def renew(self, lease: Lease, seconds: float, /) -> Lease | None:
        """Return *lease* with *seconds* left to it from now on, or ``None`` where somebody else has the lane."""
        ...

    def release(self, lease: Lease, /) -> None:
        """Let somebody else have the lane at once; of a lease that was lost already, nothing comes."""
        ...

    def block(self, lane: int, seconds: float | None, /) -> None:
        """Open the lane's breaker for *seconds*, unless it is open for longer, or close it."""
        ...

    def look(self, lane: int, audit_event_id: str, /) -> Look:
        """Return what whoever is about to forward this one event must know, at one go."""
        ...

    def receipts(self, lane: int, audit_event_ids: Sequence[str], /) -> Mapping[str, Receipt]:
        """Return the receipts of those events that have one, by id."""
        ...

    def record(
        self,
        lane: int,
        receipts: Sequence[Receipt],
        lease: Lease | None = None,
        cursor: Cursor | None = None,
        failures: Sequence[FailedAttempt] = (),
        /,
    ) -> bool:
        """
        Write *receipts*, each once, and *cursor* and *failures* with them, in one transaction.

        Returns:
            Whether *lease*, where one was given, still held. Where it did not, each yes was written and nothing else.
        """
        ...

    def due(self, lane: int, limit: int, /) -> Sequence[Receipt]:
        """Return up to *limit* ``RETRYABLE`` receipts whose time has come, the longest due first."""
        ...

    def next_due(self, lane: int, /) -> datetime | None:
        """Return when the next ``RETRYABLE`` one is due, be it past or to come."""
        ...

    def counts(self, lane: int, /) -> Mapping[State, int]:
        """Return how many receipts there are in each state but ``COMPLETED``, without a look at those."""
        ...

    def page(self, lane: int, after: str, limit: int, states: Sequence[State] = ..., /) -> Sequence[Receipt]:
        """Return up to *limit* receipts behind the id *after*, in the order of ids, byte by byte."""
        ...

    def earliest_unpaid(self, lane: int, /) -> datetime | None:
        """
        Return the earliest ``occurred_at`` among what is not settled, without a look at what is completed.

        That is what is ``RETRYABLE``, and the dead letters that nobody has excused.
        """
        ...

    def replay(self, lane: int, receipts: Sequence[Receipt], delay: float = ..., /) -> int:
        """
        Make *receipts* due again: ``RETRYABLE`` in the next generation, with no attempt, reason or excuse.

        Only those that still stand as they were given, in their generation and state: a replay that was killed and is
        run again raises nothing twice.

        Args:
            lane: The lane's number.
            receipts: The receipts as they were read.
            delay: Seconds from now until they are due.

        Returns:
            How many there were.
        """
        ...

    def excuse(self, lane: int, audit_event_id: str, why: str, /) -> bool:
        """Write down why a dead letter shall not go out, and return whether there was one: cancelled or discarded."""
        ...

    def lower(self, lane: int, floor: datetime, cursor: Cursor, /) -> bool:
        """Lower the lane's floor, and write *cursor* with it; return whether it was higher. Else nothing is done."""
        ...

    def attempts(self, lane: int, audit_event_id: str, /) -> Sequence[FailedAttempt]:
        """Return the failed attempts of one event, in their order."""
        ...

    def cursors(self, lane: int, /) -> Mapping[str, Cursor]:
        """Return the lane's cursors by name."""
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
AnyLedger: TypeAlias = "Ledger | Any"
"""A `Ledger`, or one whose every method is awaited: a Protocol of that would say all of it twice."""
