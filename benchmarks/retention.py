"""What removing finished jobs costs the workers, and how much is removed meanwhile.

Each round drains the same number of no-op jobs by one worker process twice, beside a history of jobs that are past
their retention: once with rules that keep everything, once with the defaults, so that the worker removes the history.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import asyncpg
from _common import FOLDER, arguments, benchmark_database, empty, fill, median, run, settle, show, surroundings

from uno_jobs.worker.config import ENVIRONMENT, WorkerConfig

# Of twenty days ago, one a millisecond; of a hundred one failed, and is kept.
HISTORY = """
WITH n AS MATERIALIZED (
    SELECT now() - interval '20 days' + i * interval '1 ms' AS at, i,
           (left(uno_jobs.first_id(now() - interval '20 days' + i * interval '1 ms')::text, 14)
            || '7000' || substr(gen_random_uuid()::text, 19))::uuid AS id
    FROM generate_series(1, $1::integer) AS i
), asked AS (
    INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
    SELECT id, at, 5, 'noop', '1.0', 'default', jsonb_build_array(i), '{}' FROM n
), tried AS (
    INSERT INTO uno_jobs.attempts (job_id, lease, started_at, finished_at, worker_id, attempt, outcome)
    SELECT id, i, at, at, gen_random_uuid(), 1,
           CASE WHEN i % 100 = 0 THEN 'failed' ELSE 'succeeded' END::uno_jobs.attempt_outcome
    FROM n
)
INSERT INTO uno_jobs.outcomes (id, finished_at, started_at, state, attempt, failures, lost, result)
SELECT id, at, at, CASE WHEN i % 100 = 0 THEN 'failed' ELSE 'succeeded' END::uno_jobs.job_state, 1, 0, 0, 'null' FROM n
"""
KEEP = "UPDATE uno_jobs.retention SET keep = NULL"
REMOVE = "UPDATE uno_jobs.retention SET keep = CASE state WHEN 'failed' THEN interval '30 days' ELSE '7 days' END"
# The worker's own jobs: from the first claim to the end of the last finish. The history ended long ago.
SPAN = """
SELECT extract(epoch FROM max(finished_at) - min(started_at))::float AS seconds, count(*) AS finished
FROM uno_jobs.outcomes WHERE started_at > now() - interval '1 day'
"""
LEFT = "SELECT count(*) FROM uno_jobs.outcomes WHERE state = 'succeeded' AND started_at < now() - interval '10 days'"


async def drain(
    url: str, connection: asyncpg.Connection[asyncpg.Record], jobs: int, concurrency: int
) -> tuple[float, float]:
    """Drain with a worker process; returns the seconds of its work, and those of its whole life."""
    config = WorkerConfig(
        url=url, app=("_tasks",), concurrency=concurrency, until_empty=True, log_format="json", log_level="warning"
    )
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "uno_jobs.worker"], cwd=FOLDER, env={**os.environ, ENVIRONMENT: config.to_json()}
    )
    status = await asyncio.to_thread(process.wait)
    lasted = time.monotonic() - started
    row = await connection.fetchrow(SPAN)
    assert row is not None
    if status != 0 or row["finished"] != jobs:
        raise SystemExit(f"the worker ended with status {status} and {row['finished']} of {jobs} jobs finished")
    return row["seconds"], lasted


async def measure(url: str, jobs: int, history: int, rounds: int, concurrency: int) -> dict[str, object]:
    """Alternate between keeping and removing; returns medians, and the ratio of the workers' rates."""
    connection = await asyncpg.connect(url)
    try:
        rates: dict[str, list[float]] = {"keeping": [], "removing": []}
        removed: list[float] = []
        for _ in range(rounds):
            for name, rules in (("keeping", KEEP), ("removing", REMOVE)):
                await empty(connection)
                await connection.execute(rules)
                await connection.execute(HISTORY, history)
                await fill(connection, jobs)
                await settle(connection)
                await connection.execute("VACUUM (ANALYZE) uno_jobs.outcomes, uno_jobs.attempts")
                before = await connection.fetchval(LEFT)
                seconds, lasted = await drain(url, connection, jobs, concurrency)
                rates[name].append(jobs / seconds)
                if name == "removing":
                    left = await connection.fetchval(LEFT)
                    if left == 0:
                        raise SystemExit("all of the history was removed before the worker was done: give it more")
                    removed.append((before - left) / lasted)
        return {
            "measured on": await surroundings(connection),
            "rounds": rounds,
            "jobs": jobs,
            "history": history,
            "worker while nothing is removed, jobs/s": median(rates["keeping"]),
            "worker while it removes, jobs/s": median(rates["removing"]),
            "removed meanwhile, jobs/s of the worker's whole life": median(removed),
            "ratio": median(rates["removing"]) / median(rates["keeping"]),
        }
    finally:
        await connection.close()


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "", jobs=200_000, rounds=3)
    parser.add_argument("--history", type=int, default=300_000, help="finished jobs that are past their retention")
    parser.add_argument("--concurrency", type=int, default=1000, help="jobs at once in the worker")
    options = parser.parse_args()
    with benchmark_database(options.url) as url:
        results = run(measure(url, options.jobs, options.history, options.rounds, options.concurrency))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()
