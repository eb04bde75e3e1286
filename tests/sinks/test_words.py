"""What a sink says is kept without what it echoes of the events."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigra_forward.sinks.adapter import words_of
from sigra_forward.testing import make_event


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("index main is full", "index main is full", id="as_it_is"),
        pytest.param("a b c", " a\r\n\tb  c ", id="one_line"),
        pytest.param("a\N{REPLACEMENT CHARACTER}b", "a\x1bb", id="control"),
        pytest.param("x" * 299 + "…", "x" * 1000, id="long"),
    ],
)
def test_what_it_says_is_one_bounded_line(expected: str, said: str) -> None:
    """It goes into logs and tables."""
    assert expected == words_of(said, [])


VALUES = {
    "text": "hunter2 is my password",
    "short": "abc",
    "number": 4111111111111111,
    "negative": -12.75,
    "nested": {"deep": [{"er": "0123456789"}]},
    "quotes": 'say "hunter2" aloud',
    "newline": "one line\nanother line",
    "unicode": "Zoë Ó Néill-Müller",
    "key": {"very-secret-key": True},
    "markup": "<b>bold&brave</b>",
}


def texts(value: Any) -> list[str]:
    """Return what of *value* nobody may see."""
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [] if value in (True, "deep", "er") else [str(value)]


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize("quote", [str, json.dumps, escape, str.upper], ids=["plain", "json", "html", "upper"])
def test_what_it_echoes_is_left_out(value: Any, quote: Any) -> None:
    """As it is, as JSON or as HTML has it, and in any case."""
    secrets = texts(value)
    said = f"field x was refused: {' and '.join(quote(secret) for secret in secrets)} ; will not do"

    told = words_of(said, [make_event(), make_event(metadata={"x": value})])

    assert told.startswith("field x was refused: ")
    assert told.endswith("will not do")
    assert "…" in told
    assert [] == [secret for secret in secrets if secret.casefold() in told.casefold()]


@pytest.mark.parametrize("field", ["actor_id", "target_id", "ip_address", "user_agent", "organization_id"])
def test_fields_are_left_out_too(field: str) -> None:
    """Who did it, to whom, from where and with what."""
    assert "of … it is" == words_of("of 198.51.100.77 it is", [make_event(**{field: "198.51.100.77"})])


def test_a_part_of_a_value_is_left_out() -> None:
    """Sinks cut what they quote."""
    assert "bad: …..." == words_of("bad: 41111111...", [make_event(metadata={"card": 4111111111111111})])


def test_a_value_that_is_cut_by_our_own_bound_is_left_out() -> None:
    """What is kept is cut after it was cleaned."""
    said = "x" * 290 + " 4111111111111111"

    assert "x" * 290 + " …" == words_of(said, [make_event(metadata={"card": 4111111111111111})])


def test_what_everybody_may_know_stays() -> None:
    """An id, an action and an outcome are in all that is told of a delivery."""
    event = make_event(action="session.create", outcome="failure")

    said = f"failure: event {event.id} session.create has no user"
    assert said == words_of(said, [event])


@pytest.mark.parametrize("letters", ["İ", "ß", "ŉ"])
def test_letters_whose_case_changes_their_length(letters: str) -> None:
    """A text that cannot be compared place by place is told without its capitals."""
    told = words_of(f"{letters} Quoted SECRETS here", [make_event(metadata={"a": "secrets"})])

    assert told.endswith(" … here")


@given(st.text(min_size=3), st.text(), st.text())
def test_no_value_is_told_whole(value: str, before: str, after: str) -> None:
    """Whatever stands round it."""
    line = " ".join(value.split())
    told = words_of(f"{before} {value} {after}", [make_event(metadata={"a": value})])

    assert len(line) < 3 or line.casefold() not in told.casefold() or line.casefold() in "…"
