"""What workflows cost: chains and a group with a step behind it against the same number of plain jobs.

Each round fills the queue anew and lets a real worker process drain plain jobs, many chains of steps that hand a value
on, few chains, and a group that one step follows. Then a worker that has nothing to do gets one chain: from the start
of a step to the start of the next. It polls so seldom that a step which waits for a poll would show.
"""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import asyncpg
from _common import FOLDER, arguments, benchmark_database, empty, median, run, settle, show, surroundings
from _tasks import count, echo

from uno_jobs import Queue
from uno_jobs.tasks import chain, group
from uno_jobs.worker.config import ENVIRONMENT, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SPAN = "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float FROM uno_jobs.outcomes"
FINISHED = "SELECT count(*) FROM uno_jobs.outcomes WHERE state = 'succeeded'"
STEPS = """
SELECT 1000 * extract(epoch FROM started_at - lag(started_at) OVER (ORDER BY started_at))::float FROM uno_jobs.outcomes
ORDER BY started_at OFFSET 1
"""
POLL = 30.0
PATIENCE = 60.0


def worker(url: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start a worker process."""
    config = WorkerConfig(url=url, app=("_tasks",), log_format="json", log_level="warning", **options)
    return subprocess.Popen(
        [sys.executable, "-m", "uno_jobs.worker"], cwd=FOLDER, env={**os.environ, ENVIRONMENT: config.to_json()}
    )


async def drain(url: str, connection: asyncpg.Connection[asyncpg.Record], jobs: int, concurrency: int) -> float:
    """Let a worker do what is there; returns jobs per second from the first claim to the last end."""
    await settle(connection)
    process = worker(url, concurrency=concurrency, until_empty=True)
    status = await asyncio.to_thread(process.wait)
    finished = await connection.fetchval(FINISHED)
    if status != 0 or finished != jobs:
        raise SystemExit(f"the worker ended with status {status} and {finished} of {jobs} jobs finished")
    return jobs / await connection.fetchval(SPAN)


async def latency(url: str, connection: asyncpg.Connection[asyncpg.Record], queue: Queue, steps: int) -> list[float]:
    """Give an idle worker one chain; returns the milliseconds from step to step."""
    process = worker(url, poll_interval=POLL)
    try:
        async with asyncio.timeout(PATIENCE):
            # It marks itself hungry when it has found nothing and sleeps.
            while not await connection.fetchval("SELECT EXISTS (SELECT FROM uno_jobs.hungry WHERE until > now())"):
                if process.poll() is not None:
                    raise SystemExit(f"the worker ended with status {process.returncode}")
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        handle = await queue.enqueue(chain(echo for _ in range(steps)), args=[1])
        await handle.result(timeout=PATIENCE)
        return [row[0] for row in await connection.fetch(STEPS)]
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def measure(url: str, options: Any) -> dict[str, object]:
    """Take turns; returns medians in jobs per second and milliseconds, and the medians of the rounds' ratios."""
    connection = await asyncpg.connect(url)
    jobs, members = options.jobs, options.members
    plain, wide = "plain jobs", f"a group of {members:,} and a step"
    chains = {number: f"{number:,} chains of {jobs // number:,}" for number in options.chains}
    rates: dict[str, list[float]] = {name: [] for name in (plain, *chains.values(), wide)}
    steps: list[list[float]] = []

    async def one(name: str, fill: Callable[[Queue], Awaitable[object]]) -> None:
        await clear(connection)
        async with Queue(url) as queue:
            await fill(queue)
        amount = await connection.fetchval("SELECT count(*) FROM uno_jobs.live_jobs")
        rates[name].append(await drain(url, connection, amount, options.concurrency))

    async def fill_chains(queue: Queue, number: int) -> None:
        for first in range(number):
            await queue.enqueue(chain(echo for _ in range(jobs // number)), args=[first])

    try:
        for _ in range(options.rounds):
            await one(plain, lambda queue: queue.enqueue_many([echo.s(n) for n in range(jobs)]))
            for number, name in chains.items():
                await one(name, functools.partial(fill_chains, number=number))
            await one(wide, lambda queue: queue.enqueue(chain(group(echo.s(n) for n in range(members)), count)))
            await clear(connection)
            async with Queue(url) as queue:
                steps.append(sorted(await latency(url, connection, queue, options.steps)))
        late = [one[len(one) * 99 // 100] for one in steps]
        return {
            "measured on": await surroundings(connection),
            "rounds": options.rounds,
            "jobs": jobs,
            "concurrency": options.concurrency,
            **{f"{name}, jobs/s": median(values) for name, values in rates.items()},
            **{f"ratio of {name} to plain jobs": ratio(rates[name], rates[plain]) for name in (*chains.values(), wide)},
            "step to step on an idle worker, ms, median": median([median(one) for one in steps]),
            "step to step on an idle worker, ms, 99 of 100": median(late),
        }
    finally:
        await connection.close()


async def clear(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Remove all jobs and edges."""
    await empty(connection)
    await connection.execute("TRUNCATE uno_jobs.job_edges, uno_jobs.hungry")


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the ratios of each round."""
    return median([our / their for our, their in zip(ours, theirs, strict=True)])


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--concurrency", type=int, default=1000, help="jobs at once in the worker")
    parser.add_argument("--chains", type=int, nargs="+", default=[1000, 200], help="how many chains the jobs make")
    parser.add_argument("--members", type=int, default=10_000, help="how many members the group has")
    parser.add_argument("--steps", type=int, default=200, help="how long the chain is whose steps are timed")
    options = parser.parse_args()
    started = time.monotonic()
    with benchmark_database(options.url) as url:
        results = run(measure(url, options))
    results["seconds in all"] = time.monotonic() - started
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()
