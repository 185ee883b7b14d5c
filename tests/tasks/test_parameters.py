"""Arguments: from a caller to JSON, and from JSON to a run."""

# ruff: noqa: A002, RUF013 - signatures as users write them

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from uuid import UUID, uuid4

import pytest
from annotated_types import Gt, MaxLen
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SecretStr, Strict, computed_field, field_serializer
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from uno_jobs.errors import InvalidArguments, NotSerializable, TaskDefinitionError
from uno_jobs.tasks.annotations import Annotations
from uno_jobs.tasks.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from somewhere_else import Nowhere  # type: ignore[import-not-found] # only for the checker, as users do


def parameters(function: Callable[..., Any], **local_names: Any) -> Parameters:
    return Parameters(Annotations(function, local_names), f"'{function.__name__}'")


def through_json(
    made: Parameters, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    bound = made.dump(args, kwargs)
    return made.load(json.loads(bound.args_json), json.loads(bound.kwargs_json))


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Kind(StrEnum):
    FILE = "file"


class User(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    user_name: str
    born: date | None = None
    friends: list[User] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        return self.user_name[:1]


class StrictUser(BaseModel):
    model_config = ConfigDict(strict=True)

    id: UUID
    when: datetime
    tags: tuple[str, ...]


class Blob(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    data: bytes


@dataclass
class Point:
    x: int
    y: Decimal


class Row(TypedDict):
    key: str
    at: datetime


class Pair(NamedTuple):
    left: int
    right: UUID


# --- round trips -------------------------------------------------------------------------------------------------


ID = UUID(int=7)
NOW = datetime(2024, 2, 29, 12, 0, 1, 5, tzinfo=UTC)


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


# --- wrong calls ---------------------------------------------------------------------------------------------------


def resize(image_id: str, size: int = 1, *, deep: list[dict[str, int]] = []) -> None: ...  # noqa: B006


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


# --- by name, for uniqueness -----------------------------------------------------------------------------------------


def test_equal_calls_have_equal_names_however_they_are_written() -> None:
    def f(user_id: str, day: date = date(2024, 1, 1), options: dict = None) -> None: ...  # type: ignore[type-arg,assignment]

    made = parameters(f)
    one = made.dump(["u"], {}).named_json
    assert one == '{"user_id":"u","day":"2024-01-01","options":null}'
    for args, kwargs in [
        ([], {"user_id": "u"}),
        (["u", "2024-01-01"], {}),
        (["u"], {"options": None}),
        ([], {"options": None, "day": date(2024, 1, 1), "user_id": "u"}),
    ]:
        assert made.dump(args, kwargs).named_json == one
    assert made.dump(["u", date(2024, 1, 2)], {}).named_json != one


def test_bound_has_validated_values_in_the_functions_order() -> None:
    def f(id: UUID, size: int = 3, *more: int, deep: bool = False, **rest: int) -> None: ...

    bound = parameters(f).dump([str(ID), 1, "2"], {"z": 1, "deep": True}).bound
    assert list(bound.items()) == [
        ("id", ID),
        ("size", 1),
        ("more", (2,)),
        ("deep", True),
        ("rest", {"z": 1}),
    ]


def test_a_default_that_does_not_fit_its_own_annotation() -> None:
    def f(count: int = "many") -> None: ...  # type: ignore[assignment]

    made = parameters(f)
    assert made.dump([], {}).named_json == '{"count":"many"}'
    assert made.describe()[0]["default"] == "many"
    assert made.schema()["properties"]["count"]["default"] == "many"


# --- partial --------------------------------------------------------------------------------------------------------


def test_partial_calls_check_what_can_be_checked() -> None:
    made = parameters(resize)
    bound = made.dump(["small"], {}, partial=True)
    assert (bound.args_json, bound.kwargs_json) == ('["small"]', "{}")
    assert made.dump([], {}, partial=True).args_json == "[]"
    assert made.dump([], {"size": "3"}, partial=True).kwargs_json == '{"size":3}'
    assert made.dump([NOW], {}, partial=True).args_json == '["2024-02-29T12:00:01.000005Z"]'
    with pytest.raises(InvalidArguments, match="'size'"):
        made.dump([], {"size": "x"}, partial=True)
    with pytest.raises(InvalidArguments, match="no parameter 'nope'"):
        made.dump([], {"nope": 1}, partial=True)
    with pytest.raises(InvalidArguments, match="2 parameters left, but 3"):
        made.dump([1, 2, 3], {}, partial=True)
    with pytest.raises(InvalidArguments, match="1 parameter left, but 2"):
        made.dump([1, 2], {"size": 1}, partial=True)
    with pytest.raises(NotSerializable, match=r"positional argument 1: .*NUL"):
        made.dump(["\x00"], {}, partial=True)


def test_accepts_and_unchecked_serve_chains() -> None:
    made = parameters(resize)
    assert made.accepts("image_id", "x")
    assert not made.accepts("image_id", {"a": 1})
    with pytest.raises(InvalidArguments):
        made.load([{"a": 1}], {})
    assert made.load([{"a": 1}], {"size": "3"}, unchecked={"image_id"}) == (({"a": 1},), {"size": 3})
    with pytest.raises(InvalidArguments, match="'size'"):
        made.load([{"a": 1}, "x"], {}, unchecked={"image_id"})


# --- annotations ---


def later(it: Late, more: list[Late] = []) -> Late:  # type: ignore[empty-body] # noqa: B006
    ...


LATER = Annotations(later)


class Late(BaseModel):
    n: int


def test_annotations_are_resolved_when_needed() -> None:
    made = Parameters(LATER, "'later'")
    assert through_json(made, [Late(n=1), [Late(n=2)]], {}) == ((Late(n=1), [Late(n=2)]), {})


def test_models_of_the_surrounding_function() -> None:
    from uno_jobs.tasks import TaskRegistry, task

    class Local(BaseModel):
        n: int

    with TaskRegistry.isolated():

        @task
        async def f(it: Local, more: list[Local]) -> Local:
            return it

    assert through_json(f.parameters, [Local(n=1), []], {}) == ((Local(n=1), []), {})
    assert f.load_result('{"n":3}') == Local(n=3)


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    def f(a: int, it: Nowhere) -> None: ...

    with pytest.raises(TaskDefinitionError, match=r"task 'f': parameter 'it': .*Nowhere.*TYPE_CHECKING"):
        parameters(f)


class Session:
    pass


def test_an_annotation_that_pydantic_does_not_know_is_named() -> None:
    def f(a: int, db: Session) -> None: ...

    made = parameters(f)
    with pytest.raises(TaskDefinitionError, match=r"task 'f': parameter 'db': .*Session.* cannot be used in a task"):
        made.dump([1, Session()], {})
    with pytest.raises(TaskDefinitionError, match="parameter 'db'"):
        made.schema()


# --- schema ----------------------------------------------------------------------------------------------------------


def test_schema_of_the_arguments_by_name() -> None:
    def f(
        user: User, ids: list[UUID], size: Annotated[str, MaxLen(3)] = "s", *more: int, any_one: Any = None
    ) -> None: ...

    schema = parameters(f).schema()
    assert schema["type"] == "object"
    assert schema["required"] == ["user", "ids"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["user"] == {"$ref": "#/$defs/User"}
    assert schema["properties"]["ids"]["items"] == {"type": "string", "format": "uuid"}
    assert schema["properties"]["size"] == {"type": "string", "maxLength": 3, "default": "s"}
    assert schema["properties"]["more"] == {"type": "array", "items": {"type": "integer"}}
    assert schema["properties"]["any_one"] == {"default": None}
    assert "userName" in schema["$defs"]["User"]["properties"]
    json.dumps(schema)


def test_schema_with_var_keyword() -> None:
    def typed(**rest: int) -> None: ...
    def free(**rest: Any) -> None: ...

    assert parameters(typed).schema()["additionalProperties"] == {"type": "integer"}
    assert parameters(free).schema()["additionalProperties"] is True


def test_two_models_of_one_name_do_not_collide() -> None:
    def model(kind: type) -> Any:
        class Same(BaseModel):
            it: kind  # type: ignore[valid-type]

        return Same

    one, two = model(int), model(str)

    def f(a: one, b: two) -> None: ...  # type: ignore[valid-type]

    schema = parameters(f, one=one, two=two).schema()
    refs = {schema["properties"]["a"]["$ref"], schema["properties"]["b"]["$ref"]}
    assert len(refs) == 2
    assert all(re.sub("^#/\\$defs/", "", ref) in schema["$defs"] for ref in refs)


def test_describe() -> None:
    def f(a: int, /, b: UUID = ID, *c: int, d: Colour = Colour.BLUE, **e: int) -> None: ...

    assert parameters(f).describe() == [
        {"name": "a", "kind": "positional_only", "required": True},
        {"name": "b", "kind": "positional_or_keyword", "required": False, "default": str(ID)},
        {"name": "c", "kind": "var_positional", "required": False},
        {"name": "d", "kind": "keyword_only", "required": False, "default": "blue"},
        {"name": "e", "kind": "var_keyword", "required": False},
    ]


def test_a_function_without_parameters() -> None:
    def f() -> None: ...

    made = parameters(f)
    assert through_json(made, [], {}) == ((), {})
    assert made.dump([], {}).named_json == "{}"
    with pytest.raises(InvalidArguments, match="at most 0 positional arguments"):
        made.dump([uuid4()], {})
