"""A sink that is down for a day with one event among many that it will never take, on a clock that is moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sigra_forward import SchemaMismatchError, SinkError, State
from sigra_forward.telemetry import Discarded
from tests.proof.support_stage import sized
from tests.relay.support_lane import World

DAY = 24 * 3600
PROBE_INTERVAL = 30.0
RATE = 500.0
POISON = "e00100"

Report = Callable[..., None]


class TestOnFakeClock:
    """A lane in this process, with a ledger in SQLite."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        """Give a lane that has begun."""
        world = World(tmp_path, recovery_rate=RATE, probe_interval=PROBE_INTERVAL)
        world.run(0)
        yield world
        world.ledger.close()

    @pytest.mark.parametrize("retry_after", [None, 120], ids=["plain", "retry_after_120"])
    def test_a_day_without_the_sink(self, world: World, retry_after: int | None, report: Report) -> None:
        """Nothing is given up for it, few calls are made, and it drains no faster than it may; the poison alone ends."""
        names = [f"e{number:05}" for number in range(sized(2_000, 50_000))]
        down: Any = SinkError("http_503", retry_after=retry_after)
        world.sink.rule = lambda _: down
        world.commit(*names)
        world.run(DAY)
        calls = [moment for moment, _ in world.sink.calls]
        during = (world.states(), list(world.sink.ids), world.telemetry.of(Discarded))
        poison = SchemaMismatchError("no field of ours")
        world.sink.rule = lambda event: poison if event.id == POISON else None
        back_at = world.clock.monotonic()
        fastest = 0
        while len(world.sink.ids) < len(names) - 1:
            assert world.clock.monotonic() < back_at + 2 * len(names) / RATE + 600
            before = len(world.sink.ids)
            world.run(1)
            fastest = max(fastest, len(world.sink.ids) - before)
        drained_in = world.clock.monotonic() - back_at
        world.run(600)
        states = Counter(world.states().values())
        receipt: Any = world.receipt(POISON)
        interval = retry_after or PROBE_INTERVAL
        report(rows=len(names), calls=len(calls), drained_in=f"{drained_in:.0f} s", most_in_a_second=fastest)

        assert ({}, [], []) == during
        assert len(calls) <= 1 + 2 * DAY / interval
        assert all(later - earlier >= (retry_after or 0) for earlier, later in pairwise(calls))
        assert fastest <= RATE + 2  # the events of a probe go beside it
        assert drained_in >= len(names) / RATE - 2
        assert {State.COMPLETED: len(names) - 1, State.CANCELLED: 1} == states
        assert (State.CANCELLED, "no field of ours") == (receipt.state, receipt.detail)
        assert sorted({*names} - {POISON}) == sorted(world.sink.ids)
