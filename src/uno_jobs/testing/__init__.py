"""Tools for testing tasks and applications that enqueue; each is imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uno_jobs.testing.run import test_task

__all__ = ["test_task"]

_HOMES = {"test_task": "uno_jobs.testing.run"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)
