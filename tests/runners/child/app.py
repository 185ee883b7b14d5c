"""Tasks that run in the children of the tests."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from uno_jobs.context import get_current_job
from uno_jobs.errors import Retry, Snooze, Terminated
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.tasks import Task, task

colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


@task
def pid() -> int:
    return os.getpid()


@task(runs_in="process")
async def pid_on_the_loop() -> int:
    await asyncio.sleep(0)
    return os.getpid()


@task(max_retries=1, retry_delay=7)
def breaks(text: str) -> None:
    raise LookupError(text)


@task
def steers(how: str) -> None:
    raise Snooze(30) if how == "snooze" else Retry(delay=5)


@task
def exits() -> None:
    sys.exit("enough")


@task
def unstorable() -> float:
    return float("nan")


@task
def who() -> list[Any]:
    job = get_current_job()
    return [str(job.id), job.task, job.attempt, job.metadata, job.started_at.isoformat()]


class Dyes(TaskMiddleware):
    async def before_task(self, task_func, args, kwargs, job):
        colour.set("red")
        return args, kwargs

    async def after_task(self, task_func, args, kwargs, result, job):
        return f"{result} {colour.get()}"


class Checked(Task):
    def validate_input(self, *args, **kwargs):
        if args and args[0] == "wrong":
            raise ValueError("not that")

    async def report_result(self, result):
        return f"<{result}>"


@task(middleware=[Dyes()], base=Checked)
def coloured(text: str) -> str:
    seen = colour.get()
    colour.set("green")
    return f"{text} {seen}"


@task
def plain_colour() -> str:
    return colour.get()


@task
def own_loop() -> int:
    async def inside() -> int:
        await asyncio.sleep(0)
        return 42

    return asyncio.run(inside())


@task
def logs() -> None:
    logging.getLogger("my.app").warning("from the child", extra={"number": 17})


@task(runs_in="process")
async def reports() -> str:
    job = get_current_job()
    job.set_progress(0.1)
    await job.set_progress(0.5, "half")
    return "reported"


@task
def reports_plainly() -> None:
    get_current_job().set_progress(0.25, "a quarter")


@task
def prints_and_closes() -> int:
    print("this is no message", flush=True)
    os.write(1, b'{"say": "ended"}\n')
    for fd in (0, 1, 2):
        os.close(fd)
    return os.getpid()


@task
def forks_a_copy_of_itself() -> int:
    """The copy returns from the task, as a careless program does."""
    return os.fork()


@task
def sleeps_on(note: str) -> None:
    Path(note).touch()
    time.sleep(1000)


@task
def waits_for(note: str, go: str) -> int:
    Path(note).touch()
    while not Path(go).exists():
        time.sleep(0.01)
    return os.getpid()


@task(terminate_grace=60)
def cancelled_while_it_sleeps(note: str) -> None:
    Path(note).touch()
    try:
        time.sleep(1000)
    finally:
        Path(note).write_text(str(bool(get_current_job().is_cancelled())))


@task(timeout=0.3, terminate_grace=0.3, max_retries=1, retry_delay=7)
def spins(note: str) -> None:
    Path(note).touch()
    while True:
        pass


@task(timeout=0.3, terminate_grace=0.3)
def backtracks() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")


@task(timeout=0.3, terminate_grace=0.3)
def sleeps() -> None:
    time.sleep(1000)


@task(timeout=0.3, terminate_grace=0.3)
def ignores_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1000)


@task(timeout=0.3, timeout_action="terminate", terminate_grace=0.3)
async def swallows_cancellation() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)


@task(timeout=0.3, terminate_grace=60)
def cleans_up(note: str) -> None:
    try:
        time.sleep(1000)
    finally:
        Path(note).write_text(str(bool(get_current_job().is_cancelled())))


@task(timeout=0.3, timeout_action="terminate", terminate_grace=60)
async def cleans_up_on_the_loop(note: str) -> None:
    try:
        await asyncio.sleep(1000)
    finally:
        Path(note).write_text(str(bool(await get_current_job().is_cancelled())))


@task(timeout=0.3, terminate_grace=60)
def ends_well_all_the_same() -> str:
    try:
        time.sleep(1000)
    except Terminated:
        return "in spite of it"
    return "never"


@task(timeout=1.0, terminate_grace=0.3)
def starts_others(note: str) -> None:
    """One that inherits everything, one that ignores SIGTERM."""
    forked = os.fork()
    if not forked:
        time.sleep(1000)
    ignoring = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 1000 & wait"])
    Path(note).write_text(f"{forked} {ignoring.pid}")
    time.sleep(1000)


@task
def leaves_others(note: str) -> None:
    forked = os.fork()
    if not forked:
        time.sleep(1000)
    Path(note).write_text(str(forked))


@task
def segfaults() -> None:
    ctypes.string_at(0)


@task
def leaves(status: int) -> None:
    os._exit(status)


@task
def kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
def waits_until_cancelled(note: str) -> str:
    """Look for it, and do not mind SIGTERM."""
    job = get_current_job()
    while True:
        with contextlib.suppress(Terminated):
            Path(note).touch()
            while not job.is_cancelled():
                time.sleep(0.01)
            return "saw it"
