"""Which tasks a child process can find by importing, and what it has to import for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uno_jobs.tasks.annotations import innermost

if TYPE_CHECKING:
    from uno_jobs.tasks.definition import Task
    from uno_jobs.tasks.registry import Registry


def can_be_imported(task: Task[..., Any, Any]) -> bool:
    """Say whether another process finds the task by importing: not in ``__main__``, and not inside a function."""
    function = innermost(task.function)
    module = getattr(function, "__module__", None)
    return module not in (None, "__main__") and "<locals>" not in getattr(function, "__qualname__", "")


def wants_child(task: Task[..., Any, Any]) -> bool:
    """Say whether the task's jobs run in child processes, and can."""
    return task.config.runs_in == "process" and can_be_imported(task)


def modules_of(registry: Registry) -> tuple[str, ...]:
    """Return the modules that hold a registry's tasks, for a child of a worker that was not told of any."""
    return tuple(sorted({innermost(task.function).__module__ for task in registry.all() if can_be_imported(task)}))
