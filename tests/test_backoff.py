"""The default retry curve: its bounds, its exact values, and what it refuses."""

from __future__ import annotations

from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigra_forward import backoff
from sigra_forward._backoff import is_count
from tests.support_values import HidesItsClass, HidesItsName, HostileInt

attempts = st.integers(min_value=1, max_value=10**9)
jitters = st.integers(min_value=1, max_value=10)

NO_COUNTS = [
    pytest.param(0, id="zero"),
    pytest.param(-1, id="negative"),
    pytest.param(True, id="true"),
    pytest.param(False, id="false"),
    pytest.param(1.0, id="float"),
    pytest.param(float("nan"), id="nan"),
    pytest.param("1", id="text"),
    pytest.param(b"1", id="bytes"),
    pytest.param(1j, id="complex"),
    pytest.param([1], id="list"),
    pytest.param(-(10**5000), id="huge-negative"),
    pytest.param(HostileInt(0), id="hostile-zero"),
    pytest.param(HidesItsClass(), id="hides-its-class"),
    pytest.param(HidesItsName(), id="hides-its-name"),
]


class Nth(IntEnum):
    """Attempts by name."""

    FIRST = 1
    ELEVENTH = 11


def values_after(attempt: int) -> list[int]:
    """Return every delay that can follow failed *attempt*, least first."""
    return [backoff(attempt, jitter=jitter) for jitter in range(1, 11)]


@pytest.mark.parametrize(
    ("attempt", "least", "most"),
    [
        pytest.param(1, 17, 26, id="attempt-1"),
        pytest.param(2, 33, 51, id="attempt-2"),
        pytest.param(3, 99, 126, id="attempt-3"),
    ],
)
def test_W9_first_three_delays_are_upstreams(attempt: int, least: int, most: int) -> None:
    """
    The first three delays have upstream's bounds.

    Upstream's email test says 16 to 26 for attempt 1; the true minimum of its curve is 17.
    """
    delays = values_after(attempt)

    assert (least, most) == (min(delays), max(delays))


@pytest.mark.parametrize(
    ("attempt", "least", "most"),
    [
        pytest.param(1, 17, 26, id="attempt-1"),
        pytest.param(2, 33, 51, id="attempt-2"),
        pytest.param(3, 99, 126, id="attempt-3"),
        pytest.param(4, 275, 311, id="attempt-4"),
    ],
)
def test_W33_delays_drawn_at_random_keep_the_bounds_of_each_retry(attempt: int, least: int, most: int) -> None:
    """A thousand delays drawn at random reach both bounds of their attempt, and nothing outside them."""
    drawn = [backoff(attempt) for _ in range(1000)]

    assert (least, most) == (min(drawn), max(drawn))


def test_four_retries_take_seven_to_eight_and_a_half_minutes() -> None:
    """The four delays of the default policy add up to 424 to 514 seconds."""
    delays = [values_after(attempt) for attempt in range(1, 5)]

    assert (424, 514) == (sum(map(min, delays)), sum(map(max, delays)))


@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_W3_a_delay_is_a_positive_integer(attempt: int) -> None:
    """The delay after attempts 1, 2 and 3 is an int above 0."""
    delay = backoff(attempt)

    assert (int, True) == (type(delay), delay > 0)


@given(attempt=attempts, jitter=jitters)
def test_W4_the_formula_is_upstreams(attempt: int, jitter: int) -> None:
    """A pinned delay is ``n**4 + 15 + r * n``: the expression of upstream's email worker, to the letter."""
    assert attempt**4 + 15 + jitter * attempt == backoff(attempt, jitter=jitter)


@given(attempt=attempts)
def test_W10_every_delay_exceeds_every_delay_of_the_attempt_before(attempt: int) -> None:
    """The least delay after one attempt is above the longest after the attempt before; upstream tests 1 and 2."""
    assert max(values_after(attempt)) < min(values_after(attempt + 1))


@given(attempt=attempts)
def test_a_random_delay_is_one_of_ten(attempt: int) -> None:
    """What is drawn at random is one of the ten values of that attempt, and an exact int."""
    delay = backoff(attempt)

    assert (True, int) == (delay in values_after(attempt), type(delay))


@pytest.mark.parametrize("attempt", [1, 2, 3, 4, 5, 20])
def test_random_delays_take_all_ten_values(attempt: int) -> None:
    """Drawn often enough, exactly the ten values of an attempt come up."""
    drawn = {backoff(attempt) for _ in range(1000)}

    assert set(values_after(attempt)) == drawn


@given(attempt=attempts)
def test_the_ten_values_of_an_attempt_are_distinct(attempt: int) -> None:
    """Each jitter gives its own delay."""
    assert 10 == len(set(values_after(attempt)))


def test_a_huge_attempt_has_a_delay() -> None:
    """No attempt is too large for the curve."""
    assert 10**20000 + 15 + 10**5000 == backoff(10**5000, jitter=1)


@pytest.mark.parametrize("attempt", NO_COUNTS)
def test_an_attempt_that_is_no_count_is_refused(attempt: object) -> None:
    """An attempt that is less than 1 or no integer is a `ValueError` that says so."""
    with pytest.raises(ValueError, match=r"^attempt must be an integer of at least 1, the attempt that failed; got "):
        backoff(attempt)


@pytest.mark.parametrize("jitter", [*NO_COUNTS, pytest.param(11, id="eleven"), pytest.param(10**5000, id="huge")])
def test_a_jitter_that_is_out_of_range_is_refused(jitter: object) -> None:
    """A jitter outside 1 to 10, or one that is no integer, is a `ValueError` that says so."""
    with pytest.raises(ValueError, match=r"^jitter must be an integer from 1 to 10; got "):
        backoff(1, jitter=jitter)


@given(attempt=st.integers(max_value=0))
def test_no_attempt_below_one_has_a_delay(attempt: int) -> None:
    """Every integer below 1 is refused."""
    with pytest.raises(ValueError, match="attempt must be"):
        backoff(attempt)


@pytest.mark.parametrize(
    ("attempt", "told"),
    [
        pytest.param(0, "0", id="zero"),
        pytest.param(-999, "-999", id="short"),
        pytest.param(-1000, "int", id="long"),
        pytest.param(True, "True", id="bool"),
        pytest.param("s3cret", "str", id="text"),
        pytest.param(HostileInt(0), "HostileInt", id="hostile"),
    ],
)
def test_a_message_quotes_short_numbers_only(attempt: object, told: str) -> None:
    """A refused value is quoted if it is a short number or a bool; of all else the type is told."""
    with pytest.raises(ValueError, match=f"; got {told}$"):
        backoff(attempt)


@pytest.mark.parametrize(
    ("jitter", "told"), [pytest.param(999, "999", id="short"), pytest.param(1000, "int", id="long")]
)
def test_a_message_quotes_three_digits_at_most(jitter: int, told: str) -> None:
    """A number of four digits is not quoted."""
    with pytest.raises(ValueError, match=f"; got {told}$"):
        backoff(1, jitter=jitter)


def test_a_number_that_raises_in_its_own_methods_still_counts() -> None:
    """A subclass of `int` counts as the number it is, whatever its methods do, and the delay is an exact int."""
    delay = backoff(HostileInt(2), jitter=HostileInt(3))

    assert (37, int) == (delay, type(delay))


def test_named_integers_count() -> None:
    """A member of an `IntEnum` is an integer."""
    assert 17 == backoff(Nth.FIRST, jitter=Nth.FIRST)


def test_a_named_jitter_out_of_range_is_refused() -> None:
    """A subclass of `int` above 10 is no jitter, and is told by its type."""
    with pytest.raises(ValueError, match=r"got Nth$"):
        backoff(1, jitter=Nth.ELEVENTH)


@pytest.mark.parametrize("value", NO_COUNTS)
def test_what_is_no_count(value: object) -> None:
    """Less than 1, a bool, and all that is no integer is no count."""
    assert is_count(value) is False


@pytest.mark.parametrize("value", [1, 2, 10**5000, Nth.FIRST], ids=["one", "two", "huge", "enum"])
def test_what_is_a_count(value: int) -> None:
    """Integers from 1 are counts."""
    assert is_count(value) is True
