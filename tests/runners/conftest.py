"""A registry of its own for each test, a log and threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from uno_jobs.runners.thread import Threads
from uno_jobs.tasks import TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from uno_jobs.tasks.registry import Registry


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    """An empty registry, in force for the test."""
    with TaskRegistry.isolated() as inner:
        yield inner


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def threads() -> Any:
    pool = Threads(2)
    yield pool
    pool.close()
