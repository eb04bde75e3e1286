"""`AsyncSQLAlchemyLedger`: the same receipts, by an ``AsyncEngine``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sigra_forward import State
from sigra_forward_sqlalchemy._ledger import SQLAlchemyLedger, carried
from sigra_forward_sqlalchemy._words import PostgreSQLWords

if TYPE_CHECKING:
    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import AsyncEngine

    from sigra_forward.stores.adapter import Cursor, FailedAttempt, Lane, Lease, Look, Receipt

T = TypeVar("T")

# mypy: disable-error-code="override"
# pyright: reportIncompatibleMethodOverride=false


class AsyncSQLAlchemyLedger(SQLAlchemyLedger):
    """
    The `SQLAlchemyLedger` whose operations are awaited, on any number of event loops.

    Each loop has connections of its own, as the engine's options say: most async drivers know no other way, and the
    library runs a loop beside the host's.
    """

    def __init__(self, engine: AsyncEngine, *, schema: str | None = None, metadata: MetaData | None = None) -> None:
        super().__init__(engine, schema=schema, metadata=metadata)

    async def close(self) -> None:
        """Close the connections of the running loop that are not in use. A later call opens one anew."""
        await self._database.close()

    async def _reading(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        return await self._database.read(carried, operation, *arguments)  # type: ignore[no-any-return]

    async def _changing(self, operation: Callable[..., T], /, *arguments: Any) -> T:
        return await self._database.change(carried, operation, *arguments)  # type: ignore[no-any-return]

    async def create(self) -> None:
        """See `Ledger.create`."""
        await self._changing(self._create)

    async def now(self) -> datetime:
        """See `Ledger.now`."""
        return await self._reading(self._now)

    async def lane(self, source: str, forwarder: str, floor: datetime) -> Lane:
        """See `Ledger.lane`."""
        return await self._changing(self._lane, source, forwarder, floor)

    async def lanes(self) -> Sequence[Lane]:
        """See `Ledger.lanes`."""
        return await self._reading(self._lanes)

    async def acquire(self, lane: int, owner: str, seconds: float) -> Lease | None:
        """See `Ledger.acquire`."""
        return await self._changing(self._acquire, lane, owner, seconds)

    async def renew(self, lease: Lease, seconds: float) -> Lease | None:
        """See `Ledger.renew`."""
        return await self._changing(self._renew, lease, seconds)

    async def release(self, lease: Lease) -> None:
        """See `Ledger.release`."""
        await self._changing(self._release, lease)

    async def block(self, lane: int, seconds: float | None) -> None:
        """See `Ledger.block`."""
        await self._changing(self._block, lane, seconds)

    async def look(self, lane: int, audit_event_id: str) -> Look:
        """See `Ledger.look`."""
        return await self._reading(self._look, lane, audit_event_id)

    async def receipts(self, lane: int, audit_event_ids: Sequence[str]) -> Mapping[str, Receipt]:
        """See `Ledger.receipts`."""
        return await self._reading(self._receipts, lane, audit_event_ids)

    async def record(
        self,
        lane: int,
        receipts: Sequence[Receipt],
        lease: Lease | None = None,
        cursor: Cursor | None = None,
        failures: Sequence[FailedAttempt] = (),
    ) -> bool:
        """See `SQLAlchemyLedger.record`."""
        given = (lane, receipts, lease, cursor, failures)
        if isinstance(self._words, PostgreSQLWords):
            return await self._database.at_once(carried, self._record_at_once, *given)  # type: ignore[no-any-return]
        return await self._changing(self._record, *given)

    async def due(self, lane: int, limit: int) -> Sequence[Receipt]:
        """See `Ledger.due`."""
        return await self._reading(self._due, lane, limit)

    async def next_due(self, lane: int) -> datetime | None:
        """See `Ledger.next_due`."""
        return await self._reading(self._next_due, lane)

    async def counts(self, lane: int) -> Mapping[State, int]:
        """See `Ledger.counts`."""
        return await self._reading(self._counts, lane)

    async def page(
        self, lane: int, after: str, limit: int, states: Sequence[State] = tuple(State)
    ) -> Sequence[Receipt]:
        """See `Ledger.page`."""
        return await self._reading(self._page, lane, after, limit, states)

    async def earliest_unpaid(self, lane: int) -> datetime | None:
        """See `Ledger.earliest_unpaid`."""
        return await self._reading(self._earliest_unpaid, lane)

    async def replay(self, lane: int, receipts: Sequence[Receipt], delay: float = 0.0) -> int:
        """See `Ledger.replay`."""
        return await self._changing(self._replay, lane, receipts, delay)

    async def excuse(self, lane: int, audit_event_id: str, why: str) -> bool:
        """See `Ledger.excuse`."""
        return await self._changing(self._excuse, lane, audit_event_id, why)

    async def lower(self, lane: int, floor: datetime, cursor: Cursor) -> bool:
        """See `Ledger.lower`."""
        return await self._changing(self._lower, lane, floor, cursor)

    async def attempts(self, lane: int, audit_event_id: str) -> Sequence[FailedAttempt]:
        """See `Ledger.attempts`."""
        return await self._reading(self._attempts, lane, audit_event_id)

    async def cursors(self, lane: int) -> Mapping[str, Cursor]:
        """See `Ledger.cursors`."""
        return await self._reading(self._cursors, lane)
