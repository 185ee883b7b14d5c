"""How fast jobs are enqueued in bulk, against a bare ``INSERT … SELECT FROM unnest(…)`` of the same rows.

The bare insert gets columns that were made beforehand; what ``enqueue_many`` is timed for includes validating the
arguments, making ids and writing JSON.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import asyncpg
from _common import CHUNK, arguments, benchmark_database, empty, median, run, settle, show, surroundings
from _tasks import noop

from uno_jobs import Queue
from uno_jobs.bench.limits import insert_same_rows, rows_of
from uno_jobs.storage.schema import DEFAULT_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def measure(url: str, jobs: int, rounds: int) -> dict[str, object]:
    """Alternate between the two; returns medians in jobs per second, and the ratio."""
    connection = await asyncpg.connect(url)
    chunks = [rows_of(start, min(start + CHUNK, jobs), "noop") for start in range(0, jobs, CHUNK)]

    async def bare() -> None:
        await insert_same_rows(connection, DEFAULT_SCHEMA, chunks)

    async with Queue(url) as queue:

        async def own_transaction() -> None:
            await queue.enqueue_many([noop.s(i) for i in range(jobs)])

        async def callers_transaction() -> None:
            async with connection.transaction():
                await queue.enqueue_many([noop.s(i) for i in range(jobs)], connection=connection)

        ways: dict[str, Callable[[], Awaitable[None]]] = {
            "bare insert": bare,
            "enqueue_many, a transaction of its own": own_transaction,
            "enqueue_many, a caller's asyncpg connection": callers_transaction,
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                await empty(connection)
                await settle(connection)
                started = time.perf_counter()
                await way()
                seconds[name].append(time.perf_counter() - started)
                assert await connection.fetchval("SELECT count(*) FROM uno_jobs.live_jobs") == jobs
    rates: dict[str, Any] = {name: jobs / median(values) for name, values in seconds.items()}
    results = {
        "measured on": await surroundings(connection),
        "rounds": rounds,
        "jobs": jobs,
        **{f"{name}, jobs/s": rate for name, rate in rates.items()},
        **{f"ratio of {name}": rate / rates["bare insert"] for name, rate in rates.items() if name != "bare insert"},
    }
    await connection.close()
    return results


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "").parse_args()
    with benchmark_database(options.url) as url:
        results = run(measure(url, options.jobs, options.rounds))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()
