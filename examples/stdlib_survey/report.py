"""The report: nothing but SQL over the application's table and the views of uno-jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.stdlib_survey import screen
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

BY_STATE = """
SELECT s.state::text, count(*) AS jobs, sum(f.size) AS bytes
FROM source_files f JOIN uno_jobs.job_status s ON s.id = f.job_id
GROUP BY s.state ORDER BY jobs DESC
"""
FAILED = """
SELECT f.module, left(s.error, 64) AS error
FROM source_files f JOIN uno_jobs.failed_jobs s ON s.id = f.job_id
ORDER BY f.module LIMIT 5
"""
SLOWEST = """
SELECT f.module, round(extract(epoch FROM s.finished_at - s.started_at) * 1000)::int AS milliseconds, f.size
FROM source_files f JOIN uno_jobs.job_status s ON s.id = f.job_id
ORDER BY s.finished_at - s.started_at DESC LIMIT 5
"""
LARGEST = """
SELECT f.module, (s.result ->> 'lines')::int AS lines, (s.result ->> 'functions')::int AS functions,
       (s.result ->> 'classes')::int AS classes, (s.result ->> 'imports')::int AS imports
FROM source_files f JOIN uno_jobs.job_status s ON s.id = f.job_id
WHERE s.state = 'succeeded' ORDER BY lines DESC LIMIT 5
"""
SPEED = """
SELECT count(*) AS jobs, round(extract(epoch FROM max(s.finished_at) - min(s.started_at)), 2)::float AS seconds,
       round(count(*) / extract(epoch FROM max(s.finished_at) - min(s.started_at)))::int AS jobs_per_second
FROM source_files f JOIN uno_jobs.job_status s ON s.id = f.job_id
"""
UNFINISHED = """
SELECT count(*) FROM source_files f JOIN uno_jobs.job_status s ON s.id = f.job_id WHERE s.finished_at IS NULL
"""
ROWS = "SELECT count(*) FROM source_files WHERE job_id = ANY (:ids)"
JOBS = "SELECT count(*) FROM uno_jobs.job_status WHERE id = ANY (:ids)"
STRAYS = """
SELECT count(*) FROM uno_jobs.job_status s
WHERE s.task = 'parse_source' AND s.created_at >= :since
  AND NOT EXISTS (SELECT FROM source_files f WHERE f.job_id = s.id)
"""


async def print_report(connection: AsyncConnection) -> None:
    """Print what the views say of the survey."""
    for title, sql in (
        ("Jobs by state", BY_STATE),
        ("Some that failed", FAILED),
        ("The slowest jobs", SLOWEST),
        ("The largest modules", LARGEST),
        ("Speed, parsing included", SPEED),
    ):
        result = await connection.execute(text(sql))
        screen.step(title)
        screen.table(sql, result.keys(), [tuple(row) for row in result])


async def count_pair(connection: AsyncConnection | AsyncSession, ids: Sequence[UUID]) -> tuple[int, int]:
    """Return how many of these jobs have a row in source_files, and how many exist, as this connection sees it."""
    rows = await connection.scalar(text(ROWS), {"ids": list(ids)})
    jobs = await connection.scalar(text(JOBS), {"ids": list(ids)})
    return int(rows or 0), int(jobs or 0)
