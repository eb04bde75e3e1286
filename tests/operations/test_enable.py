"""`enable`: a lane whose sink wants nothing more stands still until somebody lets it go on."""

from __future__ import annotations

from typing import Any

import pytest

from sigra_forward import ConfigurationError
from sigra_forward.errors import SinkDisabledError
from sigra_forward.operations import enable, status

DAY = 86400


def gone(world: Any) -> Any:
    """Have the sink say that it wants nothing more."""
    world.sink.rule = lambda _: SinkDisabledError("http_410")
    world.commit("1", "2")
    world.run(10)
    return world


def test_a_sink_that_wants_nothing_more_is_not_called_again(world: Any) -> None:
    """Neither soon nor later; nothing is charged to an event, and all of them stay owed."""
    gone(world)
    calls = len(world.sink.calls)
    world.commit("3")
    world.run(30 * DAY)

    (lane,) = status(world.operated)
    assert (1, 1, True) == (calls, len(world.sink.calls), lane.is_disabled)
    assert [0, 0, 0] == [lane.retryable, lane.cancelled, lane.discarded]


def test_it_goes_on_when_somebody_says_so(world: Any) -> None:
    """Within seconds, with all that was committed meanwhile."""
    gone(world)
    world.commit("3")
    world.sink.rule = lambda _: None

    assert (True, False) == (enable(world.operated, "siem"), enable(world.operated, "siem"))
    world.run(30)
    assert (["1", "2", "3"], False) == (sorted(world.sink.ids), status(world.operated)[0].is_disabled)


def test_one_that_still_wants_nothing_is_asked_once(world: Any) -> None:
    """And its lane stands still again."""
    gone(world)
    enable(world.operated, "siem")
    world.run(30 * DAY)

    assert (2, True) == (len(world.sink.calls), status(world.operated)[0].is_disabled)


def test_another_failure_does_not_let_it_go_on(world: Any) -> None:
    """A job that was under way may fail otherwise a moment later."""
    gone(world)
    world.ledger.block(world.lane.number, 30)
    world.run(DAY)

    assert (1, True) == (len(world.sink.calls), status(world.operated)[0].is_disabled)


def test_a_lane_that_is_not_there(world: Any) -> None:
    """The error names those that are."""
    with pytest.raises(ConfigurationError, match=r"no lane of that name; those of 'audit_events' are: siem$"):
        enable(world.operated, "nobody")
