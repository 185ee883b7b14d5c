"""A pool and a runner without a worker or a database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uno_jobs.context import Job
from uno_jobs.runners.child.pool import Pool
from uno_jobs.runners.child.protocol import ChildConfig
from uno_jobs.runners.child.runner import ChildRunner
from uno_jobs.runners.limits.limiter import Limiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from uno_jobs.outcomes import Outcome

LIMIT = 30.0
"""Seconds after which a wait has failed: many times what it takes."""


class Notes:
    """A ``JobControl`` that remembers."""

    def __init__(self) -> None:
        self.reported: list[tuple[float, str]] = []
        self.flushed = 0

    def report_progress(self, job: Job, fraction: float, message: str) -> None:
        self.reported.append((fraction, message))

    async def flush_progress(self, job: Job) -> None:
        await asyncio.sleep(0)
        self.flushed += 1


class Lab:
    """A runner over children of its own."""

    def __init__(self, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.freed = asyncio.Event()
        self.notes = Notes()
        modules = options.pop("modules", ("tests.runners.child.app",))
        config = ChildConfig(
            modules=modules,
            path=tuple(sys.path),
            url="postgresql://nobody@127.0.0.1:1/nothing",
            schema="uno_jobs",
            pooled=False,
            max_result_size=1_000_000,
            log_format="json",
            log_level="info",
        )
        settings: dict[str, Any] = {"size": 2, "max_jobs": 1000, "warm": True, **options}
        self.pool = Pool(config, freed=self.freed.set, announce=self.events.append, **settings)
        self.limiter = Limiter(os.getpid())
        self.runner = ChildRunner(self.pool, self.notes, max_lost=3, limiter=self.limiter)

    async def run(self, task: Any, *args: Any, lost: int = 0, failures: int = 0) -> Outcome:
        self.runner.expect()
        async with asyncio.timeout(LIMIT):
            return await self.runner.run(a_job(task, *args, failures=failures), options=task.config, lost=lost)

    def pids(self, event: str = "child") -> list[int]:
        return [one["pid"] for one in self.events if one["event"] == event]


def a_job(task: Any, *args: Any, failures: int = 0) -> Job:
    now = datetime.now(UTC)
    config = task.config
    return Job(
        uuid.uuid4(), config.name, config.version, config.queue, 5, failures + 1, failures, config.max_retries + 1,
        json.dumps(args), "{}", '{"by": "me"}', now, None, now, None, lease=uuid.uuid4().int >> 66,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def lab(**options: Any) -> AsyncIterator[Lab]:
    made = Lab(**options)
    made.pool.open()
    try:
        yield made
    finally:
        await made.pool.close(LIMIT)
        await made.limiter.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.01)
