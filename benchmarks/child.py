"""What a run of a no-op task costs in a child process over the same on the event loop, without a database.

Prints microseconds per run, the median of some rounds that alternate between the two; and how many runs a second some
children do side by side. Run it by itself: ``python benchmarks/child.py [--runs N] [--children N] [--json]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from _common import FOLDER, median, run
from _sync_tasks import noop_in_child, noop_on_loop

from uno_jobs.context import Job
from uno_jobs.runners.child.pool import Pool
from uno_jobs.runners.child.protocol import ChildConfig
from uno_jobs.runners.child.runner import ChildRunner
from uno_jobs.runners.invocation import Plan, perform
from uno_jobs.runners.limits.limiter import Limiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROUNDS = 9
NOW = datetime.now(UTC)


def a_job(name: str) -> Job:
    """Return a job as the worker makes one of a row."""
    return Job(uuid.uuid4(), name, "1.0", "default", 5, 1, 0, 4, "[17]", "{}", "{}", NOW, None, NOW, None, 1, None)


async def measure(runs: int, once: Callable[[], Awaitable[object]]) -> float:
    """Return the microseconds of one run."""
    start = time.perf_counter()
    for _ in range(runs):
        await once()
    return (time.perf_counter() - start) / runs * 1e6


async def main(runs: int, children: int) -> dict[str, float]:
    """Measure both in turn, then some children side by side."""
    config = ChildConfig(
        modules=("_sync_tasks",),
        path=(str(FOLDER), *sys.path),
        url="",
        schema="uno_jobs",
        pooled=False,
        max_result_size=1_000_000,
        log_format="json",
        log_level="warning",
    )
    pool = Pool(config, size=children, max_jobs=10**9, warm=True, freed=lambda: None, announce=lambda _: None)
    limiter = Limiter(os.getpid())
    runner = ChildRunner(pool, None, 3, limiter)  # pyright: ignore[reportArgumentType] - no job here reports anything
    plan = Plan(noop_on_loop)

    async def in_child() -> Any:
        runner.expect()
        return await runner.run(a_job("noop_in_child"), noop_in_child.config, 0)

    async def on_loop() -> Any:
        # In an asyncio task of its own, as a worker does.
        return await asyncio.get_running_loop().create_task(perform(plan, a_job("noop_on_loop")))

    pool.open()
    try:
        await asyncio.gather(*(in_child() for _ in range(10 * children)))
        loop: list[float] = []
        child: list[float] = []
        for _ in range(ROUNDS):
            loop.append(await measure(runs, on_loop))
            child.append(await measure(runs, in_child))

        async def many() -> None:
            for _ in range(runs):
                await in_child()

        start = time.perf_counter()
        await asyncio.gather(*(many() for _ in range(children)))
        rate = children * runs / (time.perf_counter() - start)
    finally:
        await pool.close(10.0)
        await limiter.close()
    return {
        "on the event loop, µs": median(loop),
        "in a child, µs": median(child),
        "extra, µs": median(child) - median(loop),
        f"{children} children side by side, jobs/s": rate,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3_000)
    parser.add_argument("--children", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    figures = run(main(options.runs, options.children))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:40} {value:10,.1f}")
