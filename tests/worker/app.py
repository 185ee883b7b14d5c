"""Tasks for worker processes of the tests."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import signal
import time
from pathlib import Path

from sqlalchemy import text

from uno_jobs import get_current_job
from uno_jobs.tasks import task


@task
async def noop(number: int) -> int:
    return number


@task
async def how_it_collects() -> tuple[int, bool]:
    """Return after how many new objects garbage is looked for, and whether what was imported is left out."""
    # Python 3.12 itself leaves some hundred objects out; what was imported is tens of thousands.
    return gc.get_threshold()[0], gc.get_freeze_count() > 5_000


@task
async def until_there(path: str) -> int:
    """Run until a file is there; returns the process that it ran in."""
    while not Path(path).exists():
        await asyncio.sleep(0.01)
    return os.getpid()


@task
async def marks_and_waits(folder: str, number: int, go: str) -> int:
    """Leave a mark for this run, and run until a file is there."""
    with Path(folder, "marks").open("a") as marks:
        marks.write(f"{number}\n")
    while not Path(folder, go).exists():
        await asyncio.sleep(0.01)
    return number


@task
async def hands_on(previous: list) -> list:
    return previous


@task
async def kills_its_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
async def holds_the_interpreter(path: str) -> None:
    """Let nothing else run in this process, no thread either, until a file is there."""
    while not Path(path).exists():
        re.match(r"(a+)+$", "a" * 24 + "b")


@task(max_retries=100, retry_delay=0)
async def increment() -> None:
    """Count to one more, exactly once."""
    async with get_current_job().transaction() as tx:
        await tx.session.execute(text("UPDATE counter SET n = n + 1"))


@task(max_retries=100, retry_delay=0)
def increment_sync() -> None:
    """Count to one more, exactly once."""
    with get_current_job().transaction() as tx:
        tx.session.execute(text("UPDATE counter SET n = n + 1"))


@task(max_retries=0)
async def heeds_cancellation() -> None:
    await asyncio.Event().wait()


@task(max_retries=0)
async def swallows_every_cancellation() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


@task(max_retries=0, runs_in="thread")
def stays_in_its_thread() -> None:
    time.sleep(3600)
