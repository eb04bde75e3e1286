"""What may stand in a name or a reference, and what is kept of a foreign type."""

from __future__ import annotations

import string
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigra_forward._names import bounded, is_name, is_reference, type_name
from tests.support_values import HidesItsClass, HidesItsName, HostileError, HostileStr


def test_references_forbid_four_categories_of_characters() -> None:
    """Of all code points exactly those of category Cc, Cs, Zl and Zp cannot stand in a reference."""
    characters = map(chr, range(sys.maxunicode + 1))
    expected = {char for char in characters if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}}

    assert expected == {char for char in map(chr, range(sys.maxunicode + 1)) if not is_reference(char)}


def test_names_take_66_characters() -> None:
    """Of all code points exactly A-Z a-z 0-9 and four signs can stand in a name."""
    expected = set(string.ascii_letters + string.digits + "_.:-")

    assert expected == {char for char in map(chr, range(sys.maxunicode + 1)) if is_name(char)}


@pytest.mark.parametrize("accepts", [is_reference, is_name])
@pytest.mark.parametrize(
    ("expected", "text"),
    [
        pytest.param(False, "", id="empty"),
        pytest.param(True, "a", id="one"),
        pytest.param(True, "a" * 255, id="longest"),
        pytest.param(False, "a" * 256, id="too-long"),
        pytest.param(False, "a\n", id="trailing-newline"),
        pytest.param(False, "\x00a", id="leading-nul"),
        pytest.param(False, "a" * 254 + "\ud800", id="surrogate"),
        pytest.param(False, b"a", id="bytes"),
        pytest.param(False, None, id="none"),
        pytest.param(False, 1, id="int"),
        pytest.param(False, HostileStr("a"), id="hostile-subclass"),
        pytest.param(False, HidesItsClass(), id="hides-its-class"),
    ],
)
def test_lengths_and_types(accepts: object, expected: bool, text: object) -> None:
    """A name and a reference are an exact `str` of 1 to 255 characters, all of them allowed."""
    assert expected is accepts(text)


@given(st.text(st.characters(), max_size=40))
def test_a_bounded_text_could_stand_in_a_reference(text: str) -> None:
    """A bounded text has no character that could break a log line."""
    assert is_reference("a" + bounded(text, 50))


@given(st.text(st.characters(), max_size=40), st.integers(1, 20))
def test_a_bounded_text_keeps_its_limit(text: str, limit: int) -> None:
    """A bounded text is as long as it was, or exactly as long as its limit."""
    assert min(len(text), limit) == len(bounded(text, limit))


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        pytest.param("abcd", "abcd", id="short"),
        pytest.param("abcde", "abcde", id="exact"),
        pytest.param("abcd…", "abcdef", id="cut"),
        pytest.param("a�b�c", "a\nb\u2028c", id="made-visible"),
    ],
)
def test_bounded(expected: str, text: str) -> None:
    """A text that is too long ends in an ellipsis, and a character that would break a line is replaced."""
    assert expected == bounded(text, 5)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        pytest.param("int", 1, id="builtin"),
        pytest.param("HostileError", HostileError(), id="hostile-error"),
        pytest.param("HidesItsClass", HidesItsClass(), id="hides-its-class"),
        pytest.param("HidesItsName", HidesItsName(), id="hides-its-name"),
        pytest.param("x" * 254 + "…", type("x" * 300, (), {})(), id="long"),
        pytest.param("a�b", type("a\nb", (), {})(), id="newline"),
    ],
)
def test_type_names(expected: str, value: object) -> None:
    """The name of a type is told whatever its class and metaclass do, and is bounded."""
    assert expected == type_name(value)
