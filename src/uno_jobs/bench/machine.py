"""What a benchmark runs on, and how."""

from __future__ import annotations

import asyncio
import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run with uvloop where it is installed, as a worker does."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def surroundings(connection: Any) -> dict[str, Any]:
    """Return what was measured on."""
    settings = {
        name: await connection.fetchval("SELECT current_setting($1)", name) for name in ("fsync", "synchronous_commit")
    }
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "postgresql": (await connection.fetchval("SHOW server_version")).split()[0],
        "asyncpg": version("asyncpg"),
        **settings,
    }
