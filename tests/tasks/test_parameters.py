"""Arguments: from a caller to JSON, and from JSON to a run."""


# ruff: noqa: A002, RUF013 - signatures as users write them

# ruff: noqa: TC003 - pydantic reads annotations at run time

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from annotated_types import Gt
from hypothesis import given
from hypothesis import strategies as st

from uno_jobs.errors import InvalidArguments

from .signatures import ID, NOW, Blob, Colour, Kind, Level, Pair, Point, Row, StrictUser, User, parameters, through_json

# --- round trips -------------------------------------------------------------------------------------------------


def everything(
    text: str,
    number: int,
    ratio: float,
    yes: bool,
    any_one: Any,
    unannotated,  # type: ignore[no-untyped-def]
    id: UUID,
    when: datetime,
    day: date,
    hour: time,
    span: timedelta,
    amount: Decimal,
    colour: Colour,
    level: Level,
    kind: Kind,
    user: User,
    point: Point,
    row: Row,
    pair: Pair,
    names: set[str],
    table: dict[int, list[UUID]],
    either: int | str | None,
    literal: Literal["a", "b"],
    positive: Annotated[int, Gt(0)],
    path: Path,
    blob: Blob,
    raw: bytes,
    strict: StrictUser,
) -> None: ...


VALUES: dict[str, Any] = {
    "text": "é\u2028",
    "number": 2**80,
    "ratio": 0.1,
    "yes": True,
    "any_one": {"a": [1, None]},
    "unannotated": [1.5],
    "id": ID,
    "when": NOW,
    "day": date(2024, 2, 29),
    "hour": time(23, 59),
    "span": timedelta(days=-3, microseconds=5),
    "amount": Decimal("1.100"),
    "colour": Colour.RED,
    "level": Level.LOW,
    "kind": Kind.FILE,
    "user": User(userName="Ann", friends=[User(userName="Bob")]),
    "point": Point(1, Decimal("2.50")),
    "row": {"key": "k", "at": NOW},
    "pair": Pair(1, ID),
    "names": {"a", "b"},
    "table": {3: [ID]},
    "either": "5",
    "literal": "a",
    "positive": 4,
    "path": Path("/tmp/x"),
    "blob": Blob(data=b"\xff\x00"),
    "raw": b"plain",
    "strict": StrictUser(id=ID, when=NOW, tags=("a",)),
}


def test_every_type_survives_by_name() -> None:
    args, kwargs = through_json(parameters(everything), [], VALUES)
    assert args == ()
    assert kwargs == VALUES
    assert {name: type(value) for name, value in kwargs.items()} == {
        name: type(value) for name, value in VALUES.items()
    }


def test_every_type_survives_by_position() -> None:
    args, kwargs = through_json(parameters(everything), list(VALUES.values()), {})
    assert args == tuple(VALUES.values())
    assert kwargs == {}


def test_the_shape_of_the_call_is_kept_and_defaults_are_left_to_the_function() -> None:
    def f(a: int, b: int = 2, *, c: int = 3) -> None: ...

    made = parameters(f)
    assert through_json(made, [1], {}) == ((1,), {})
    assert through_json(made, [1], {"c": 4}) == ((1,), {"c": 4})
    assert through_json(made, [], {"b": 5, "a": 1}) == ((), {"b": 5, "a": 1})


values = st.one_of(
    st.uuids().map(lambda one: ("id", one)),
    st.datetimes(timezones=st.just(UTC)).map(lambda one: ("when", one)),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda one: ("amount", one)),
    st.timedeltas(min_value=timedelta(days=-10000), max_value=timedelta(days=10000)).map(lambda one: ("span", one)),
    st.integers().map(lambda one: ("number", one)),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda one: ("ratio", one)),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",))).map(lambda one: ("text", one)),
    st.dictionaries(st.integers(), st.lists(st.uuids(), max_size=3), max_size=3).map(lambda one: ("table", one)),
    st.sampled_from(Colour).map(lambda one: ("colour", one)),
    st.builds(Point, st.integers(), st.decimals(allow_nan=False, allow_infinity=False)).map(lambda one: ("point", one)),
)


def some(
    *,
    id: UUID = ID,
    when: datetime = NOW,
    amount: Decimal = Decimal(0),
    span: timedelta = timedelta(0),
    number: int = 0,
    ratio: float = 0,
    text: str = "",
    table: dict[int, list[UUID]] = {},  # noqa: B006 - nothing changes it
    colour: Colour = Colour.RED,
    point: Point = Point(0, Decimal(0)),  # noqa: B008 - nothing changes it
) -> None: ...


SOME = parameters(some)


@given(st.lists(values, max_size=6).map(dict))
def test_dump_and_load_give_back_what_went_in(kwargs: dict[str, Any]) -> None:
    assert through_json(SOME, [], kwargs) == ((), kwargs)


def test_a_caller_may_pass_what_pydantic_takes() -> None:
    def f(id: UUID, when: datetime, count: int, user: User) -> None: ...

    args, _ = through_json(parameters(f), [str(ID), "2024-02-29T12:00:01.000005Z", "3", {"userName": "Ann"}], {})
    assert args == (ID, NOW, 3, User(userName="Ann"))


def test_models_are_written_by_field_name_and_read_by_alias_too() -> None:
    def f(user: User) -> None: ...

    made = parameters(f)
    bound = made.dump([User(userName="Ann")], {})
    assert json.loads(bound.args_json) == [{"user_name": "Ann", "born": None, "friends": []}]
    assert made.load([{"userName": "Ann"}], {}) == ((User(userName="Ann"),), {})


# --- defaults of None, *args, **kwargs, kinds ---------------------------------------------------------------------


def test_a_default_of_none_makes_the_parameter_accept_none() -> None:
    def f(options: dict = None, id: UUID = None, n: Annotated[int, Gt(0)] = None) -> None: ...  # type: ignore[type-arg,assignment]

    made = parameters(f)
    assert through_json(made, [None, None, None], {}) == ((None, None, None), {})
    assert through_json(made, [], {"options": {"a": 1}, "id": ID}) == ((), {"options": {"a": 1}, "id": ID})
    with pytest.raises(InvalidArguments, match=r"'n': .*greater than 0"):
        made.dump([], {"n": 0})


def test_var_positional_and_var_keyword_are_validated() -> None:
    def f(a: int, *more: UUID, c: str = "", **rest: date) -> None: ...

    made = parameters(f)
    day = date(2024, 1, 1)
    assert through_json(made, [1, ID, str(ID)], {"c": "x", "d": day}) == ((1, ID, ID), {"c": "x", "d": day})
    assert made.dump([1, ID], {"d": day}).named_json == (
        f'{{"a":1,"more":["{ID}"],"c":"","rest":{{"d":"2024-01-01"}}}}'
    )
    with pytest.raises(InvalidArguments, match="'more'"):
        made.dump([1, "no"], {})
    with pytest.raises(InvalidArguments, match="'d'"):
        made.dump([1], {"d": "no"})


def test_positional_only_and_keyword_only() -> None:
    def f(a: int, /, b: int, *, c: int, **rest: int) -> None: ...

    made = parameters(f)
    assert through_json(made, [1, 2], {"c": 3, "a": 9}) == ((1, 2), {"c": 3, "a": 9})
    with pytest.raises(InvalidArguments, match="missing 'a'"):
        made.dump([], {"a": 1, "b": 2, "c": 3})
    with pytest.raises(InvalidArguments, match="missing 'c'"):
        made.dump([1, 2], {})
    with pytest.raises(InvalidArguments, match="at most 2 positional"):
        made.dump([1, 2, 3], {})

    def g(a: int, /) -> None: ...

    with pytest.raises(InvalidArguments, match="'a' can only be given by position"):
        parameters(g).dump([], {"a": 1})
