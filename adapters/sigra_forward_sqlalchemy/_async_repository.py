"""`AsyncSQLAlchemyAuditRepository`: the same table, by an ``AsyncEngine``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sigra_forward import AuditEvent
from sigra_forward.errors import UnreadableRowError
from sigra_forward_sqlalchemy._repository import SQLAlchemyAuditRepository

if TYPE_CHECKING:
    from sigra_forward.stores.adapter import Found

# mypy: disable-error-code="override"
# pyright: reportIncompatibleMethodOverride=false


class AsyncSQLAlchemyAuditRepository(SQLAlchemyAuditRepository):
    """
    The `SQLAlchemyAuditRepository` whose operations are awaited, on any number of event loops.

    Each loop has connections of its own, as the engine's options say: most async drivers know no other way, and the
    library runs a loop beside the host's.
    """

    async def get(self, audit_event_id: str, /) -> AuditEvent | None:
        """See `SQLAlchemyAuditRepository.get`."""
        return await self._database.read(self._get, audit_event_id)  # type: ignore[no-any-return]

    async def get_many(self, audit_event_ids: Sequence[str], /) -> Mapping[str, AuditEvent | UnreadableRowError]:
        """See `SQLAlchemyAuditRepository.get_many`."""
        return await self._database.read(self._get_many, audit_event_ids)  # type: ignore[no-any-return]

    async def head(self) -> str | None:
        """See `SQLAlchemyAuditRepository.head`."""
        return await self._database.read(self._head)  # type: ignore[no-any-return]

    async def scan(
        self,
        after: str | None,
        limit: int,
        *,
        until: str | None = None,
        actions: Sequence[str] = ("*",),
        whole: bool = False,
    ) -> Sequence[Found]:
        """See `SQLAlchemyAuditRepository.scan`."""
        scanning = self._database.read(self._scan, after, limit, until, actions, whole)
        return await scanning  # type: ignore[no-any-return]

    async def count(
        self, *, after: str | None = None, until: str | None = None, actions: Sequence[str] = ("*",)
    ) -> int:
        """See `SQLAlchemyAuditRepository.count`."""
        return await self._database.read(self._count, after, until, actions)  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Close the connections of the running loop that are not in use. A later call opens one anew."""
        await self._database.close()
