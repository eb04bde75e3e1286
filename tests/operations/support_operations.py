"""A lane with an operator at it: sync ports, or the same ones awaited."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from sigra_forward import AuditForward, Route, State
from sigra_forward._ledger import Receipt
from tests.relay.support_lane import BEGIN, World


class Awaited:
    """A port whose every method is awaited."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        async def call(*arguments: Any, **options: Any) -> Any:
            return found(*arguments, **options)

        return call


class OperatedWorld(World):
    """A `World` that an operator looks at, by ports that are awaited where *is_async*."""

    def __init__(self, folder: Path, *, is_async: bool = False, **options: Any) -> None:
        super().__init__(folder, **options)
        self._is_async = is_async
        self.operated = self.seen()

    def seen(self, **route: Any) -> AuditForward:
        """Return an AuditForward over these ports, as an operator has it."""
        wrap = Awaited if self._is_async else lambda port: port
        routes = {"siem": Route(self.sink, **{"since": BEGIN, **route})}
        return AuditForward(wrap(self.table), routes, ledger=wrap(self.ledger), telemetry=self.telemetry)

    def settle(self, state: State, *ids: str, **fields: Any) -> None:
        """Write down receipts of committed events, a second ago."""
        receipts = []
        for name in ids:
            event = self.table.get(name)
            now = self.now()
            due_at = now if state is State.RETRYABLE else None
            receipt = Receipt(name, event.occurred_at if event else now, state, now, now, due_at=due_at)
            receipts.append(evolve(receipt, **fields))
        self.ledger.record(self.lane.number, receipts)
        self.clock.advance(1)

    def take_over(self, **options: Any) -> None:
        """Have another relay work the lane, which looks for receipts up to the last row that is there now."""
        self.worker.let_go()
        self.options = options
        self.worker = self.another("another")
        self.run(0)

    def due_ids(self) -> list[str]:
        """Return what is due."""
        return [receipt.audit_event_id for receipt in self.ledger.due(self.lane.number, 10**6)]


def kinds(differences: Sequence[Any]) -> dict[str, str]:
    """Return what each difference is, by its id."""
    return {each.audit_event_id: each.kind.value for each in differences}
