"""How fast jobs are enqueued in bulk, against a bare ``INSERT … SELECT FROM unnest(…)`` of the same rows.

The bare insert gets columns that were made beforehand; what ``enqueue_many`` is timed for includes validating the
arguments, making ids and writing JSON.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import asyncpg
from _common import CHUNK, arguments, benchmark_database, empty, median, rows_of, run, settle, show, surroundings
from _tasks import noop

from uno_jobs import Queue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

INSERT_JOBS = """
INSERT INTO uno_jobs.jobs (id, created_at, task, version, queue, priority, args, kwargs)
SELECT n.id::uuid, now(), n.task, n.version, n.queue, n.priority, n.args::jsonb, n.kwargs::jsonb
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::text[])
    AS n (id, task, version, queue, priority, args, kwargs)
"""
INSERT_LIVE = """
INSERT INTO uno_jobs.live_jobs (id, seq, state, task, version, queue, priority)
SELECT n.id::uuid, nextval('uno_jobs.ready_seq'), 'ready', n.task, n.version, n.queue, n.priority
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[]) AS n (id, task, version, queue, priority)
"""


async def measure(url: str, jobs: int, rounds: int) -> dict[str, object]:
    """Alternate between the two; returns medians in jobs per second, and the ratio."""
    connection = await asyncpg.connect(url)
    chunks = [rows_of(start, min(start + CHUNK, jobs)) for start in range(0, jobs, CHUNK)]

    async def bare() -> None:
        async with connection.transaction():
            for rows in chunks:
                await connection.execute(INSERT_JOBS, *rows)
                await connection.execute(INSERT_LIVE, *rows[:5])

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
