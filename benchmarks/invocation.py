"""What a run of a two-argument task costs over the bare call of its function.

Prints microseconds per run and the ratio to the bare call, the best of some rounds. Run it by itself:
``python benchmarks/invocation.py [--runs N] [--json]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from uno_jobs.context import Job
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.runners.invocation import Plan, perform
from uno_jobs.runners.thread import Threads
from uno_jobs.tasks import Task, TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROUNDS = 5
NOW = datetime.now(UTC)
ID = uuid.uuid4()


async def bare(path: str, size: int) -> None:
    """The function that is measured: nothing."""


async def with_id(key: uuid.UUID, size: int) -> dict[str, Any]:
    """The same with a parameter that has to be converted, and a result."""
    return {"size": size}


def blocking(path: str, size: int) -> None:
    """A synchronous one, for a thread."""


class Nothing(TaskMiddleware):
    """Middleware that does nothing, at all three points."""

    async def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Job) -> Any:
        return args, kwargs

    async def after_task(self, task_func: Any, args: Any, kwargs: Any, result: Any, job: Job) -> Any:
        return result


def a_job(args: str) -> Job:
    """Return a job as the worker makes one of a row."""
    return Job(ID, "bare", "1.0", "default", 5, 1, 0, 4, args, "{}", "{}", NOW, None, NOW, None, 1, None)


async def measure(runs: int, once: Callable[[], Awaitable[object]]) -> float:
    """Return the microseconds of one run, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(runs):
            await once()
        best = min(best, (time.perf_counter() - start) / runs)
    return best * 1e6


async def main(runs: int) -> dict[str, float]:
    """Measure each kind of run."""
    threads = Threads(1)

    def plan(function: Callable[..., Any], **options: Any) -> Plan:
        task: Task[..., Any, Any] = TaskRegistry.register(function, **options)
        return Plan(task, middleware=TaskRegistry.current().middleware, threads=threads)

    async def build(args: str) -> Job:
        return a_job(args)

    plain = plan(bare)
    converted = plan(with_id)
    limited = plan(bare, name="limited", timeout=60)
    wrapped = plan(bare, name="wrapped", middleware=[Nothing()])
    on_thread = plan(blocking, runs_in="thread")
    two, key = '["/usr/lib/python3",17]', f'["{ID}",17]'
    return {
        "the bare call": await measure(runs, lambda: bare("/usr/lib/python3", 17)),
        "making the job": await measure(runs, lambda: build(two)),
        "job and run": await measure(runs, lambda: perform(plain, a_job(two))),
        "... with a UUID, and a result": await measure(runs, lambda: perform(converted, a_job(key))),
        "... with one middleware": await measure(runs, lambda: perform(wrapped, a_job(two))),
        "... with a timeout": await measure(runs // 5, lambda: perform(limited, a_job(two))),
        "... on a thread": await measure(runs // 20, lambda: perform(on_thread, a_job(two))),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50_000)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    figures = asyncio.run(main(options.runs))
    if options.json:
        print(json.dumps(figures))
    else:
        call = figures["the bare call"]
        for name, microseconds in figures.items():
            print(f"{name:32} {microseconds:8.2f} µs   {microseconds - call:+8.2f} µs   ×{microseconds / call:.1f}")
