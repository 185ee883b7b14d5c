"""A task with some of its arguments bound: a step of a workflow, or something to enqueue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from uno_jobs.tasks.step import R_co, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uno_jobs.tasks.definition import Task


def _nothing() -> dict[str, Any]:
    return {}  # ``dict[str, Any]`` as a factory takes several times as long


@dataclass(frozen=True, slots=True)
class Signature(Step[R_co]):
    """A task, arguments that need not be complete, and options of the enqueue.

    Made by ``task.s(...)``, ``task.si(...)`` and ``task.options(...).s(...)``; its type parameter is the
    task's result.
    """

    task: Task[..., R_co, Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=_nothing)
    immutable: bool = False
    """Whether it takes nothing from the steps before it (``si``)."""
    options: Mapping[str, Any] = field(default_factory=_nothing)

    @property
    def runs_on_failure(self) -> bool:
        """Whether it runs also when a step before it failed or was cancelled (``on_parent_failure="run"``)."""
        return self.options.get("on_parent_failure") == "run"

    def __repr__(self) -> str:
        args = [repr(value) for value in self.args]
        args += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task.name}.{'si' if self.immutable else 's'}({', '.join(args)})"
