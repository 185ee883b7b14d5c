"""Tools for testing tasks and applications that enqueue; each is imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uno_jobs.testing.asserting import assert_enqueued, assert_enqueued_sync
    from uno_jobs.testing.enqueued import EnqueuedJob
    from uno_jobs.testing.idle import run_until_idle, run_until_idle_sync
    from uno_jobs.testing.run import test_task

__all__ = [
    "EnqueuedJob",
    "assert_enqueued",
    "assert_enqueued_sync",
    "run_until_idle",
    "run_until_idle_sync",
    "test_task",
]

_HOMES = {
    "EnqueuedJob": "enqueued",
    "assert_enqueued": "asserting",
    "assert_enqueued_sync": "asserting",
    "run_until_idle": "idle",
    "run_until_idle_sync": "idle",
    "test_task": "run",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"uno_jobs.testing.{home}"), name)
