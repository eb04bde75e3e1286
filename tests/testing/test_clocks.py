"""The clocks of the test kit."""

from __future__ import annotations

from threading import Condition, Thread

import pytest

from sigra_forward._clock import SYSTEM_CLOCK, Clock
from sigra_forward.testing import FakeClock, ScaledClock
from sigra_forward.testing.contracts._hostile import run_in_threads
from tests.support_parts import InThread, wait_until


class Waiter:
    """Waits for a moment in a thread, as everyone does who has a clock: in a loop, and holding its condition."""

    def __init__(self, clock: Clock, moment: float | None) -> None:
        self.clock = clock
        self.moment = moment
        self.condition = Condition()
        self.is_told = False
        self.rounds = 0
        self.call = InThread(self._wait)

    def _wait(self) -> float:
        with self.condition:
            while not self.is_told and (self.moment is None or self.clock.monotonic() < self.moment):
                self.rounds += 1
                self.clock.wait_until(self.condition, self.moment)
            return self.clock.monotonic()

    def notify(self) -> None:
        """Tell it that it need not wait any more."""
        with self.condition:
            self.is_told = True
            self.condition.notify()


def wait_for_waiters(clock: FakeClock, count: int) -> None:
    """Wait until so many wait for *clock*."""
    wait_until(lambda: sum(clock._waiting.values()) == count)


# FakeClock


def test_a_fake_clock_stands_still() -> None:
    """It begins where it is told to, and moves by what it is told to."""
    clock = FakeClock(5)
    before = [clock.monotonic(), clock.monotonic()]

    clock.advance(2.5)

    assert ([5, 5], 7.5) == (before, clock.monotonic())


def test_a_fake_clock_wakes_who_waited_for_that_moment() -> None:
    """The one whose moment has come goes on, and the other waits."""
    clock = FakeClock()
    soon, later = Waiter(clock, 10), Waiter(clock, 20)
    wait_for_waiters(clock, 2)

    clock.advance(10)

    assert 10 == soon.call.result()
    wait_for_waiters(clock, 1)
    assert not later.call.is_done
    clock.advance(10)
    assert 20 == later.call.result()


def test_a_fake_clock_wakes_nobody_too_early() -> None:
    """Whoever is woken before its moment waits again."""
    clock = FakeClock()
    waiter = Waiter(clock, 10)
    wait_for_waiters(clock, 1)

    clock.advance(9.5)

    wait_until(lambda: waiter.rounds == 2)
    assert not waiter.call.is_done
    clock.advance(0.5)
    assert 10 == waiter.call.result()


@pytest.mark.parametrize("moment", [None, 10], ids=["never", "later"])
def test_a_notification_ends_a_wait_on_a_fake_clock(moment: float | None) -> None:
    """The condition is the caller's: it is woken by that, and the clock has not moved."""
    clock = FakeClock()
    waiter = Waiter(clock, moment)
    wait_for_waiters(clock, 1)

    waiter.notify()

    assert (0, 0) == (waiter.call.result(), sum(clock._waiting.values()))


@pytest.mark.parametrize("moment", [0, -1], ids=["now", "past"])
def test_a_moment_that_has_come_is_not_waited_for(moment: float) -> None:
    """Nobody need move the clock for that."""
    condition = Condition()

    with condition:
        FakeClock().wait_until(condition, moment)

    assert not condition._is_owned()


def test_a_fake_clock_moves_on_to_the_next_moment() -> None:
    """The earliest that somebody waits for, and then the next."""
    clock = FakeClock()
    waiters = [Waiter(clock, moment) for moment in (30, 10, 20)]
    never = Waiter(clock, None)
    wait_for_waiters(clock, 4)

    moments = []
    for count in (3, 2, 1):
        moments.append(clock.advance_to_next())
        wait_for_waiters(clock, count)

    assert [10, 20, 30] == moments
    assert [30, 10, 20] == [waiter.call.result() for waiter in waiters]
    never.notify()
    never.call.result()


def test_a_fake_clock_waits_for_somebody_to_wait() -> None:
    """It can be told to move on before there is a moment to move to."""
    clock = FakeClock()
    moving = InThread(clock.advance_to_next, 1000)
    wait_until(lambda: clock._changed._waiters)

    waiter = Waiter(clock, 10)

    assert (10, 10) == (moving.result(), waiter.call.result())


def test_a_fake_clock_for_which_nobody_waits_says_so() -> None:
    """A test that would hang fails."""
    clock = FakeClock()
    never = Waiter(clock, None)
    wait_for_waiters(clock, 1)

    with pytest.raises(AssertionError, match="nobody waits for this clock"):
        clock.advance_to_next(timeout=0.01)

    never.notify()
    never.call.result()


def test_several_threads_may_move_a_fake_clock() -> None:
    """No step is lost."""
    clock = FakeClock()

    run_in_threads([lambda: [clock.advance(1) for _ in range(1000)]] * 4)

    assert 4000 == clock.monotonic()


def test_a_fake_clock_never_misses_a_waiter() -> None:
    """Whenever it is moved between the question for the time and the wait, the waiter goes on."""
    for _ in range(300):
        clock = FakeClock()
        waiters = [Waiter(clock, 1), Waiter(clock, 2)]
        clock.advance(1)
        clock.advance(1)

        assert [True, True] == [waiter.call.result() >= waiter.moment for waiter in waiters]


# ScaledClock, and the machine's


def test_a_scaled_clock_is_so_many_times_as_fast() -> None:
    """Its seconds are a fraction of the machine's."""
    before = SYSTEM_CLOCK.monotonic()
    scaled = ScaledClock(1000).monotonic()
    after = SYSTEM_CLOCK.monotonic()

    assert 1000 * before <= scaled <= 1000 * after


@pytest.mark.parametrize("clock", [ScaledClock(1_000_000), SYSTEM_CLOCK], ids=["scaled", "machine"])
def test_a_clock_that_runs_wakes_at_the_moment(clock: Clock) -> None:
    """Not before it: the waiter of a loop sees that its moment has come."""
    moment = clock.monotonic() + 0.01

    assert Waiter(clock, moment).call.result() >= moment


@pytest.mark.parametrize("clock", [ScaledClock(0.001), SYSTEM_CLOCK], ids=["scaled", "machine"])
@pytest.mark.parametrize("ahead", [None, 1000], ids=["never", "later"])
def test_a_notification_ends_a_wait_on_a_clock_that_runs(clock: Clock, ahead: float | None) -> None:
    """Long before the moment."""
    waiter = Waiter(clock, None if ahead is None else clock.monotonic() + ahead)
    wait_until(lambda: waiter.rounds)

    waiter.notify()

    assert waiter.call.result() is not None


@pytest.mark.parametrize("clock", [ScaledClock(10), SYSTEM_CLOCK], ids=["scaled", "machine"])
def test_a_moment_in_the_past_is_no_error(clock: Clock) -> None:
    """Time passes between the question and the wait."""
    condition = Condition()

    with condition:
        clock.wait_until(condition, clock.monotonic() - 100)

    assert not condition._is_owned()


@pytest.mark.parametrize("clock", [ScaledClock(10), SYSTEM_CLOCK], ids=["scaled", "machine"])
def test_a_moment_beyond_what_the_platform_can_wait_for_is_no_error(clock: Clock) -> None:
    """A wait for a moment in a thousand years ends when it is notified."""
    condition = Condition()
    with condition:
        notifier = Thread(target=_notify, args=(condition,))
        notifier.start()

        clock.wait_until(condition, 1e12)
    notifier.join()


def _notify(condition: Condition) -> None:
    with condition:
        condition.notify_all()
