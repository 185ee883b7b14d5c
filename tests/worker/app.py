"""Tasks for worker processes of the tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from pathlib import Path

from uno_jobs.tasks import task


@task
async def noop(number: int) -> int:
    return number


@task
async def until_there(path: str) -> int:
    """Run until a file is there; returns the process that it ran in."""
    while not Path(path).exists():
        await asyncio.sleep(0.01)
    return os.getpid()


@task
async def kills_its_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
async def holds_the_interpreter(path: str) -> None:
    """Let nothing else run in this process, no thread either, until a file is there."""
    while not Path(path).exists():
        re.match(r"(a+)+$", "a" * 24 + "b")


@task(max_retries=0)
async def heeds_cancellation() -> None:
    await asyncio.Event().wait()


@task(max_retries=0)
async def swallows_cancellation() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


@task(max_retries=0, runs_in="thread")
def stays_in_its_thread() -> None:
    time.sleep(3600)
