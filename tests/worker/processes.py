"""Supervisors with their workers as real processes, and what they log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.worker import app
from tests.worker.conftest import LIMIT, running
from uno_jobs.tasks.registry import Registry
from uno_jobs.worker.config import ENVIRONMENT, SupervisorConfig, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from tests.worker.conftest import Database
    from uno_jobs.worker.worker import Worker

ROOT = Path(__file__).parents[2]
WORKER_PID = "SELECT pid FROM uno_jobs.workers WHERE state = 'running'"
SUPERVISED = "SELECT id FROM uno_jobs.workers WHERE lock_key IS NOT NULL AND state = 'running'"
"""Workers that are processes of their own."""
IN_FULL = (
    pytest.mark.chaos,
    pytest.mark.skipif("UNO_JOBS_TORTURE_SECONDS" not in os.environ, reason="only with the torture in full"),
)
"""Marks of what takes long, and of which a short form runs always."""
IN_OWN_PID_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Before a command: it runs as process number 1, as in a container."""


@contextlib.asynccontextmanager
async def supervisor(
    url: str, processes: int = 1, *, log: Path | None = None, prefix: Sequence[str] = (), **options: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A supervisor with its workers, in a process group of its own, killed at the end if need be.

    With ``log`` all of them log into that file, as JSON.
    """
    usual = {"app": ("tests.worker.app",), "poll_interval": 0.2, "grace": 5.0}
    worker = WorkerConfig(url=url, **{**usual, **options})
    config = SupervisorConfig(worker=worker, processes=processes)
    with contextlib.ExitStack() as stack:
        process = await asyncio.create_subprocess_exec(
            *prefix,
            sys.executable,
            "-m",
            "uno_jobs.supervisor",
            env={**os.environ, ENVIRONMENT: config.to_json()},
            cwd=ROOT,
            start_new_session=True,
            stderr=None if log is None else stack.enter_context(log.open("wb")),
        )
    try:
        yield process
    finally:
        kill(everyone(process))
        await process.wait()


def everyone(process: asyncio.subprocess.Process) -> list[int]:
    """Return the ids of a supervisor, of its workers, and of all that they have started."""
    try:
        return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def kill(pids: Iterable[int], signal_: signal.Signals = signal.SIGKILL) -> None:
    """Send processes a signal, in this order; those that are gone do not matter."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_)


def logged(log: Path, event: str) -> list[dict[str, Any]]:
    """Return what was logged with these words."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if event in line["event"]]


async def wait_logged(log: Path, event: str) -> list[dict[str, Any]]:
    """Wait until something was logged with these words."""
    async with asyncio.timeout(LIMIT):
        while not (found := logged(log, event)):
            await asyncio.sleep(0.01)
    return found


async def workers(database: Database, number: int) -> None:
    """Wait until so many workers run."""
    await database.wait_until("SELECT count(*) = $1 FROM uno_jobs.workers WHERE state = 'running'", number)


def observer(url: str) -> AbstractAsyncContextManager[Worker]:
    """A worker in this process: it watches the others, and would run whatever it could get hold of."""
    registry = Registry()
    for task in (app.noop, app.until_there):
        registry.add(task)
    return running(url, registry=registry)


async def outcomes(database: Database, id_: UUID) -> list[str]:
    """Return how each attempt of a job has ended."""
    return [one["outcome"] for one in await database.attempts(id_)]
