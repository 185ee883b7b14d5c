"""What becomes JSON text that PostgreSQL takes, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from uno_jobs.errors import NotSerializable
from uno_jobs.storable import MAX_DEPTH, check_text, from_json, scrub_text, to_json

storable_text = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**60), max_value=10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | storable_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(storable_text, inner, max_size=4),
    max_leaves=20,
)


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    own_name: int = Field(alias="ownName")


@dataclass
class Point:
    x: int
    y: float


@given(json_values)
def test_json_values_survive(value: object) -> None:
    text = to_json(value)
    assert from_json(text) == value
    assert json.loads(text) == value


@given(st.text(st.characters()) | st.lists(st.text(st.characters())))
def test_text_is_stored_as_it_is_or_refused(value: object) -> None:
    try:
        text = to_json(value)
    except NotSerializable:
        whole = value if isinstance(value, str) else "".join(value)
        assert "\x00" in whole or any("\ud800" <= sign <= "\udfff" for sign in whole)
    else:
        assert from_json(text) == value
        text.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Model(ownName=3), '{"own_name":3}'),
        (Point(1, 2.5), '{"x":1,"y":2.5}'),
        (Colour.RED, '"red"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (datetime(2024, 1, 2, tzinfo=UTC), '"2024-01-02T00:00:00Z"'),
        (Decimal("1.10"), '"1.10"'),
        ({1: "a"}, '{"1":"a"}'),
        ({"deep": [Point(1, 2), {"m": Model(ownName=1)}]}, '{"deep":[{"x":1,"y":2},{"m":{"own_name":1}}]}'),
        ((1, 2), "[1,2]"),
        (2**64 * 10, "184467440737095516160"),
        ({"big": 2**70, "when": datetime(2024, 1, 2, tzinfo=UTC)}, None),
        ("a\\u0000b", '"a\\\\u0000b"'),  # a backslash and some letters, no NUL
        ([None, "null"], '[null,"null"]'),
    ],
)
def test_python_values_become_json(value: object, text: str | None) -> None:
    written = to_json(value)
    assert json.loads(written) is not None
    if text is not None:
        assert written == text


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a\x00b", "NUL"),
        ({"a\x00": 1}, "NUL"),
        (["\\\x00"], "NUL"),
        ("\ud800", "UTF-8|surrogate"),
        ({"k": ["\udfff"]}, "UTF-8|surrogate"),
        (math.nan, "NaN"),
        ([1.0, math.inf], "NaN and Infinity"),
        ({"a": {"b": -math.inf}}, "NaN and Infinity"),
        ({"big": 2**70, "nan": math.nan}, "NaN and Infinity"),
        (Point(1, math.nan), "NaN and Infinity"),
        ([10**5000], "4,300 digits"),
        (b"\xff", "UTF-8"),
        (object(), "object"),
        ({"f": open}, "serialize|unknown type"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_the_reason(value: object, why: str) -> None:
    with pytest.raises(NotSerializable, match=why):
        to_json(value)


def test_what_refers_to_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(NotSerializable, match=r"refers to itself"):
        to_json(loop)


def test_deep_nesting_is_refused_before_a_parser_would_refuse_it() -> None:
    def nested(depth: int) -> object:
        value: object = "[[[["
        for _ in range(depth):
            value = [value]
        return value

    assert from_json(to_json(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 300, 5000):
        with pytest.raises(NotSerializable, match=r"nested deeper"):
            to_json(nested(depth))
    flat = [["x"] for _ in range(1000)]
    assert from_json(to_json(flat)) == flat


def test_check_text_names_what_it_checks() -> None:
    assert check_text("fine", "metadata") == "fine"
    with pytest.raises(NotSerializable, match=r"^the key contains a NUL"):
        check_text("\x00", "the key")
    with pytest.raises(NotSerializable, match=r"^the key contains a lone surrogate"):
        check_text("\ud800", "the key")


@given(st.text(st.characters()))
def test_scrubbed_text_can_always_be_stored(text: str) -> None:
    scrubbed = scrub_text(text)
    check_text(scrubbed, "it")
    try:
        check_text(text, "it")
    except NotSerializable:
        return
    assert scrubbed == text


def test_scrubbing_shows_what_was_there() -> None:
    assert scrub_text("a\x00b\ud800c") == "a\\x00b\\ud800c"
