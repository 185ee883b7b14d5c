"""How a worker's memory grows over many jobs: its resident set after each tenth of them."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import psutil
from _common import arguments, benchmark_database, run, show, surroundings
from _worlds import fill_with, running

STEPS = 10


async def measure(url: str, jobs: int) -> dict[str, Any]:
    """Run so many jobs in one worker process; returns its memory in MB along the way."""
    hand = await asyncpg.connect(url)
    step = jobs // STEPS
    sizes: dict[str, float] = {}
    async with running(url) as process:
        worker = psutil.Process(process.pid)
        for done in range(STEPS):
            begun = await hand.fetchval("SELECT clock_timestamp()")
            await fill_with(hand, "ready", step, start=done * step + 1)
            while await hand.fetchval("SELECT EXISTS (SELECT FROM uno_jobs.live_jobs)"):
                if process.poll() is not None:
                    raise SystemExit("the worker ended")
                await asyncio.sleep(0.25)
            finished = await hand.fetchval("SELECT count(*) FROM uno_jobs.outcomes WHERE finished_at > $1", begun)
            assert finished == step
            sizes[f"after {(done + 1) * step:,} jobs, MB"] = worker.memory_info().rss / 1e6
    values = list(sizes.values())
    surrounding = await surroundings(hand)
    await hand.close()
    return {"measured on": surrounding, **sizes, "growth after the first tenth, MB": values[-1] - values[0]}


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", jobs=1_000_000).parse_args()
    with benchmark_database(options.url) as url:
        results = run(measure(url, options.jobs))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()
