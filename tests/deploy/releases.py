"""Two releases of a task: how its parameters were, how they are now, and what is stored of a call of the old one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from uno_jobs.tasks import TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.tasks.definition import Task

    AnyTask = Task[..., Any, Any]


class Size(BaseModel):
    width: int
    height: int = 1


class StrictSize(BaseModel, extra="forbid"):
    width: int
    depth: int


class Even(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("is odd")
        return number


TYPES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "int": (int, [0, 7, -1]),
    "str": (str, ["", "7", "red"]),
    "float": (float, [1.5, 2.0]),
    "bool": (bool, [True]),
    "list[int]": (list[int], [[], [1, 2]]),
    "dict": (dict, [{}, {"width": 3}]),
    "int | None": (int | None, [None, 3]),
    "datetime": (datetime, ["2024-02-29T12:00:00+00:00"]),
    "Size": (Size, [{"width": 2}, {"width": 2, "height": 3}]),
    "StrictSize": (StrictSize, [{"width": 2, "depth": 3}]),
    "Even": (Even, [{"number": 2}]),
}
"""Annotations by name, each with JSON values that fit it."""
NAMES: Final = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Spec:
    """One parameter."""

    name: str
    type: str
    required: bool
    keyword_only: bool = False


@dataclass(frozen=True)
class Case:
    """A call of the old release's task, and the new release's task."""

    old: tuple[Spec, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    new: tuple[Spec, ...] | None
    """None: the new release has no such task."""
    version: str
    upgrade: str | None
    """How 2.0 rewrites calls of 1.0; None: not at all."""


def _no_rewrite(args: list[Any], kwargs: dict[str, Any]) -> Any:
    return args, kwargs


def _drop(args: list[Any], kwargs: dict[str, Any]) -> Any:
    return args[:1], {}


def _add(args: list[Any], kwargs: dict[str, Any]) -> Any:
    return args, {**kwargs, "d": 1}


def _raise(args: list[Any], kwargs: dict[str, Any]) -> Any:
    raise KeyError("size")


def _nonsense(args: list[Any], kwargs: dict[str, Any]) -> Any:
    return args


UPGRADES: Final[dict[str, Callable[..., Any]]] = {
    "as it is": _no_rewrite,
    "drop": _drop,
    "add": _add,
    "raise": _raise,
    "nonsense": _nonsense,
}


def make(name: str, specs: tuple[Spec, ...], **options: Any) -> AnyTask:
    """Register a task with these parameters."""
    ordered = sorted(specs, key=lambda one: (one.keyword_only, not one.required and not one.keyword_only))
    parts: list[str] = []
    for one in ordered:
        if one.keyword_only and "*" not in parts:
            parts.append("*")
        parts.append(one.name if one.required else f"{one.name} = None")
    scope: dict[str, Any] = {}
    exec(f"async def made({', '.join(parts)}): pass", scope)
    made = scope["made"]
    made.__annotations__ = {one.name: TYPES[one.type][0] for one in specs}
    return TaskRegistry.register(made, name=name, **options)


def changed(draw: Any, specs: tuple[Spec, ...]) -> tuple[Spec, ...]:
    """Draw what became of parameters: each may go, get another type or name, or become optional."""
    kept: list[Spec] = []
    taken = {one.name for one in specs}
    for one in specs:
        match draw(st.sampled_from(["same", "same", "same", "gone", "type", "name", "required", "kind"])):
            case "gone":
                continue
            case "type":
                kept.append(replace(one, type=draw(st.sampled_from(sorted(TYPES)))))
            case "name":
                free = [name for name in NAMES if name not in taken]
                name = draw(st.sampled_from(free)) if free else one.name
                taken.add(name)
                kept.append(replace(one, name=name))
            case "required":
                kept.append(replace(one, required=not one.required))
            case "kind":
                kept.append(replace(one, keyword_only=not one.keyword_only))
            case _:
                kept.append(one)
    return tuple(kept)


@st.composite
def specs_(draw: Any) -> tuple[Spec, ...]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    return tuple(
        Spec(name, draw(st.sampled_from(sorted(TYPES))), draw(st.booleans()), draw(st.integers(0, 4)) == 0)
        for name in names
    )


@st.composite
def cases(draw: Any, *, step: bool = False) -> Case:
    """Draw a case; for a step, a call of which the first parameter, and any that has a name, may be left open."""
    old = draw(specs_())
    positional = sorted((one for one in old if not one.keyword_only), key=lambda one: not one.required)
    by_place = draw(st.integers(0, len(positional)))
    left_open = set()
    if step:
        left_open = {one.name for one in old if draw(st.booleans())}
        required = [one for one in positional if one.required]
        # What goes by place in a step is placed behind the first required parameter.
        positional = required[1:] if required else positional
        by_place = draw(st.integers(0, max(0, len(required) - 1)))
    given = {one.name: draw(st.sampled_from(TYPES[one.type][1])) for one in old}
    args = tuple(given[one.name] for one in positional[:by_place])
    placed = {one.name for one in positional[:by_place]}
    named = {
        one.name: given[one.name]
        for one in old
        if one.name not in placed and one.name not in left_open and (one.required or draw(st.booleans()))
    }
    if step and by_place:
        # A keyword for one of the required ones would shift the places.
        named = {name: value for name, value in named.items() if not any(o.name == name and o.required for o in old)}
    new = None if draw(st.integers(0, 9)) == 0 else changed(draw, old)
    version = draw(st.sampled_from(["1.0", "1.0", "2.0"]))
    upgrade = draw(st.sampled_from([None, *UPGRADES])) if version == "2.0" else None
    return Case(old, args, named, new, version, upgrade)
