"""`Later` and `Limiter`."""

from __future__ import annotations

from threading import current_thread

import pytest

from sigra_forward.relay._work import Later, Limiter
from tests.support_perform import raises


def test_later_gives_what_was_returned() -> None:
    """From a thread of its own."""
    thread = Later(current_thread).result()

    assert current_thread() is not thread
    assert thread.daemon


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_later_raises_what_was_raised(error: type[BaseException]) -> None:
    """An order to the process, too."""
    later = Later(raises(error()))

    with pytest.raises(error):
        later.result()


def test_without_a_limit_everything_may_go() -> None:
    """At any time."""
    limiter = Limiter(None, 0.0)
    limiter.take(10**9)

    assert (17, 0.0, False) == (limiter.allowed(0.0, 17), limiter.next_in(), limiter.is_limiting)


def test_no_more_goes_than_the_rate_allows() -> None:
    """A second's worth at once, and then as many as the time has brought."""
    limiter = Limiter(100.0, 0.0)
    assert (100, True) == (limiter.allowed(0.0, 1000), limiter.is_limiting)
    limiter.take(100)

    assert (0, 0.1) == (limiter.allowed(0.0, 1000), limiter.next_in())
    assert [0, 50, 100, 20] == [
        limiter.allowed(0.05, 99),
        limiter.allowed(0.5, 99),
        limiter.allowed(9, 999),
        limiter.allowed(9, 20),
    ]


def test_a_rate_below_one_lets_one_through_at_a_time() -> None:
    """Every so many seconds."""
    limiter = Limiter(0.1, 0.0)
    assert 1 == limiter.allowed(0.0, 5)
    limiter.take(1)

    assert (0, 10.0) == (limiter.allowed(0.0, 5), limiter.next_in())
    assert [0, 1] == [limiter.allowed(9.0, 5), limiter.allowed(10.0, 5)]


def test_a_wait_is_never_a_rounding_error_long() -> None:
    """It would be no wait at all."""
    limiter = Limiter(3.0, 0.0)
    limiter.take(2)

    limiter.allowed(1e9, 1)

    assert limiter.next_in() >= 0.001
