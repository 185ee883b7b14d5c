"""A transactional job system for Python on PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uno_jobs.context import get_current_job
    from uno_jobs.errors import Cancel, Fail, Retry, Snooze
    from uno_jobs.middleware import TaskMiddleware
    from uno_jobs.queue.default import configure
    from uno_jobs.queue.handles import JobHandle
    from uno_jobs.queue.moves import CancelResult
    from uno_jobs.queue.queue import Queue
    from uno_jobs.queue.sync import SyncQueue
    from uno_jobs.tasks.decorator import task
    from uno_jobs.tasks.definition import Task
    from uno_jobs.tasks.discovery import discover_tasks
    from uno_jobs.tasks.registry import TaskRegistry, register_middleware
    from uno_jobs.tasks.signature import Signature
    from uno_jobs.tasks.workflows import chain, group

    __version__: str

__all__ = [
    "Cancel",
    "CancelResult",
    "Fail",
    "JobHandle",
    "Queue",
    "Retry",
    "Signature",
    "Snooze",
    "SyncQueue",
    "Task",
    "TaskMiddleware",
    "TaskRegistry",
    "__version__",
    "chain",
    "configure",
    "discover_tasks",
    "get_current_job",
    "group",
    "register_middleware",
    "task",
]

# Imported when first asked for, so that a program pays for no more than it uses.
_HOMES = {
    "Cancel": "errors",
    "CancelResult": "queue.moves",
    "Fail": "errors",
    "JobHandle": "queue.handles",
    "Queue": "queue.queue",
    "Retry": "errors",
    "Signature": "tasks.signature",
    "Snooze": "errors",
    "SyncQueue": "queue.sync",
    "Task": "tasks.definition",
    "TaskMiddleware": "middleware",
    "TaskRegistry": "tasks.registry",
    "chain": "tasks.workflows",
    "configure": "queue.default",
    "discover_tasks": "tasks.discovery",
    "get_current_job": "context",
    "group": "tasks.workflows",
    "register_middleware": "tasks.registry",
    "task": "tasks.decorator",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("uno-jobs")
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f"uno_jobs.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'uno_jobs' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
