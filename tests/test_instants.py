"""Reading ISO 8601 instants, the same way on every Python."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigra_forward._instants import parse_iso

offsets = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def at(*parts: int, offset: timedelta | None = None) -> datetime:
    """Return the morning of the last of January 2026 with *parts* after the minute."""
    return datetime(2026, 1, 31, 9, 30, *parts, tzinfo=None if offset is None else timezone(offset))


UTC = timedelta(0)


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        pytest.param(at(), "2026-01-31T09:30", id="minutes"),
        pytest.param(at(5), "2026-01-31T09:30:05", id="seconds"),
        pytest.param(at(5), "2026-01-31t09:30:05", id="small-t"),
        pytest.param(at(5), "2026-01-31 09:30:05", id="space"),
        pytest.param(at(5, 100000), "2026-01-31T09:30:05.1", id="one-digit"),
        pytest.param(at(5, 120000), "2026-01-31T09:30:05,12", id="comma"),
        pytest.param(at(5, 123456), "2026-01-31T09:30:05.123456", id="microseconds"),
        pytest.param(at(5, 123456), "2026-01-31T09:30:05.123456789", id="nanoseconds"),
        pytest.param(at(offset=UTC), "2026-01-31T09:30Z", id="minutes-z"),
        pytest.param(at(5, offset=UTC), "2026-01-31T09:30:05Z", id="z"),
        pytest.param(at(5, offset=UTC), "2026-01-31T09:30:05z", id="small-z"),
        pytest.param(at(5, offset=UTC), "2026-01-31 09:30:05 Z", id="space-z"),
        pytest.param(at(5, offset=UTC), "2026-01-31T09:30:05+00:00", id="zero-offset"),
        pytest.param(at(5, offset=UTC), "2026-01-31T09:30:05-00:00", id="minus-zero"),
        pytest.param(at(5, offset=timedelta(hours=2)), "2026-01-31 09:30:05+02", id="hours"),
        pytest.param(at(5, offset=timedelta(hours=5, minutes=45)), "2026-01-31T09:30:05+0545", id="without-colon"),
        pytest.param(at(5, offset=timedelta(hours=-3, minutes=-30)), "2026-01-31T09:30:05-03:30", id="west"),
        pytest.param(at(5, offset=timedelta(hours=23, minutes=59)), "2026-01-31T09:30:05+23:59", id="farthest"),
    ],
)
def test_what_is_read(expected: datetime, text: str) -> None:
    """These spellings are read, and are aware if and only if they have an offset."""
    actual = parse_iso(text)

    assert (expected, expected.utcoffset()) == (actual, actual.utcoffset())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("s3cret", id="no-date"),
        pytest.param("2026-01-31", id="date-alone"),
        pytest.param("2026-01-31T09", id="hours-alone"),
        pytest.param("2026-01-31_09:30", id="other-separator"),
        pytest.param("2026-13-01T09:30:00Z", id="month-13"),
        pytest.param("2026-02-30T09:30:00Z", id="february-30"),
        pytest.param("0000-01-01T00:00:00Z", id="year-zero"),
        pytest.param("2026-01-31T25:30:00Z", id="hour-25"),
        pytest.param("2026-01-31T09:60:00Z", id="minute-60"),
        pytest.param("2026-01-31T09:30:60Z", id="leap-second"),
        pytest.param("2026-01-31T09:30.5Z", id="fraction-of-a-minute"),
        pytest.param("2026-01-31T09:30:00.Z", id="empty-fraction"),
        pytest.param("2026-01-31T09:30:00.1234567890Z", id="ten-digits"),
        pytest.param("2026-01-31T09:30:00+24:00", id="offset-24"),
        pytest.param("2026-01-31T09:30:00+05:60", id="offset-minute-60"),
        pytest.param("2026-01-31T09:30:00+5", id="offset-one-digit"),
        pytest.param("2026-01-31T09:30:00\nZ", id="newline-inside"),
        pytest.param("2026-01-31T09:30:00Z\n", id="newline-after"),
        pytest.param(" 2026-01-31T09:30:00Z", id="space-before"),
        pytest.param("2026-01-31T09:30:00  Z", id="two-spaces"),
        pytest.param("٢٠٢٦-01-31T09:30:00Z", id="other-digits"),
    ],
)
def test_what_is_not_read(text: str) -> None:
    """Anything else is a `ValueError` that says what is expected and quotes nothing of the text."""
    with pytest.raises(ValueError, match=r"^not an ISO 8601 date and time, as in 2026-01-31T09:30:00Z$"):
        parse_iso(text)


@given(st.datetimes(timezones=st.one_of(st.none(), offsets)), st.sampled_from(["T", " "]))
def test_what_isoformat_writes_is_read_back(moment: datetime, separator: str) -> None:
    """Every `datetime` whose offset is whole minutes is read back as it was written."""
    actual = parse_iso(moment.isoformat(separator))

    assert (moment, moment.utcoffset()) == (actual, actual.utcoffset())


@given(st.text(st.characters(), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text leads to anything but an instant or a `ValueError`."""
    try:
        instant: object = parse_iso(text)
    except ValueError:
        instant = None

    assert instant is None or isinstance(instant, datetime)
