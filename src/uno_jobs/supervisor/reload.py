"""Watches Python files for development: says when one of them has changed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from uno_jobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger("uno_jobs.supervisor")


def check_watched(paths: Sequence[str]) -> None:
    """Refuse to watch what is not there, or without the library for it.

    Raises:
        ConfigurationError: Says what is missing.
    """
    import importlib.util

    if paths and importlib.util.find_spec("watchfiles") is None:
        raise ConfigurationError("reloading needs the library watchfiles: pip install 'uno-jobs[embedded]'")
    for path in paths:
        if not Path(path).exists():
            raise ConfigurationError(f"cannot watch {path!r}: there is no such file or folder")


async def watch_code(paths: Sequence[str], changed: Callable[[int], None]) -> None:
    """Watch until cancelled.

    Args:
        paths: Folders, with all that is below them; or files, which stand for their folder without what is below.
        changed: Called after a change, with the number of files.
    """
    folders, beside = _sort(paths)
    async with asyncio.TaskGroup() as group:
        if folders:
            group.create_task(_watch(folders, changed, recursive=True))
        if beside:
            group.create_task(_watch(beside, changed, recursive=False))


def _sort(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    folders = [path for path in paths if Path(path).is_dir()]
    return folders, sorted({str(Path(path).resolve().parent) for path in paths if not Path(path).is_dir()})


async def _watch(folders: Sequence[str], changed: Callable[[int], None], *, recursive: bool) -> None:
    from watchfiles import PythonFilter, awatch  # pyright: ignore[reportUnknownVariableType] - untyped in part

    # What it says at level info is what we say.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    try:
        async for changes in awatch(
            *folders, watch_filter=PythonFilter(), recursive=recursive, debounce=400, step=50, rust_timeout=1000
        ):
            changed(len(changes))
    except (OSError, RuntimeError) as error:
        # Of the system's watches there is a limited number.
        logger.error("changes of the code cannot be watched: %s", error)
