"""Tasks for the children of the workers in the tests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

from sqlalchemy import text

from uno_jobs.context import get_current_job
from uno_jobs.queue import SyncQueue
from uno_jobs.tasks import task


@task
def child_and_parent() -> list[int]:
    return [os.getpid(), os.getppid()]


@task
async def on_the_loop() -> int:
    return os.getpid()


@task
def until_it_is_there(path: str) -> int:
    while not Path(path).exists():
        time.sleep(0.005)
    return os.getpid()


@task
async def sleeper(folder: str, number: int) -> int:
    """Say that it runs, and run until the folder says that it may end."""
    Path(folder, f"runs-{number}").touch()
    while not Path(folder, "go").exists():
        await asyncio.sleep(0.01)
    return os.getpid()


@task
async def poison(folder: str, others: int) -> None:
    """Kill its process once the others run; alone, at once."""
    while not Path(folder, "go").exists() and len(list(Path(folder).glob("runs-*"))) < others:
        await asyncio.sleep(0.01)
    Path(folder, "go").touch()
    os.kill(os.getpid(), signal.SIGKILL)


@task
def crashes() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@task(timeout=0.3, terminate_grace=0.2, max_retries=0)
def oversleeps() -> None:
    time.sleep(1000)


@task
def resizes(path: str) -> None:
    get_current_job().set_progress(0.4, "resized")
    while not Path(path).exists():
        time.sleep(0.005)


@task
def enqueues(url: str) -> None:
    with SyncQueue(url) as queue:
        queue.enqueue(on_the_loop)


@task
def starts_another(note: str) -> None:
    other = subprocess.Popen(["sleep", "1000"])
    Path(note).write_text(f"{os.getpid()} {other.pid}")
    time.sleep(1000)


@task(max_retries=1, retry_delay=0)
def fails_in_a_child() -> None:
    raise ValueError("no")


notes: list[str] = []


@fails_in_a_child.on_retry
async def on_retry(job, error, count) -> None:
    notes.append(f"{os.getpid()} retry {count} {error}")


@fails_in_a_child.on_failure
@crashes.on_failure
async def on_failure(job, error) -> None:
    notes.append(f"{os.getpid()} failed {error}")


@task(max_retries=0)
def counts_in_a_session(dies: bool) -> int:
    """Write and succeed in one commit, then raise, or die, to no effect."""
    with get_current_job().transaction() as tx:
        tx.session.execute(text("UPDATE counter SET n = n + 1"))
        tx.set_result(7)
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("after the commit")


@task(max_retries=0, timeout=60, timeout_action="terminate")
async def counts_on_asyncpg() -> None:
    async with get_current_job().transaction(kind="asyncpg") as tx:
        await tx.connection.execute("UPDATE counter SET n = n + 1")
        tx.set_result(8)
