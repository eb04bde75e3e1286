"""`Places`: as many connections as there are places, and no more."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from sigra_forward.queues.adapter import MAX_CONNECTIONS, Places
from tests.support_parts import PATIENCE, InThread, python


def test_there_are_so_many() -> None:
    """When all are in use, the next one is told so in time, and has one when one is given back."""
    places = Places()
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(places.one(0))

        with pytest.raises(TimeoutError, match=rf"^all {MAX_CONNECTIONS} connections are in use$"), places.one(0.01):
            pass
        assert 0 == places.free
    with places.one(0):
        assert MAX_CONNECTIONS - 1 == places.free


def test_one_is_given_back_whatever_happens() -> None:
    """An exception, an order to the process included, keeps no place."""
    places = Places()
    for order in (ValueError, SystemExit):
        with pytest.raises(order), places.one(0):
            raise order

    assert MAX_CONNECTIONS == places.free


@pytest.mark.parametrize("seconds", [-1.0, 0.0])
def test_with_no_time_left_a_free_one_is_had_all_the_same(seconds: float) -> None:
    """Only waiting takes time."""
    with Places().one(seconds):
        pass


def test_one_that_waits_has_the_next() -> None:
    """It is woken by whoever gives one back."""
    places, go = Places(), threading.Event()

    def use() -> bool:
        with places.one(PATIENCE):
            return go.wait(PATIENCE)

    using = [InThread(use) for _ in range(MAX_CONNECTIONS + 1)]
    go.set()

    assert [True] * (MAX_CONNECTIONS + 1) == [one.result() for one in using]


def test_a_child_process_has_all_of_them() -> None:
    """What was in use in the parent is not in use in the child, and is given back in the parent alone."""
    printed = python(
        """
        import os
        from sigra_forward.queues.adapter import MAX_CONNECTIONS, Places
        places = Places()
        with places.one(0):
            child = os.fork()
            within = places.free
        after = places.free
        if child == 0:
            os._exit(0 if (within, after) == (MAX_CONNECTIONS, MAX_CONNECTIONS) else 1)
        print(os.waitpid(child, 0)[1], MAX_CONNECTIONS - within, MAX_CONNECTIONS - after)
        """
    )

    assert "0 1 0" == printed.strip()
