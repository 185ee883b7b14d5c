"""How fast jobs are enqueued one by one against a bare insert and commit; and what NOTIFY costs 50 enqueuers.

The enqueuers have a connection and a transaction each and a worker drains a deep backlog meanwhile, so that nobody is
hungry: each enqueue looks whether a worker sleeps, and finds none. With ``notify=False`` it does not look.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from _common import arguments, benchmark_database, empty, median, run, settle, show, surroundings

from uno_jobs import Queue
from uno_jobs.bench import jobs as ours
from uno_jobs.bench import limits
from uno_jobs.bench.processes import workers
from uno_jobs.bench.tasks import noop
from uno_jobs.storage.schema import DEFAULT_SCHEMA
from uno_jobs.storage.session import connect

if TYPE_CHECKING:
    import asyncpg

LEFT = "SELECT count(*) FROM uno_jobs.live_jobs WHERE state = 'ready'"


async def one_by_one(
    connection: asyncpg.Connection[asyncpg.Record], queue: Queue, jobs: int, seconds: dict[str, list[float]]
) -> None:
    """Measure the limits, then ours; nothing else is at work."""
    await limits.make_table(connection, DEFAULT_SCHEMA)
    seconds["bare insert"].append(await limits.insert_one_by_one(connection, DEFAULT_SCHEMA, jobs))
    await empty(connection)
    same_rows = [limits.rows_of(i, i + 1, "noop") for i in range(jobs)]
    seconds["bare insert of the same two rows"].append(
        await limits.insert_rows_one_by_one(connection, DEFAULT_SCHEMA, same_rows)
    )
    await empty(connection)
    await ours.enqueue_one_by_one(queue, 10)
    seconds["enqueue"].append(await ours.enqueue_one_by_one(queue, jobs))


async def together(queue: Queue, connections: list[Any], jobs: int, *, notify: bool) -> float:
    """Enqueue from all connections at once; returns the seconds."""

    async def enqueuer(connection: Any) -> None:
        for i in range(jobs // len(connections)):
            await queue.enqueue(noop, [i], connection=connection, notify=notify)

    started = time.perf_counter()
    await asyncio.gather(*(enqueuer(connection) for connection in connections))
    return time.perf_counter() - started


async def enqueuers(
    url: str, connection: asyncpg.Connection[asyncpg.Record], queue: Queue, options: Any, ways: dict[str, list[float]]
) -> None:
    """Measure with NOTIFY and without in turns, while a worker drains what it cannot finish."""
    await empty(connection)
    for start in range(0, options.backlog, 10_000):
        end = min(start + 10_000, options.backlog)
        await queue.enqueue_many([noop.s(i) for i in range(start, end)], notify=False)
    await settle(connection)
    connections = [await connect(url) for _ in range(options.enqueuers)]
    try:
        await together(queue, connections, 10 * len(connections), notify=True)  # prepares the statements
        async with workers(connection, url, DEFAULT_SCHEMA, processes=1, concurrency=100, idle=False):
            for _ in range(2):
                for name, notify in (("with notify", True), ("with notify=False", False)):
                    ways[name].append(await together(queue, connections, options.jobs, notify=notify))
            if not await connection.fetchval(LEFT):
                raise SystemExit("the backlog was drained: give it more --backlog, or fewer --jobs")
    finally:
        for one in connections:
            await one.close()


async def measure(url: str, options: Any) -> dict[str, Any]:
    """Take turns; returns medians in jobs per second, and ratios."""
    seconds: dict[str, list[float]] = {"bare insert": [], "bare insert of the same two rows": [], "enqueue": []}
    ways: dict[str, list[float]] = {"with notify": [], "with notify=False": []}
    connection = await connect(url)
    try:
        async with Queue(url) as queue:
            for _ in range(options.rounds):
                await one_by_one(connection, queue, options.jobs, seconds)
                await enqueuers(url, connection, queue, options, ways)
        rates = {name: options.jobs / median(values) for name, values in seconds.items()}
        many = {name: options.jobs / median(values) for name, values in ways.items()}
        return {
            "measured on": await surroundings(connection),
            "rounds": options.rounds,
            "jobs": options.jobs,
            "enqueuers": options.enqueuers,
            **{f"{name}, one by one, jobs/s": rate for name, rate in rates.items()},
            "ratio to a bare insert": rates["enqueue"] / rates["bare insert"],
            "ratio to a bare insert of the same two rows": rates["enqueue"] / rates["bare insert of the same two rows"],
            **{f"{options.enqueuers} enqueuers {name}, jobs/s": rate for name, rate in many.items()},
            "ratio of notify to notify=False": many["with notify"] / many["with notify=False"],
        }
    finally:
        await connection.close()


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "", jobs=5_000, rounds=5)
    parser.add_argument("--enqueuers", type=int, default=50)
    parser.add_argument("--backlog", type=int, default=500_000, help="jobs for the worker to be busy with")
    options = parser.parse_args()
    with benchmark_database(options.url) as url:
        results = run(measure(url, options))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()
