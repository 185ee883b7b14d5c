"""What workflows cost: chains and a group with a step behind it against the same number of plain jobs.

Each round fills the queue anew and lets a real worker process drain plain jobs, chains of steps that hand a value on, plain
jobs again (at most as many at once as there are chains), and a group that one step follows. Then a worker that has
nothing to do gets one chain: from the start of a step to the start of the next. It polls so seldom that a step which
waits for a poll would show.
"""

from __future__ import annotations

import asyncio
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
    length = jobs // options.chains
    many = f"plain jobs, {options.concurrency} at once"
    few = f"plain jobs, {options.chains} at once"
    chains = f"{options.chains} chains of {length}"
    wide = f"a group of {members} and a step"
    rates: dict[str, list[float]] = {name: [] for name in (many, few, chains, wide)}
    steps: list[list[float]] = []

    async def one(name: str, amount: int, concurrency: int, fill: Callable[[Queue], Awaitable[object]]) -> None:
        await clear(connection)
        async with Queue(url) as queue:
            await fill(queue)
        rates[name].append(await drain(url, connection, amount, concurrency))

    async def fill_chains(queue: Queue) -> None:
        for number in range(options.chains):
            await queue.enqueue(chain(echo for _ in range(length)), args=[number])

    try:
        for _ in range(options.rounds):
            await one(many, jobs, options.concurrency, lambda q: q.enqueue_many([echo.s(n) for n in range(jobs)]))
            await one(chains, jobs, options.concurrency, fill_chains)
            await one(few, jobs, options.chains, lambda q: q.enqueue_many([echo.s(n) for n in range(jobs)]))
            await one(
                wide,
                members + 1,
                options.concurrency,
                lambda q: q.enqueue(chain(group(echo.s(n) for n in range(members)), count)),
            )
            await clear(connection)
            async with Queue(url) as queue:
                steps.append(await latency(url, connection, queue, options.steps))
        return {
            "measured on": await surroundings(connection),
            "rounds": options.rounds,
            "jobs": jobs,
            "concurrency": options.concurrency,
            **{f"{name}, jobs/s": median(values) for name, values in rates.items()},
            "ratio of chains to plain jobs": ratio(rates[chains], rates[many]),
            "ratio of chains to plain jobs, as many at once as there are chains": ratio(rates[chains], rates[few]),
            "ratio of a group and a step to plain jobs": ratio(rates[wide], rates[many]),
            "step to step on an idle worker, ms, median": median([median(one) for one in steps]),
            "step to step on an idle worker, ms, 99 of 100": median([sorted(one)[len(one) * 99 // 100] for one in steps]),
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
    parser.add_argument("--chains", type=int, default=200, help="how many chains the jobs make")
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
