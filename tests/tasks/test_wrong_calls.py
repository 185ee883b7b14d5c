"""Calls that do not fit, and values that cannot be stored, are refused by name."""


# ruff: noqa: A002 - signatures as users write them

# ruff: noqa: TC003 - pydantic reads annotations at run time

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, PlainSerializer, SecretStr, Strict, field_serializer

from uno_jobs.errors import InvalidArguments, NotSerializable

from .signatures import ID, Point, parameters, resize, through_json

# --- wrong calls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ([], {}, "missing 'image_id'"),
        ([1], {}, "parameter 'image_id': Input should be a valid string (got int)"),
        (["a", "x"], {}, "parameter 'size': Input should be a valid integer"),
        (["a", None], {}, "parameter 'size': Input should be a valid integer (got None)"),
        (["a"], {"sise": 1}, "has no parameter 'sise' (did you mean 'size'?)"),
        (["a"], {"image_id": "b"}, "parameter 'image_id' was given twice"),
        (["a", 1, 2], {}, "takes at most 2 positional arguments, but 3 were given"),
        (["a"], {"deep": [{"k": "v"}]}, "parameter 'deep': [0].k: Input should be a valid integer"),
    ],
)
def test_wrong_calls_name_task_and_parameter(args: list[Any], kwargs: dict[str, Any], message: str) -> None:
    made = parameters(resize)
    for method in (made.dump, made.load):
        with pytest.raises(InvalidArguments, match=r"^task 'resize': ") as caught:
            method(args, kwargs)
        assert message in str(caught.value)


def test_a_value_is_not_in_the_message() -> None:
    with pytest.raises(InvalidArguments) as caught:
        parameters(resize).dump(["a"], {"size": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a\x00b", "NUL"),
        ("\ud800", "UTF-8|surrogate"),
        (math.nan, "NaN"),
        ({"k": [math.inf]}, "NaN"),
        (10**5000, "digits"),
        (object(), "object"),
        (b"\xff", "UTF-8"),
    ],
    ids=range(7),
)
def test_what_cannot_be_stored_names_the_parameter(value: Any, why: str) -> None:
    def f(first: str, thing: Any, *, other: Any = 1) -> None: ...

    made = parameters(f)
    with pytest.raises(NotSerializable, match=f"task 'f': parameter 'thing': .*({why})"):
        made.dump(["x", value], {})
    with pytest.raises(NotSerializable, match=f"task 'f': parameter 'other': .*({why})"):
        made.dump(["x", 1], {"other": value})


def test_typed_values_that_cannot_be_stored_name_the_parameter() -> None:
    class Ratio(BaseModel):
        value: float | None = None

    def f(text: str, number: float, numbers: list[float], ratio: Ratio, point: Point) -> None: ...

    made = parameters(f, Ratio=Ratio)
    good: list[Any] = ["x", 1.0, [1.0], Ratio(), Point(1, Decimal(1))]
    made.dump(good, {})
    for place, bad in enumerate(["\x00", math.nan, [1.0, math.inf], Ratio(value=math.nan)]):
        name = ["text", "number", "numbers", "ratio"][place]
        with pytest.raises(NotSerializable, match=f"parameter {name!r}"):
            made.dump([*good[:place], bad, *good[place + 1 :]], {})


def test_nan_is_found_where_pydantic_would_write_null() -> None:
    class Loose(BaseModel):
        meta: Any = None

    class Tolerant(BaseModel):
        x: float | None

        @field_serializer("x")
        def without_nan(self, x: float | None) -> float | None:
            return None if x is None or math.isnan(x) else x

    def f(table: dict[str, Any], loose: Loose, any_one: Any, tolerant: Tolerant) -> None: ...

    made = parameters(f, Loose=Loose, Tolerant=Tolerant)
    fine: dict[str, Any] = {
        "table": {"a": None},
        "loose": Loose(meta={"a": None}),
        "any_one": [Loose(), None],
        "tolerant": Tolerant(x=math.nan),
    }
    assert made.dump([], fine).kwargs_json == (
        '{"table":{"a":null},"loose":{"meta":{"a":null}},"any_one":[{"meta":null},null],"tolerant":{"x":null}}'
    )
    wrong = [
        ("table", {"a": [math.nan]}),
        ("loose", Loose(meta={"a": {math.inf}})),
        ("any_one", [Loose(meta=(1, math.nan))]),
        ("any_one", {"k": 2**80, "x": Loose(meta=math.nan)}),
    ]
    for name, value in wrong:
        with pytest.raises(NotSerializable, match=f"parameter '{name}': NaN and Infinity"):
            made.dump([], fine | {name: value})


def test_what_would_be_lost_in_json_is_refused_at_the_caller() -> None:
    class Hidden(BaseModel):
        kept: int
        lost: int = Field(exclude=True)

    class Login(BaseModel):
        user: str
        password: SecretStr

    def hidden(it: Hidden) -> None: ...
    def secret(it: SecretStr, stars: str) -> None: ...
    def login(it: Login) -> None: ...

    with pytest.raises(NotSerializable, match=r"parameter 'it': .*does not survive JSON: lost: Field required"):
        parameters(hidden, Hidden=Hidden).dump([Hidden(kept=1, lost=2)], {})
    with pytest.raises(NotSerializable, match=r"parameter 'it': a SecretStr is masked"):
        parameters(secret).dump([SecretStr("s"), "x"], {})
    with pytest.raises(NotSerializable, match=r"parameter 'it': a SecretStr is masked"):
        parameters(login, Login=Login).dump([Login(user="u", password=SecretStr("s"))], {})

    def stars(it: list[str]) -> None: ...

    assert through_json(parameters(stars), [["**********"]], {}) == ((["**********"],), {})


def test_a_secret_with_a_serializer_of_its_own_is_fine() -> None:
    Revealed = Annotated[SecretStr, PlainSerializer(lambda one: one.get_secret_value(), return_type=str)]

    def f(it: Revealed) -> None: ...

    (args, _) = through_json(parameters(f, Revealed=Revealed), [SecretStr("s")], {})
    assert args[0].get_secret_value() == "s"


def test_strict_types_survive() -> None:
    def f(id: Annotated[UUID, Strict()], pair: Annotated[tuple[int, int], Strict()]) -> None: ...

    made = parameters(f)
    assert through_json(made, [ID, (1, 2)], {}) == ((ID, (1, 2)), {})
    with pytest.raises(InvalidArguments, match="'id'"):
        made.dump([str(ID), (1, 2)], {})


def test_exact_types_are_not_converted_and_others_are_as_pydantic_does() -> None:
    def f(n: int, x: float, s: str, b: bool) -> None: ...

    args, _ = through_json(parameters(f), [True, 3, "s", 1], {})
    assert args == (1, 3.0, "s", True)
    assert [type(value) for value in args] == [int, float, str, bool]

    class Name(str):
        __slots__ = ()

    args, _ = through_json(parameters(f), [1, 1.0, Name("n"), False], {})
    assert args == (1, 1.0, "n", False)
