"""Turning the values of an audit row into what every JSON encoder takes."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict, UserDict, namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigra_forward._json import MAX_DEPTH, json_safe
from tests.support_values import HostileError, HostileFloat, HostileInt, SelfSpelledStr

Pair = namedtuple("Pair", "left right")


class Color(enum.Enum):
    """Values of any kind."""

    RED = "red"
    MOMENT = datetime(2026, 1, 31, tzinfo=timezone.utc)
    NOTHING = None


class Level(enum.IntEnum):
    """Numbers by name."""

    HIGH = 3


class Word(str, enum.Enum):
    """Texts by name."""

    YES = "yes"


class Pairs(tuple, enum.Enum):
    """Pairs by name."""

    BOTH = ("a", "b")


class Spelled:
    """Spells itself as *text*."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


class Unspeakable:
    """Raises when it is asked for its text."""

    def __str__(self) -> str:
        raise HostileError


hashable = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**640, -(10**640)]),
    st.floats(),
    st.text(st.characters(), max_size=10),
    st.text(st.sampled_from("a\ud800\udbff\udc00\udfff😀"), max_size=5),
    st.binary(max_size=10),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.none() | st.just(timezone.utc)),
    st.timedeltas(),
    st.complex_numbers(),
    st.sampled_from([Color.RED, Color.MOMENT, Level.HIGH, Word.YES, Pairs.BOTH]),
)
anything = st.recursive(
    hashable | st.decimals() | st.binary(max_size=10).map(bytearray) | st.binary(max_size=10).map(memoryview),
    lambda children: st.one_of(
        st.lists(children, max_size=4),
        st.lists(children, max_size=4).map(tuple),
        st.sets(hashable, max_size=4),
        st.frozensets(hashable, max_size=4),
        st.dictionaries(hashable, children, max_size=4),
    ),
    max_leaves=12,
)
plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def types_in(value: object) -> set[type]:
    """Return the types of which *value* is made, keys included."""
    if type(value) is dict:
        return {dict}.union(*map(types_in, value.keys()), *map(types_in, value.values()))
    if type(value) is list:
        return {list}.union(*map(types_in, value))
    return {type(value)}


def nested(levels: int) -> list[object]:
    """Return a list that nests so deep."""
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def depth_of(value: object) -> int:
    """Return how deep the lists nest in *value*."""
    depth = 0
    while isinstance(value, list) and value:
        depth, value = depth + 1, value[0]
    return depth + (value == [])


@given(anything)
def test_every_encoder_takes_it(value: object) -> None:
    """A JSON encoder takes anything that was made safe, with no number that JSON has not, and so does UTF-8."""
    text = json.dumps(json_safe(value), allow_nan=False, ensure_ascii=False)

    assert text == text.encode().decode()


@given(anything)
def test_it_is_made_of_plain_types_only(value: object) -> None:
    """What was made safe is made of exact types, no subclass among them, and text alone is a key."""
    assert types_in(json_safe(value)) <= {dict, list, str, int, float, bool, type(None)}


@given(plain)
def test_what_json_knows_is_left_as_it_is(value: object) -> None:
    """Plain values are equal to what they were, and of the same types."""
    actual = json_safe(value)

    assert (value, types_in(value)) == (actual, types_in(actual))


@given(anything)
def test_making_safe_twice_changes_nothing(value: object) -> None:
    """What was made safe stays as it is."""
    once = json_safe(value)

    assert once == json_safe(once)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        pytest.param("NaN", float("nan"), id="nan"),
        pytest.param("Infinity", float("inf"), id="inf"),
        pytest.param("-Infinity", float("-inf"), id="minus-inf"),
        pytest.param(2**64 - 1, 2**64 - 1, id="largest"),
        pytest.param("18446744073709551616", 2**64, id="too-large"),
        pytest.param(-(2**63), -(2**63), id="least"),
        pytest.param("-9223372036854775809", -(2**63) - 1, id="too-small"),
        pytest.param(str(2**2048 - 1), 2**2048 - 1, id="spelled-in-decimal"),
        pytest.param(hex(2**2048), 2**2048, id="spelled-in-hex"),
        pytest.param(hex(-(10**5000)), -(10**5000), id="too-many-digits"),
        pytest.param(True, True, id="bool"),
        pytest.param(7, HostileInt(7), id="int-subclass"),
        pytest.param("18446744073709551616", HostileInt(2**64), id="large-int-subclass"),
        pytest.param(0.5, HostileFloat(0.5), id="float-subclass"),
        pytest.param("NaN", HostileFloat("nan"), id="nan-subclass"),
        pytest.param("1.50", Decimal("1.50"), id="decimal"),
        pytest.param("NaN", Decimal("nan"), id="decimal-nan"),
        pytest.param("1/3", Fraction(1, 3), id="fraction"),
        pytest.param("(1+2j)", 1 + 2j, id="complex"),
        pytest.param("00000000-0000-0000-0000-000000000001", UUID(int=1), id="uuid"),
        pytest.param("2026-01-31", date(2026, 1, 31), id="date"),
        pytest.param("09:30:00", time(9, 30), id="time"),
        pytest.param("2026-01-31T09:30:00+00:00", datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc), id="datetime"),
        pytest.param("1 day, 0:00:00", timedelta(days=1), id="timedelta"),
        pytest.param("AP8=", b"\x00\xff", id="bytes"),
        pytest.param("AP8=", bytearray(b"\x00\xff"), id="bytearray"),
        pytest.param("AP8=", memoryview(b"\x00\xff"), id="memoryview"),
        pytest.param("AP8=", memoryview(b"\x00a\xffb")[::2], id="memoryview-with-gaps"),
        pytest.param("red", Color.RED, id="enum"),
        pytest.param("2026-01-31T00:00:00+00:00", Color.MOMENT, id="enum-of-datetime"),
        pytest.param(None, Color.NOTHING, id="enum-of-none"),
        pytest.param(3, Level.HIGH, id="int-enum"),
        pytest.param("yes", Word.YES, id="str-enum"),
        pytest.param(["a", "b"], Pairs.BOTH, id="tuple-enum"),
        pytest.param([1, [2, 3]], (1, (2, 3)), id="tuple"),
        pytest.param([1, 2], Pair(1, 2), id="named-tuple"),
        pytest.param([1], {1}, id="set"),
        pytest.param(["a"], frozenset({"a"}), id="frozenset"),
        pytest.param({"a": [1]}, OrderedDict(a=(1,)), id="ordered-dict"),
        pytest.param({"a": 1}, UserDict(a=1), id="user-dict"),
        pytest.param({"a": {"b": "1.5"}}, MappingProxyType({"a": {"b": Decimal("1.5")}}), id="nested-mapping"),
        pytest.param("safe", SelfSpelledStr("safe"), id="str-subclass"),
        pytest.param("a\ufffd", SelfSpelledStr("a\ud800"), id="str-subclass-surrogate"),
        pytest.param("spelled", Spelled("spelled"), id="object"),
        pytest.param("spelled", Spelled(SelfSpelledStr("spelled")), id="object-of-str-subclass"),
        pytest.param("a\ufffd", Spelled("a\ud800"), id="object-of-surrogate"),
        pytest.param("Unspeakable", Unspeakable(), id="unspeakable-object"),
    ],
)
def test_what_becomes_what(expected: object, value: object) -> None:
    """Every kind of value has its one spelling."""
    actual = json_safe(value)

    assert (expected, type(expected)) == (actual, type(actual))


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("naïve 😀", "naïve 😀", id="text"),
        pytest.param("a\x00b", "a\x00b", id="nul"),
        pytest.param("a\ufffdb", "a\ud800b", id="lone-high"),
        pytest.param("a\ufffdb", "a\udfffb", id="lone-low"),
        pytest.param("\ufffd", "\ud800", id="high-at-the-end"),
        pytest.param("\ufffd\ufffd", "\udc00\ud800", id="wrong-order"),
        pytest.param("😀", "\ud83d\ude00", id="pair"),
        pytest.param("\ufffd😀", "\ud83d\ud83d\ude00", id="lone-before-a-pair"),
    ],
)
def test_surrogates(expected: str, text: str) -> None:
    """A lone surrogate becomes U+FFFD, a pair the character it stands for, and all other text is left."""
    assert expected == json_safe(text)


@pytest.mark.parametrize(
    ("expected", "key"),
    [
        pytest.param("a", "a", id="text"),
        pytest.param("a", SelfSpelledStr("a"), id="str-subclass"),
        pytest.param("a\ufffd", "a\ud800", id="surrogate"),
        pytest.param("yes", Word.YES, id="str-enum"),
        pytest.param("red", Color.RED, id="enum"),
        pytest.param("3", Level.HIGH, id="int-enum"),
        pytest.param("1", 1, id="int"),
        pytest.param("NaN", float("nan"), id="nan"),
        pytest.param("None", None, id="none"),
        pytest.param("True", True, id="bool"),
        pytest.param("AP8=", b"\x00\xff", id="bytes"),
        pytest.param("2026-01-31", date(2026, 1, 31), id="date"),
        pytest.param("[1, 'a']", (1, "a"), id="tuple"),
        pytest.param("18446744073709551616", 2**64, id="large"),
    ],
)
def test_keys_become_text(expected: str, key: object) -> None:
    """A key becomes the text of what it would be as a value, an exact `str`."""
    actual = json_safe({key: 1})

    assert ({expected: 1}, {dict, str, int}) == (actual, types_in(actual))


def test_a_hundred_levels_are_kept() -> None:
    """What nests no deeper than the limit is left as it is."""
    assert (100, nested(100)) == (MAX_DEPTH, json_safe(nested(100)))


def test_what_nests_deeper_is_cut_off() -> None:
    """The level below the hundredth is an ellipsis."""
    actual = json_safe(nested(101))

    assert (100, "…") == (depth_of(actual), json.dumps(actual, ensure_ascii=False).strip('[]"'))


def test_no_nesting_is_too_deep() -> None:
    """Even a depth that no recursion survives is made safe."""
    assert 100 == depth_of(json_safe(nested(50_000)))


@pytest.mark.parametrize("levels", [100, 101])
def test_mappings_nest_as_deep_as_lists(levels: int) -> None:
    """The limit is the same for mappings, and for mappings and lists in turn."""
    value: object = {}
    for level in range(levels - 1):
        value = {"a": value} if level % 2 else [value]

    assert (levels > MAX_DEPTH) == ("…" in json.dumps(json_safe(value), ensure_ascii=False))


def test_a_container_that_holds_itself_is_cut_off() -> None:
    """A cycle ends where it would begin again, on every path."""
    cycle: dict[str, object] = {}
    cycle.update(left=cycle, right=[cycle, 1])

    assert {"left": "…", "right": ["…", 1]} == json_safe(cycle)


def test_a_container_may_stand_in_two_places() -> None:
    """A value that is shared, and holds no cycle, is told in each place."""
    shared = [1]

    assert {"a": [1], "b": [[1], [1]]} == json_safe({"a": shared, "b": [shared, shared]})


def test_an_enum_does_not_reset_the_depth() -> None:
    """A member whose value holds the member itself ends as well."""
    holder: list[object] = []
    member = enum.Enum("Member", {"SELF": holder}).SELF
    holder.append(member)

    assert ["…"] == json_safe(holder)


def test_the_value_itself_is_not_changed() -> None:
    """Making safe makes a copy."""
    value = {"a": [1, {"b": (2,)}]}
    json_safe(value)

    assert {"a": [1, {"b": (2,)}]} == value
