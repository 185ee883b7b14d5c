"""What is measured of uno-jobs, in seconds: enqueueing, draining, the start of a job, the steps of a chain."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.bench.processes import ProcessFailed
from uno_jobs.bench.tasks import noop, stamp
from uno_jobs.storage.schema import render
from uno_jobs.tasks import chain

if TYPE_CHECKING:
    from uno_jobs.queue import Queue

STUCK: Final = 60.0
"""Seconds in which at least one job must end."""

_PAUSE: Final = "INSERT INTO uno_jobs.queues (name, paused_at) VALUES ('default', now())"
_RESUME: Final = "DELETE FROM uno_jobs.queues; SELECT uno_jobs.wake(ARRAY['default'])"
# From the first claim to the end of the last finish, as the database saw them: the start of a process is not counted.
_SPAN: Final = """
SELECT count(*) FILTER (WHERE state = 'succeeded' AND attempt = 1),
       extract(epoch FROM max(finished_at) - min(started_at))::float
FROM uno_jobs.outcomes
"""
_BEGAN: Final = "SELECT id::text, result::text::float FROM uno_jobs.outcomes WHERE id = ANY ($1::text[]::uuid[])"
_STARTS: Final = """
SELECT extract(epoch FROM o.started_at)::float FROM uno_jobs.outcomes o
JOIN uno_jobs.jobs j ON j.id = o.id WHERE j.workflow_id = $1 ORDER BY o.started_at
"""


async def clear(connection: Any, schema: str) -> None:
    """Remove all jobs. Nothing may be at work."""
    for table in ("live_jobs", "jobs", "attempts", "outcomes", "job_edges"):
        await connection.execute(render(f"TRUNCATE uno_jobs.{table}", schema))


async def settle(connection: Any, schema: str) -> None:
    """Leave nothing to autovacuum that has to do with what is measured next."""
    for table in ("live_jobs", "jobs"):
        await connection.execute(render(f"VACUUM (ANALYZE) uno_jobs.{table}", schema))


async def enqueue_one_by_one(queue: Queue, jobs: int) -> float:
    """Enqueue jobs, each in a transaction of its own."""
    started = time.perf_counter()
    for i in range(jobs):
        await queue.enqueue(noop, [i])
    return time.perf_counter() - started


async def enqueue_bulk(queue: Queue, jobs: int) -> float:
    """Enqueue jobs in one transaction; making their signatures is included."""
    started = time.perf_counter()
    await queue.enqueue_many([noop.s(i) for i in range(jobs)])
    return time.perf_counter() - started


async def drain(connection: Any, queue: Queue, schema: str, jobs: int) -> float:
    """Let the workers, which sleep, run so many jobs; each must have run once."""
    await clear(connection, schema)
    await connection.execute(render(_PAUSE, schema))
    await queue.enqueue_many([noop.s(i) for i in range(jobs)], notify=False)
    await settle(connection, schema)
    await connection.execute(render(_RESUME, schema))
    await _all_ended(connection, schema)
    ended, seconds = await connection.fetchrow(render(_SPAN, schema))
    if ended != jobs:
        raise ProcessFailed(f"{ended} of {jobs} jobs ran once and well: the workers have said why")
    return seconds


async def start_latencies(connection: Any, queue: Queue, schema: str, samples: int) -> list[float]:
    """Enqueue jobs one at a time; returns for each how long it took from the call to the first line of the task."""
    sent: dict[str, float] = {}
    for _ in range(samples):
        await pause()
        started = time.monotonic()
        handle = await queue.enqueue(stamp)
        sent[str(handle.id)] = started
    until = time.monotonic() + STUCK
    while len(rows := await connection.fetch(render(_BEGAN, schema), list(sent))) < samples:
        if time.monotonic() > until:
            raise ProcessFailed(f"{samples - len(rows)} of {samples} jobs have not ended in {STUCK:.0f} s")
        await asyncio.sleep(0.02)
    return [began - sent[id_] for id_, began in rows]


async def step_latencies(connection: Any, queue: Queue, schema: str, steps: int) -> list[float]:
    """Run a chain of no-op steps; returns the seconds from the start of each to the start of the next."""
    await clear(connection, schema)
    handle = await queue.enqueue(chain([noop.si(i) for i in range(steps + 1)]))
    await _all_ended(connection, schema)
    rows = await connection.fetch(render(_STARTS, schema), handle.workflow_id)
    starts = [row[0] for row in rows]
    return [after - before for before, after in itertools.pairwise(starts)]


async def pause() -> None:
    """Wait until whoever was woken sleeps again; never in step with anybody's polling."""
    await asyncio.sleep(random.uniform(0.01, 0.03))  # noqa: S311 - spreads samples, guards nothing


async def _all_ended(connection: Any, schema: str) -> None:
    left, until = None, time.monotonic() + STUCK
    while (now := await connection.fetchval(render("SELECT count(*) FROM uno_jobs.live_jobs", schema))) > 0:
        if now != left:
            left, until = now, time.monotonic() + STUCK
        elif time.monotonic() > until:
            raise ProcessFailed(f"no job has ended for {STUCK:.0f} s, and {now} are left")
        await asyncio.sleep(0.02)
