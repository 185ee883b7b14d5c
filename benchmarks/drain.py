"""How fast one worker process drains no-op jobs, against the bare SQL limit of the same run.

Each round fills the queue anew and measures in turn a real worker process (``python -m uno_jobs.worker``),
the same SQL functions in a loop without a framework, and a loop that keeps no history at all.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import asyncpg
from _common import FOLDER, arguments, benchmark_database, empty, fill, median, run, settle, show, surroundings

from uno_jobs.bench.limits import no_history, same_statements
from uno_jobs.storage.schema import DEFAULT_SCHEMA
from uno_jobs.worker.config import ENVIRONMENT, WorkerConfig

# From the first claim to the end of the last finish, as the database saw them: the start of a process is not counted.
SPAN = "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float FROM uno_jobs.outcomes"
FINISHED = "SELECT count(*) FROM uno_jobs.outcomes WHERE state = 'succeeded'"


async def one_worker(url: str, connection: asyncpg.Connection[asyncpg.Record], jobs: int, concurrency: int) -> float:
    """Drain with a worker process; returns the seconds."""
    config = WorkerConfig(
        url=url, app=("_tasks",), concurrency=concurrency, until_empty=True, log_format="json", log_level="warning"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "uno_jobs.worker"], cwd=FOLDER, env={**os.environ, ENVIRONMENT: config.to_json()}
    )
    status = await asyncio.to_thread(process.wait)
    finished = await connection.fetchval(FINISHED)
    if status != 0 or finished != jobs:
        raise SystemExit(f"the worker ended with status {status} and {finished} of {jobs} jobs finished")
    return await connection.fetchval(SPAN)


async def measure(url: str, jobs: int, rounds: int, concurrency: int, batches: list[int]) -> dict[str, object]:
    """Alternate between what is compared; returns medians in jobs per second, and ratios."""
    connection = await asyncpg.connect(url)
    try:
        names = ["worker", *(f"same statements, batches of {batch}" for batch in batches), "no history"]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            await empty(connection)
            await fill(connection, jobs)
            seconds["worker"].append(await one_worker(url, connection, jobs, concurrency))
            for batch in batches:
                await empty(connection)
                await fill(connection, jobs)
                seconds[f"same statements, batches of {batch}"].append(
                    await same_statements(url, batch, schema=DEFAULT_SCHEMA, known="noop@1.0")
                )
                assert await connection.fetchval(FINISHED) == jobs
            await settle(connection)
            seconds["no history"].append(await no_history(url, jobs, max(batches), schema=DEFAULT_SCHEMA))
        rates = {name: jobs / median(values) for name, values in seconds.items()}
        limit = max(rate for name, rate in rates.items() if name.startswith("same"))
        return {
            "measured on": await surroundings(connection),
            "rounds": rounds,
            "jobs": jobs,
            "concurrency": concurrency,
            **{f"{name}, jobs/s": rate for name, rate in rates.items()},
            "ratio to the same statements (the best of their batches)": rates["worker"] / limit,
            "ratio to no history": rates["worker"] / rates["no history"],
        }
    finally:
        await connection.close()


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--concurrency", type=int, default=1000, help="jobs at once in the worker")
    parser.add_argument("--batch", type=int, nargs="+", default=[400, 1000], help="batches of the bare loop")
    options = parser.parse_args()
    started = time.monotonic()
    with benchmark_database(options.url) as url:
        results = run(measure(url, options.jobs, options.rounds, options.concurrency, options.batch))
    results["seconds in all"] = time.monotonic() - started
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()
