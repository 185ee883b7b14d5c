"""Unique keys."""

# ruff: noqa: A006 - signatures as users write them

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from uno_jobs.errors import InvalidOption
from uno_jobs.tasks import task


async def process_user_data(user_id: str, size: int = 3, *more: int, day: UUID = UUID(int=0)) -> None: ...  # noqa: B008


def key_of(unique_key: Any, *args: Any, **kwargs: Any) -> str | None:
    made = task(unique=True, unique_key=unique_key)(process_user_data)
    return made.unique_key_of(made.parameters.dump(args, kwargs))


def test_the_documents_lambda_gets_the_first_argument() -> None:
    assert key_of(lambda id: f"user:{id}", "u1") == "user:u1"
    assert key_of(lambda id: f"user:{id}", user_id="u1", size=4) == "user:u1"


def test_a_function_gets_as_many_arguments_as_it_accepts() -> None:
    assert key_of(lambda: "one for all", "u1") == "one for all"
    assert key_of(lambda a, b: f"{a}:{b}", "u1") == "u1:3"
    assert key_of(lambda a, b=0: f"{a}:{b}", "u1", "7") == "u1:7"
    assert key_of(lambda *all: repr(all), "u1", 2, 5) == repr(("u1", 2, (5,), UUID(int=0)))


def test_fixed_and_none() -> None:
    assert key_of("nightly", "u1") == "nightly"
    assert key_of(None, "u1") is None
    made = task(process_user_data)
    assert made.unique_key_of(made.parameters.dump(["a"], {})) is None


def test_a_function_that_raises_or_returns_no_text() -> None:
    with pytest.raises(InvalidOption, match=r"task 'process_user_data': unique_key raised ZeroDivisionError"):
        key_of(lambda one: str(1 / 0), "u1")
    with pytest.raises(InvalidOption, match="unique_key must be a text, not 3"):
        key_of(lambda one: 3, "u1")
    for bad in ("", "x" * 2001, "\x00", "\ud800"):
        with pytest.raises(InvalidOption, match="unique_key"):
            key_of(lambda one, bad=bad: bad if one else "", "")
        with pytest.raises(InvalidOption, match="task 'process_user_data': unique_key"):
            key_of(lambda *_, bad=bad: bad, "u1")
