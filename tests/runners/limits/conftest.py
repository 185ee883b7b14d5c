"""Fixtures of the tests of limits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from .programs import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .programs import Program

collect_ignore = [] if sys.platform == "linux" else ["test_group.py", "test_inside.py", "test_warden.py", "test_cpu.py"]


@pytest.fixture
def start() -> Iterator[Callable[[str], Program]]:
    """Starts programs; they are killed at the end."""
    yield from programs()
