"""Tasks: defining, registering, finding them."""

from __future__ import annotations

from uno_jobs.tasks.decorator import task
from uno_jobs.tasks.definition import Task
from uno_jobs.tasks.discovery import discover_tasks
from uno_jobs.tasks.registry import TaskRegistry, register_middleware
from uno_jobs.tasks.signature import Signature
from uno_jobs.tasks.workflows import Chain, Group, chain, group

__all__ = [
    "Chain",
    "Group",
    "Signature",
    "Task",
    "TaskRegistry",
    "chain",
    "discover_tasks",
    "group",
    "register_middleware",
    "task",
]
