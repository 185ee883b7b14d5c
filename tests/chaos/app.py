"""Jobs of every kind for the torture, under names of their own, since a test run has one registry.

Each start is noted in a file, which no fault of the database's can touch.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from uno_jobs import Cancel, Fail, Snooze, get_current_job
from uno_jobs.tasks import chain, group, task
from uno_jobs.tasks.graph import lay_out

NOTES = "UNO_JOBS_TORTURE_NOTES"
"""The variable that names the file of the starts."""

QUICK: dict[str, Any] = {"max_retries": 3, "retry_delay": 0.05, "retry_jitter": True}


def note() -> None:
    job = get_current_job()
    line = f"{job.id} {job.lease} {job.attempt} {job.task}\n".encode()
    with Path(os.environ[NOTES]).open("ab", buffering=0) as file:
        file.write(line)


@task(name="torture_noop", **QUICK)
async def noop(number: int) -> int:
    note()
    return number


@task(name="torture_sleeper", **QUICK)
async def sleeper(seconds: float) -> None:
    note()
    await asyncio.sleep(seconds)


@task(name="torture_flaky", **QUICK)
async def flaky(failures: int) -> int:
    """Fail so often, then succeed."""
    note()
    job = get_current_job()
    if job.failures < failures:
        raise ValueError(f"failure {job.failures + 1}")
    return job.failures


@task(name="torture_hopeless", **QUICK)
async def hopeless() -> None:
    note()
    raise RuntimeError("it never works")


@task(name="torture_dozy", **QUICK)
async def dozy() -> None:
    """Put it off once."""
    note()
    if get_current_job().attempt == 1:
        raise Snooze(0.05)


@task(name="torture_gives_up", **QUICK)
async def gives_up() -> None:
    note()
    raise Cancel("not needed")


@task(name="torture_threaded", runs_in="thread", **QUICK)
def threaded(number: int) -> int:
    note()
    time.sleep(0.005)
    return number


@task(name="torture_in_child", **QUICK)
def in_child(number: int) -> int:
    note()
    return number


@task(
    name="torture_stubborn",
    timeout=0.2,
    timeout_action="terminate",
    terminate_grace=0.2,
    max_retries=1,
    retry_delay=0.05,
)
async def stubborn() -> None:
    """Swallow every cancellation, and go on for ever."""
    note()
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


@task(name="torture_kills_its_child", **QUICK)
def kills_its_child() -> None:
    note()
    os.kill(os.getpid(), signal.SIGKILL)


@task(name="torture_poison", **QUICK)
async def poison() -> None:
    """Kill the process it runs in: the worker, until it is run in a child for that."""
    note()
    os.kill(os.getpid(), signal.SIGKILL)


@task(name="torture_only_one", unique=True, **QUICK)
async def only_one(key: int) -> None:
    note()
    await asyncio.sleep(0.05)


@task(name="torture_follow", **QUICK)
async def follow(previous: Any) -> list[Any]:
    """A step that says what it found before it."""
    note()
    return ["found", previous]


@task(name="torture_needs_help", **QUICK)
async def needs_help() -> int:
    """Fail for good at the first start; somebody has to retry it by hand."""
    note()
    if get_current_job().attempt == 1:
        raise Fail("not without help")
    return 1


@task(name="torture_count", max_retries=1000, retry_delay=0.05)
async def count(amount: int) -> None:
    """Exactly once, whatever happens."""
    note()
    async with get_current_job().transaction(kind="asyncpg") as tx:
        await tx.connection.execute("UPDATE counter SET n = n + $1", amount)
        tx.set_result(amount)


ADDITIONS = 6
"""How many kinds of additions there are."""


def _additions(kind: int) -> list[Any]:
    """What a job adds to its workflow, each part by a call of its own."""
    return [
        [noop.si(1)],
        [group([count.si(1), noop.si(1), needs_help.si()])],
        [chain(flaky.si(1), hopeless.si(), noop.options(on_parent_failure="run").si(1))],
        [group([follow.s(), grows_whole.si(4)]), group([]), follow.s()],
        [group([noop.si(1), count.si(1)]), follow.s()],
        [grows_in_child.si(1), grows.si(0)],
    ][kind]


def _grow(kind: int) -> int:
    """Add it; returns how many jobs that makes."""
    parts = _additions(kind)
    for part in parts:
        get_current_job().then(part)
    return sum(len(lay_out(chain(noop.si(1), part)).nodes) - 1 for part in parts)


@task(name="torture_grows", **QUICK)
async def grows(kind: int) -> int:
    """Add steps by each attempt; those of the first, which fails, are not to be there."""
    note()
    added = _grow(kind)
    if get_current_job().failures == 0:
        raise ValueError("after job.then")
    return added


@task(name="torture_grows_whole", max_retries=1000, retry_delay=0.05)
async def grows_whole(kind: int) -> None:
    """Add steps in the transaction that counts."""
    note()
    async with get_current_job().transaction(kind="asyncpg") as tx:
        await tx.connection.execute("UPDATE counter SET n = n + 1")
        tx.set_result(_grow(kind))


@task(name="torture_grows_in_child", **QUICK)
def grows_in_child(kind: int) -> int:
    note()
    return _grow(kind)
