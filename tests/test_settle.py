"""`RetryPolicy` and `settle`: where an attempt leaves the delivery, and when the next one is due."""

from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal
from math import ceil, inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sigra_forward import ConfigurationError, Outcome, Result, RetryPolicy, Settlement, State, backoff, settle
from sigra_forward._settle import DEFAULT_POLICY, attempt_number, seconds
from tests.support_ids import spelled
from tests.support_values import HidesItsClass, HidesItsName, HostileError, HostileFloat, HostileInt

ERROR = Result(Outcome.ERROR)

NO_SECONDS = [
    pytest.param(None, id="none"),
    pytest.param(inf, id="inf"),
    pytest.param(-inf, id="minus-inf"),
    pytest.param(nan, id="nan"),
    pytest.param(-1, id="negative"),
    pytest.param(-0.001, id="negative-float"),
    pytest.param(True, id="bool"),
    pytest.param("60", id="text"),
    pytest.param(Decimal(60), id="decimal"),
    pytest.param([60], id="list"),
    pytest.param(HostileInt(-1), id="hostile-negative"),
    pytest.param(HostileFloat(inf), id="hostile-inf"),
    pytest.param(HidesItsClass(), id="hides-its-class"),
    pytest.param(HidesItsName(), id="hides-its-name"),
]

durations = st.one_of(st.integers(0, 10**400), st.floats(0, allow_infinity=False, allow_nan=False))
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.integers(max_value=-1),
    st.sampled_from([inf, -inf, nan, -0.5, [], {}, object()]),
)


def waiting(value: object) -> Callable[[int], object]:
    """Return a backoff that always gives *value*."""
    return lambda _attempt: value


def failing(_attempt: int) -> float:
    """Raise, as a backoff."""
    raise HostileError


async def awaited(_attempt: int) -> float:
    """Give a number of seconds to those who await it."""
    return 1.0


def asked(retry_after: object) -> Result:
    """Return an error for which the sink asked to be left alone for *retry_after*."""
    return Result(Outcome.ERROR, retry_after=retry_after)


@pytest.mark.parametrize("value", NO_SECONDS)
def test_what_is_no_number_of_seconds(value: object) -> None:
    """What is not finite, negative, a bool or no number is no number of seconds."""
    assert seconds(value) is None


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        pytest.param(0, 0, id="zero"),
        pytest.param(0.5, 0.5, id="float"),
        pytest.param(10**400, 10**400, id="huge"),
        pytest.param(7, HostileInt(7), id="hostile-int"),
        pytest.param(7.5, HostileFloat(7.5), id="hostile-float"),
    ],
)
def test_what_is_a_number_of_seconds(expected: float, value: object) -> None:
    """A finite number of at least 0 is one, as a plain number, even when its methods raise."""
    actual = seconds(value)

    assert (expected, type(expected)) == (actual, type(actual))


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        pytest.param(1, 1, id="one"),
        pytest.param(7, 7, id="seven"),
        pytest.param(3, HostileInt(3), id="hostile"),
        pytest.param(1, 0, id="zero"),
        pytest.param(1, -4, id="negative"),
        pytest.param(1, True, id="bool"),
        pytest.param(1, 3.0, id="float"),
        pytest.param(1, "3", id="text"),
        pytest.param(1, None, id="none"),
        pytest.param(1, HidesItsClass(), id="hides-its-class"),
    ],
)
def test_an_attempt_that_is_junk_counts_as_one(expected: int, value: object) -> None:
    """A positive integer is the attempt it says, as a plain int, and anything else is attempt 1."""
    actual = attempt_number(value)

    assert (expected, int) == (actual, type(actual))


def test_W2_five_attempts_are_the_default() -> None:
    """Without a policy of its own a delivery has five attempts."""
    assert 5 == RetryPolicy().max_attempts


def test_the_defaults_of_a_policy() -> None:
    """The other numbers of the default policy are those of the design, and the default curve is `backoff`."""
    expected = RetryPolicy(5, backoff, 3600, 900, 259200, 0)

    assert expected == RetryPolicy() == DEFAULT_POLICY


@pytest.mark.parametrize(
    "max_attempts",
    [
        pytest.param(0, id="zero"),
        pytest.param(-1, id="negative"),
        pytest.param(True, id="bool"),
        pytest.param(5.0, id="float"),
        pytest.param("5", id="text"),
        pytest.param(None, id="none"),
        pytest.param(HidesItsClass(), id="hides-its-class"),
    ],
)
def test_a_policy_refuses_attempts_that_are_no_count(max_attempts: object) -> None:
    """``max_attempts`` must be an integer of at least 1."""
    with pytest.raises(
        ConfigurationError, match=r"^RetryPolicy\(max_attempts=\.\.\.\) must be an integer of at least 1$"
    ):
        RetryPolicy(max_attempts=max_attempts)


def test_a_policy_refuses_a_backoff_that_cannot_be_called() -> None:
    """``backoff`` must be callable, and the message says with what."""
    with pytest.raises(
        ConfigurationError,
        match=r"^RetryPolicy\(backoff=\.\.\.\) must be callable with the attempt that failed, and return seconds$",
    ):
        RetryPolicy(backoff=60)


@pytest.mark.parametrize("name", ["max_delay", "max_retry_after", "horizon", "not_found_grace"])
@pytest.mark.parametrize("value", NO_SECONDS)
def test_a_policy_refuses_durations_that_are_none(name: str, value: object) -> None:
    """Every duration of a policy must be a finite number of seconds, and the message names it."""
    with pytest.raises(
        ConfigurationError,
        match=rf"^RetryPolicy\({name}=\.\.\.\) must be a finite number of seconds of at least 0$",
    ):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("name", ["max_delay", "max_retry_after", "horizon", "not_found_grace"])
def test_a_policy_accepts_a_duration_of_zero(name: str) -> None:
    """Zero seconds is a duration."""
    assert 0 == getattr(RetryPolicy(**{name: 0}), name)


def test_ok_is_completed() -> None:
    """A delivery that went out is completed, whichever attempt it was."""
    assert Settlement(State.COMPLETED, None) == settle(Result(Outcome.OK), 5, DEFAULT_POLICY)


def test_cancel_is_cancelled() -> None:
    """A cancelled delivery is never tried again, not even after the first attempt."""
    assert Settlement(State.CANCELLED, None) == settle(Result(Outcome.CANCEL), 1, DEFAULT_POLICY)


@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
def test_an_error_before_the_last_attempt_is_retryable(attempt: int) -> None:
    """An error while attempts are left is retryable."""
    assert State.RETRYABLE is settle(ERROR, attempt, DEFAULT_POLICY).state


@pytest.mark.parametrize("attempt", [5, 6, 10**5000], ids=["last", "beyond", "huge"])
def test_W34_an_error_at_the_last_attempt_is_discarded(attempt: int) -> None:
    """When attempt 5 fails, and after it, the delivery is discarded and no retry is due."""
    assert Settlement(State.DISCARDED, None) == settle(ERROR, attempt, DEFAULT_POLICY)


def test_one_attempt_means_no_retry() -> None:
    """A policy of one attempt discards at the first error."""
    assert State.DISCARDED is settle(ERROR, 1, RetryPolicy(max_attempts=1)).state


@pytest.mark.parametrize("attempt", [0, -1, True, 1.0, "1", None], ids=spelled)
def test_settle_refuses_an_attempt_that_is_no_count(attempt: object) -> None:
    """`settle` is asked with a 1-based attempt; anything else is a mistake of the caller."""
    with pytest.raises(ValueError, match=r"^attempt must be an integer of at least 1: the first run is attempt 1$"):
        settle(ERROR, attempt, DEFAULT_POLICY)


@given(attempt=st.integers(1, 4))
def test_W33_retries_are_due_within_upstreams_bounds(attempt: int) -> None:
    """Under the default policy a retry is due when upstream's curve says so."""
    retry_in = settle(ERROR, attempt, DEFAULT_POLICY).retry_in

    assert retry_in in {backoff(attempt, jitter=jitter) for jitter in range(1, 11)}


@given(curve=durations, max_delay=durations, retry_after=durations, max_retry_after=durations)
def test_retry_in_is_the_formula(curve: float, max_delay: float, retry_after: float, max_retry_after: float) -> None:
    """``retry_in`` is ``ceil(max(min(backoff, max_delay), min(retry_after, max_retry_after)))``, an exact int."""
    policy = RetryPolicy(backoff=waiting(curve), max_delay=max_delay, max_retry_after=max_retry_after)

    retry_in = settle(asked(retry_after), 1, policy).retry_in

    assert (ceil(max(min(curve, max_delay), min(retry_after, max_retry_after))), int) == (retry_in, type(retry_in))


@pytest.mark.parametrize(
    ("expected", "curve", "retry_after"),
    [
        pytest.param(0, 0, None, id="at-once"),
        pytest.param(1, 0.001, None, id="rounded-up"),
        pytest.param(20, 20, 10, id="the-curve-is-longer"),
        pytest.param(30, 20, 30, id="the-sink-asked-for-longer"),
        pytest.param(31, 20, 30.2, id="the-sink-asked-for-a-fraction"),
        pytest.param(3600, 10**9, None, id="max-delay"),
        pytest.param(900, 20, 10**9, id="max-retry-after"),
        pytest.param(3600, 10**400, 10**400, id="huge"),
    ],
)
def test_when_a_retry_is_due(expected: int, curve: float, retry_after: float | None) -> None:
    """The longer of the curve and what the sink asked for counts, each within its own maximum."""
    assert expected == settle(asked(retry_after), 1, RetryPolicy(backoff=waiting(curve))).retry_in


@pytest.mark.parametrize("retry_after", NO_SECONDS)
def test_junk_in_retry_after_is_ignored(retry_after: object) -> None:
    """A ``retry_after`` that is no number of seconds changes nothing."""
    assert 20 == settle(asked(retry_after), 1, RetryPolicy(backoff=waiting(20))).retry_in


def test_a_backoff_is_asked_with_the_attempt_that_failed() -> None:
    """A custom backoff gets the 1-based attempt."""
    assert 30 == RetryPolicy(backoff=lambda attempt: attempt * 10).delay(3)


@pytest.mark.parametrize("given_back", NO_SECONDS)
def test_a_backoff_that_gives_junk_is_replaced(given_back: object) -> None:
    """A backoff that gives no finite number of at least 0 falls back to the default curve."""
    assert 275 <= RetryPolicy(backoff=waiting(given_back)).delay(4) <= 311


def test_a_backoff_that_gives_junk_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """That the curve was replaced is in the log, once, as a warning."""
    RetryPolicy(backoff=waiting(nan)).delay(1)

    text = "RetryPolicy.backoff gave no finite number of seconds: the default curve is used"
    assert [("sigra_forward", logging.WARNING, text)] == caplog.record_tuples


def test_a_backoff_that_raises_is_replaced_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """A backoff that raises falls back to the default curve, and the log names the type of what it raised alone."""
    delay = RetryPolicy(backoff=failing).delay(4)

    text = "RetryPolicy.backoff raised HostileError: the default curve is used"
    assert (True, [("sigra_forward", logging.WARNING, text)]) == (275 <= delay <= 311, caplog.record_tuples)


def test_a_backoff_that_is_async_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """An async backoff falls back to the default curve; nothing is left that was never awaited."""
    delay = RetryPolicy(backoff=awaited).delay(4)

    assert (True, 1) == (275 <= delay <= 311, len(caplog.records))


def test_a_backoff_that_works_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """A backoff that gives seconds leaves no log line."""
    RetryPolicy(backoff=waiting(1)).delay(1)

    assert [] == caplog.records


def test_an_order_to_the_process_passes_through_a_backoff() -> None:
    """What is no `Exception` is not swallowed."""

    def interrupted(_attempt: int) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RetryPolicy(backoff=interrupted).delay(1)


class Delivery(RuleBasedStateMachine):
    """One delivery under any policy: run it, whatever each attempt comes to, for as long as it is retryable."""

    @initialize(
        max_attempts=st.integers(1, 6),
        curve=st.one_of(durations.map(waiting), junk.map(waiting), st.just(failing), st.just(backoff)),
        max_delay=durations,
        max_retry_after=durations,
    )
    def begin(self, max_attempts: int, curve: Callable[[int], float], max_delay: float, max_retry_after: float) -> None:
        """Begin with a policy."""
        self.policy = RetryPolicy(max_attempts, curve, max_delay, max_retry_after)
        self.attempts = 0
        self.settlement = Settlement(State.RETRYABLE, 0)

    @precondition(lambda self: self.settlement.state is State.RETRYABLE)
    @rule(outcome=st.sampled_from(Outcome), retry_after=st.one_of(durations, junk))
    def run(self, outcome: Outcome, retry_after: object) -> None:
        """Run the next attempt."""
        self.attempts += 1
        result = Result(outcome, retry_after=retry_after)
        self.settlement = settle(result, self.attempts, self.policy)
        self.check_the_end(outcome)

    def check_the_end(self, outcome: Outcome) -> None:
        """Only an error with attempts left is tried again."""
        ends = {Outcome.OK: State.COMPLETED, Outcome.CANCEL: State.CANCELLED}
        left = self.attempts < self.policy.max_attempts
        assert ends.get(outcome, State.RETRYABLE if left else State.DISCARDED) is self.settlement.state

    @precondition(lambda self: self.settlement.state is not State.RETRYABLE)
    @rule()
    def rest(self) -> None:
        """Leave what has ended as it is: no retry is due."""
        assert self.settlement.retry_in is None

    @invariant()
    def no_path_runs_too_often(self) -> None:
        """No path runs more than ``max_attempts`` attempts."""
        assert self.attempts <= self.policy.max_attempts

    @invariant()
    def a_retry_is_due_in_whole_seconds_within_the_maxima(self) -> None:
        """``retry_in`` is an int of at least 0, and no longer than the longer maximum."""
        if self.settlement.state is State.RETRYABLE:
            most = ceil(max(self.policy.max_delay, self.policy.max_retry_after))
            assert type(self.settlement.retry_in) is int
            assert 0 <= self.settlement.retry_in <= most


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=200, stateful_step_count=10, deadline=None)
