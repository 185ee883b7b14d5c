"""Arguments by name, partial calls, annotations and schemas."""


# ruff: noqa: A002, RUF013 - signatures as users write them

from __future__ import annotations

import json
import re
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import pytest
from annotated_types import MaxLen
from pydantic import BaseModel

from uno_jobs.errors import InvalidArguments, NotSerializable, TaskDefinitionError
from uno_jobs.tasks.annotations import Annotations
from uno_jobs.tasks.parameters import Parameters

from .signatures import ID, Colour, User, parameters, resize, through_json

if TYPE_CHECKING:
    from somewhere_else import Nowhere  # type: ignore[import-not-found] # only for the checker, as users do


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
    image_id, size, _ = made.all
    assert made.dump_partial(["small"], {}, [image_id]) == ('["small"]', "{}")
    assert made.dump_partial(["3"], {}, [size]) == ("[3]", "{}")
    assert made.dump_partial([], {}, []) == ("[]", "{}")
    assert made.dump_partial([], {"size": "3"}, []) == ("[]", '{"size":3}')
    with pytest.raises(InvalidArguments, match="'size'"):
        made.dump_partial([], {"size": "x"}, [])
    with pytest.raises(InvalidArguments, match="'size'"):
        made.dump_partial(["x"], {}, [size])
    with pytest.raises(InvalidArguments, match="no parameter 'nope'"):
        made.dump_partial([], {"nope": 1}, [])
    with pytest.raises(NotSerializable, match=r"'image_id': .*NUL"):
        made.dump_partial(["\x00"], {}, [image_id])


def test_unchecked_serves_chains() -> None:
    made = parameters(resize)
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
