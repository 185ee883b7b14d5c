"""How long from the call of ``enqueue`` to the first line of the task: in an idle worker, and beside a busy queue.

The busy queue is served by the same worker at its full rate, its jobs enqueued beforehand, more than can be drained.
The limit is an ``INSERT`` with ``NOTIFY`` on one connection and the claim on another, in turns, without a load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from _common import arguments, benchmark_database, empty, run, settle, show, surroundings

from uno_jobs import Queue
from uno_jobs.bench import jobs as ours
from uno_jobs.bench import limits
from uno_jobs.bench.measuring import percentile
from uno_jobs.bench.processes import workers
from uno_jobs.bench.tasks import noop
from uno_jobs.storage.schema import DEFAULT_SCHEMA
from uno_jobs.storage.session import connect

if TYPE_CHECKING:
    import asyncpg

LEFT = "SELECT count(*) FROM uno_jobs.live_jobs WHERE queue = 'busy'"


async def beside_a_busy_queue(
    url: str, connection: asyncpg.Connection[asyncpg.Record], queue: Queue, samples: int, jobs: int, concurrency: int
) -> list[float]:
    """Return seconds; the busy queue must not have run dry."""
    await empty(connection)
    for start in range(0, jobs, 10_000):
        await queue.enqueue_many([noop.options(queue="busy").s(i) for i in range(start, min(start + 10_000, jobs))])
    await settle(connection)
    async with workers(
        connection, url, DEFAULT_SCHEMA, processes=1, concurrency=concurrency, queues=("busy", "default"), idle=False
    ):
        seconds = await ours.start_latencies(connection, queue, DEFAULT_SCHEMA, samples)
        if not await connection.fetchval(LEFT):
            raise SystemExit("the busy queue ran dry: give it more --jobs, or take fewer --samples")
    return seconds


async def measure(url: str, rounds: int, samples: int, jobs: int, concurrency: int) -> dict[str, Any]:
    """Take turns; returns percentiles over all rounds, in milliseconds, and ratios."""
    seconds: dict[str, list[float]] = {"bare SQL": [], "idle worker": [], "beside a busy queue": []}
    connection = await connect(url)
    try:
        async with Queue(url) as queue:
            for _ in range(rounds):
                seconds["bare SQL"] += await limits.start_latencies(url, samples, ours.pause, schema=DEFAULT_SCHEMA)
                await empty(connection)
                async with workers(connection, url, DEFAULT_SCHEMA, processes=1, concurrency=concurrency):
                    await ours.start_latencies(connection, queue, DEFAULT_SCHEMA, 5)  # imports, connects, prepares
                    seconds["idle worker"] += await ours.start_latencies(connection, queue, DEFAULT_SCHEMA, samples)
                seconds["beside a busy queue"] += await beside_a_busy_queue(
                    url, connection, queue, samples, jobs, concurrency
                )
        results: dict[str, Any] = {
            "measured on": await surroundings(connection),
            "rounds": rounds,
            "samples": samples,
            "concurrency": concurrency,
        }
        for name, values in seconds.items():
            for percent in (50, 99):
                results[f"{name}, ms, p{percent}"] = 1000 * percentile(values, percent)
                if name != "bare SQL":
                    limit = percentile(seconds["bare SQL"], percent)
                    results[f"{name}, ratio to bare SQL, p{percent}"] = percentile(values, percent) / limit
        return results
    finally:
        await connection.close()


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "", jobs=400_000, rounds=3)
    parser.add_argument("--samples", type=int, default=200, help="starts in each round")
    parser.add_argument("--concurrency", type=int, default=100, help="jobs at once in the worker")
    options = parser.parse_args()
    with benchmark_database(options.url) as url:
        results = run(measure(url, options.rounds, options.samples, options.jobs, options.concurrency))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()
