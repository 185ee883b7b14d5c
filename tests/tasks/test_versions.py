"""The order of versions."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uno_jobs.tasks.versions import highest, sort_text

versions = st.text(st.sampled_from("0129.-_+ab é"), min_size=1, max_size=8)


@pytest.mark.parametrize(
    "ascending",
    [
        ["1.0", "1.9", "1.10", "2.0"],
        ["1", "1.0", "1.0.1", "1.1"],
        ["2.0-alpha", "2.0-beta", "2.0", "2.0.1"],
        ["2.0rc1", "2.0rc2", "2.0rc10", "2.0"],
        ["v2", "v10"],
        ["2024-01-31", "2024-02-01", "2024-10-01"],
        ["1.0", "1.00"],
    ],
)
def test_order(ascending: list[str]) -> None:
    descending = ascending[::-1]
    assert sorted(descending, key=sort_text) == ascending
    assert highest(ascending) == ascending[-1]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.lists(st.integers(0, 10**6), min_size=1))
def test_numbers_compare_as_numbers(one: list[int], other: list[int]) -> None:
    def joined(parts: list[int]) -> str:
        return ".".join(map(str, parts))

    assert (sort_text(joined(one)) < sort_text(joined(other))) == (one < other)


@given(versions, versions, versions)
def test_the_order_is_total(a: str, b: str, c: str) -> None:
    one, two, three = sort_text(a), sort_text(b), sort_text(c)
    assert (one == two) == (a == b)
    assert (one < two) + (two < one) + (one == two) == 1
    if one <= two and two <= three:
        assert one <= three


@given(st.lists(versions, min_size=1))
def test_highest_is_above_all_others(some: list[str]) -> None:
    best = reduce(lambda one, other: one if sort_text(one) >= sort_text(other) else other, some)
    assert highest(some) == best


@given(versions, versions)
def test_the_database_sorts_them_alike(one: str, other: str) -> None:
    """Under the collation "C" PostgreSQL compares the bytes of UTF-8."""
    assert (sort_text(one) < sort_text(other)) == (sort_text(one).encode() < sort_text(other).encode())
