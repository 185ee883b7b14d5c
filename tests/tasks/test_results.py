"""Results: to JSON by the return annotation's rules, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from uno_jobs.errors import ResultNotStorable
from uno_jobs.tasks import task


class Report(BaseModel):
    id: UUID
    at: datetime


@dataclass
class Point:
    x: int
    y: int


REPORT = Report(id=UUID(int=1), at=datetime(2024, 1, 1, tzinfo=UTC))


async def no_annotation(x: int):  # type: ignore[no-untyped-def]
    ...


async def a_dict(x: int) -> dict[str, Any]: ...  # type: ignore[empty-body]
async def bare_dict(x: int) -> dict: ...  # type: ignore[empty-body, type-arg]
async def a_report(x: int) -> Report: ...  # type: ignore[empty-body]
async def reports(x: int) -> list[Report] | None: ...
async def points(x: int) -> tuple[Point, ...]: ...  # type: ignore[empty-body]
async def nothing(x: int) -> None: ...
async def unknown(x: int) -> Nowhere: ...  # type: ignore[name-defined] # noqa: F821 - that is the case


class Opaque:
    pass


async def opaque(x: int) -> Opaque: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "result", "text"),
    [
        (a_dict, {"a": 1}, '{"a":1}'),
        (bare_dict, {"a": REPORT}, '{"a":{"id":"00000000-0000-0000-0000-000000000001","at":"2024-01-01T00:00:00Z"}}'),
        (a_report, REPORT, '{"id":"00000000-0000-0000-0000-000000000001","at":"2024-01-01T00:00:00Z"}'),
        (points, (Point(1, 2),), '[{"x":1,"y":2}]'),
        (nothing, None, "null"),
        (a_dict, None, "null"),
        (nothing, "something after all", '"something after all"'),
        (a_report, {"another": "type"}, '{"another":"type"}'),
        (a_report, Point(1, 2), '{"x":1,"y":2}'),
        (no_annotation, {1}, "[1]"),
        (no_annotation, REPORT.id, '"00000000-0000-0000-0000-000000000001"'),
        (unknown, [1], "[1]"),
        (opaque, "x", '"x"'),
    ],
)
def test_dump(function: Any, result: Any, text: str) -> None:
    assert task(function).dump_result(result) == text


@pytest.mark.parametrize(
    ("function", "result"),
    [(a_dict, {"a": [1]}), (a_report, REPORT), (reports, [REPORT]), (reports, None), (points, (Point(1, 2),))],
)
def test_load_gives_back_the_annotated_type(function: Any, result: Any) -> None:
    made = task(function)
    loaded = made.load_result(made.dump_result(result))
    assert loaded == result
    assert type(loaded) is type(result)


def test_what_does_not_fit_the_annotation_comes_back_as_plain_json() -> None:
    assert task(a_report).load_result('{"another":"type"}') == {"another": "type"}
    assert task(opaque).load_result("[1]") == [1]


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ("\x00", "NUL"),
        ({"a": "\ud800"}, "UTF-8|surrogate"),
        (math.nan, "NaN"),
        ({"deep": [math.inf]}, "NaN and Infinity"),
        (object(), "object"),
        (REPORT.model_construct(id=object()), "cannot be stored"),
    ],
)
def test_what_cannot_be_stored(result: Any, why: str) -> None:
    for function in (a_dict, no_annotation, a_report):
        with pytest.raises(ResultNotStorable, match=f"task '{function.__name__}' .* its result .*({why})"):
            task(function).dump_result(result)


def test_the_limit_counts_bytes() -> None:
    made = task(no_annotation)
    assert made.dump_result("é" * 49, limit=100) == f'"{"é" * 49}"'
    with pytest.raises(ResultNotStorable, match="102 bytes, over the limit of 100"):
        made.dump_result("é" * 50, limit=100)
    with pytest.raises(ResultNotStorable, match="over the limit of 1,000,000"):
        made.dump_result("x" * 1_000_000)
