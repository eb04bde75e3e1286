"""The short ways of the texts that are made of many rows: they say what the long ways say."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from sigra_forward_sqlalchemy._positions import from_position, told
from sigra_forward_sqlalchemy._words import _array, _item

TEXTS = st.text('abN"\\,{} ')


@given(st.one_of(st.lists(TEXTS), st.lists(st.one_of(st.none(), st.integers(), TEXTS))))
def test_an_array(values: list[object]) -> None:
    """An array of one value again and again, or of texts without a quote, is what it is item by item."""
    expected = f"{{{','.join(map(_item, values))}}}"

    assert expected == _array(values)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_position(text: str) -> None:
    """A text that needs no quoting stands in a position as one that does."""
    position = f"{told(text)}/{told(1)}"

    assert f"s{quote(text, safe='')}/i1" == position
    assert (text, 1) == from_position(position)
