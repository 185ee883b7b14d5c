"""How the jobs ended that a step waited for (``job.parents``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import UUID

from uno_jobs.storable import from_json

if TYPE_CHECKING:
    from uno_jobs.context import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A job that a step waited for."""

    id: UUID
    task: str | None
    """The task's name; None for a group's list, which no task made."""
    state: Literal["succeeded", "failed", "cancelled"]
    result: Any
    """What it returned, as plain JSON values; None where it did not succeed. A group's list is there all the same, with
    None in the places of those that did not."""
    error_type: str | None
    """The error's class, if it failed."""
    error: str | None
    """The error's message, or why it was cancelled."""


def parents_of(job: Job) -> tuple[Parent, ...]:
    """Return what a job was told of its parents when it started."""
    if job.before is None:
        return ()
    found: list[dict[str, Any]] = cast("dict[str, Any]", from_json(job.before)).get("parents", [])
    return tuple(Parent(id=UUID(one.pop("id")), **one) for one in found)
