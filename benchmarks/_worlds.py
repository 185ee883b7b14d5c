"""Databases in a state that takes long to come by: deep backlogs, long histories, dead rows; and a worker in them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from _common import FOLDER

from uno_jobs.worker.config import ENVIRONMENT, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

BATCH = 100_000
"""Rows in a statement of a filling."""

BEGAN = {"finished": 24, "scheduled": 12, "ready": 6}
"""How many hours ago the first job of a state was made."""
NOW = int(time.time() * 1000)

# Ids that ascend and are of the last day, as those of clients are, without a round trip for each: were they of another
# year, the removal of what is old would look at each of them.
_UUID = (
    "(lpad(to_hex({start} + i), 12, '0') || '7' || substr(md5(i::text || {salt}), 1, 3) || '8' "
    "|| substr(md5({salt} || i::text), 1, 15))::uuid"
)
READY = """
WITH new AS (SELECT {id} AS id, i FROM generate_series($1::bigint, $2::bigint) AS i), asked AS (
    INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
    SELECT id, clock_timestamp(), 5, 'noop', '1.0', 'default', jsonb_build_array(i), '{{}}' FROM new)
INSERT INTO uno_jobs.live_jobs (id, seq, state, priority, task, version, queue)
SELECT id, nextval('uno_jobs.ready_seq'), 'ready', 5, 'noop', '1.0', 'default' FROM new
"""
SCHEDULED = """
WITH new AS (SELECT {id} AS id, i FROM generate_series($1::bigint, $2::bigint) AS i), asked AS (
    INSERT INTO uno_jobs.jobs (id, created_at, run_at, priority, task, version, queue, args, kwargs)
    SELECT id, clock_timestamp(), now() + interval '1 day', 5, 'noop', '1.0', 'default', jsonb_build_array(i), '{{}}'
    FROM new)
INSERT INTO uno_jobs.live_jobs (id, run_at, state, priority, task, version, queue)
SELECT id, now() + interval '1 day' + i * interval '1 ms', 'scheduled', 5, 'noop', '1.0', 'default' FROM new
"""
FINISHED = """
WITH new AS (
    SELECT {id} AS id, i, now() - interval '1 day' + (i - $1) * interval '1 us' AS at
    FROM generate_series($1::bigint, $2::bigint) AS i
), asked AS (
    INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
    SELECT id, at, 5, 'noop', '1.0', 'default', jsonb_build_array(i), '{{}}' FROM new
), tried AS (
    INSERT INTO uno_jobs.attempts (job_id, lease, started_at, finished_at, worker_id, attempt, outcome)
    SELECT id, i, at, at, '00000000-0000-4000-8000-000000000001', 1, 'succeeded' FROM new)
INSERT INTO uno_jobs.outcomes (id, finished_at, started_at, state, attempt, failures, lost, result)
SELECT id, at, at, 'succeeded', 1, 0, 0, 'null' FROM new
"""
FILLINGS = {"finished": FINISHED, "scheduled": SCHEDULED, "ready": READY}
TABLES = ("jobs", "live_jobs", "attempts", "outcomes")


@contextlib.contextmanager
def databases(url: str, *names: str) -> Generator[dict[str, str]]:
    """Give copies of a migrated database, by name, which are dropped at the end."""
    parts = urlsplit(url)
    source = parts.path.removeprefix("/")
    admin = urlunsplit(parts._replace(path="/postgres"))
    copies = {name: f"{source}_{name}" for name in names}

    async def make() -> None:
        connection = await asyncpg.connect(admin)
        for copy in copies.values():
            await connection.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {copy} TEMPLATE {source}")
        await connection.close()

    async def drop() -> None:
        connection = await asyncpg.connect(admin)
        for copy in copies.values():
            await connection.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")
        await connection.close()

    asyncio.run(make())
    try:
        yield {name: urlunsplit(parts._replace(path=f"/{copy}")) for name, copy in copies.items()}
    finally:
        asyncio.run(drop())


async def fill_with(connection: Any, state: str, count: int, *, start: int = 1) -> None:
    """Add so many jobs in a state; ``start`` numbers them, so that ids stay unique."""
    uuid = _UUID.format(start=f"{NOW - BEGAN[state] * 3_600_000}::bigint", salt=f"'{state}'")
    statement = FILLINGS[state].format(id=uuid)
    for first in range(start, start + count, BATCH):
        await connection.execute(statement, first, min(first + BATCH, start + count) - 1)


async def tidy(connection: Any) -> None:
    """Vacuum and analyze all, and leave nothing to a checkpoint."""
    for table in TABLES:
        await connection.execute(f"VACUUM (ANALYZE) uno_jobs.{table}")
    await connection.execute("CHECKPOINT")


async def pinned(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """Return a connection whose transaction holds a snapshot."""
    connection = await asyncpg.connect(url)
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await connection.fetchval("SELECT count(*) FROM pg_class")
    return connection


@contextlib.asynccontextmanager
async def running(url: str, concurrency: int = 1000, **config: Any) -> AsyncGenerator[subprocess.Popen[bytes]]:
    """Run a worker process; it is told to stop, and waited for, at the end."""
    settings = WorkerConfig(
        url=url, app=("_tasks",), concurrency=concurrency, log_format="json", log_level="error", grace=5, **config
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "uno_jobs.worker"], cwd=FOLDER, env={**os.environ, ENVIRONMENT: settings.to_json()}
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait)


class Finished:
    """Counts what has ended since it was last asked, by the pages that are new: that costs the same at any depth."""

    def __init__(self, connection: Any, page: int) -> None:
        self._connection = connection
        self._page = page
        self._of_page = 0

    @classmethod
    async def from_now(cls, connection: Any) -> Finished:
        """Begin to count."""
        pages = await connection.fetchval(
            "SELECT pg_relation_size('uno_jobs.outcomes') / current_setting('block_size')::bigint"
        )
        finished = cls(connection, max(0, pages - 1))
        await finished.more()
        return finished

    async def more(self) -> int:
        """Return how many rows came since the last call."""
        counts = dict(
            await self._connection.fetch(
                "SELECT (ctid::text::point)[0]::bigint AS page, count(*) FROM uno_jobs.outcomes "
                "WHERE ctid >= format('(%s,0)', $1::bigint)::tid GROUP BY page",
                self._page,
            )
        )
        more = sum(counts.values()) - self._of_page
        if counts:
            self._page = max(counts)
            self._of_page = counts[self._page]
        return more


async def rate(url: str, connection: Any, jobs: int) -> float:
    """Return how many jobs a second a worker process finishes, from its first claim to the end of so many jobs."""
    begun = await connection.fetchval("SELECT clock_timestamp()")
    finished, left = await Finished.from_now(connection), jobs
    async with running(url) as process:
        while (left := left - await finished.more()) > 0:
            if process.poll() is not None:
                raise SystemExit("the worker ended")
            await asyncio.sleep(0.25)
    seconds = await connection.fetchval(
        "WITH mine AS (SELECT started_at, finished_at FROM uno_jobs.outcomes WHERE finished_at > $1 "
        "ORDER BY finished_at LIMIT $2) SELECT extract(epoch FROM max(finished_at) - min(started_at))::float FROM mine",
        begun,
        jobs,
    )
    return jobs / seconds
