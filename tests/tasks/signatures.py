"""Models and short ways to make parameters, for the tests of arguments."""

# ruff: noqa: TC003 - pydantic reads annotations at run time

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, computed_field
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from uno_jobs.tasks.annotations import Annotations
from uno_jobs.tasks.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


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


NOW = datetime(2024, 2, 29, 12, 0, 1, 5, tzinfo=UTC)
ID = UUID(int=7)


def resize(image_id: str, size: int = 1, *, deep: list[dict[str, int]] = []) -> None: ...  # noqa: B006
