"""Finished jobs of long ago, put straight into the database: ids, times and attempts as they would be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Lab

# Of version 7, from a time; the order within a millisecond is that of the counter behind it.
_PUT = """
WITH n AS MATERIALIZED (
    SELECT (left(uno_jobs.first_id(now() - $2::interval + i * interval '1 ms')::text, 14) || '7000-8000-'
            || lpad(to_hex((random() * 1e12)::bigint), 12, '0'))::uuid AS id, i
    FROM generate_series(1, $1::integer) AS i
), asked AS (
    INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, workflow_id, args, kwargs)
    SELECT id, now() - $2::interval, 5, $5, '1', $6, $7, '[]', '{}' FROM n
), tried AS (
    INSERT INTO uno_jobs.attempts (job_id, lease, started_at, finished_at, worker_id, attempt, outcome)
    SELECT id, i, now() - $3::interval, now() - $3::interval, gen_random_uuid(), 1,
           $4::text::uno_jobs.attempt_outcome FROM n
)
INSERT INTO uno_jobs.outcomes (id, finished_at, started_at, state, attempt, failures, lost, error_type, error)
SELECT id, now() - $3::interval, now() - $3::interval, $4::text::uno_jobs.job_state, 1, ($4 = 'failed')::integer, 0, $8,
       CASE WHEN $4 = 'failed' THEN 'no' END
FROM n RETURNING id
"""


async def put_finished(
    lab: Lab,
    count: int = 1,
    *,
    age: float,
    ended: float | None = None,
    state: str = "succeeded",
    task: str = "t",
    queue: str = "default",
    workflow: UUID | None = None,
    error_type: str | None = None,
    on: Any = None,
) -> list[UUID]:
    """Insert jobs that were enqueued ``age`` days ago and ended ``ended`` (the same) days ago."""
    from datetime import timedelta

    rows = await (on or lab.eye).fetch(
        _PUT,
        count,
        timedelta(days=age),
        timedelta(days=age if ended is None else ended),
        state,
        task,
        queue,
        workflow,
        error_type,
    )
    return sorted(row[0] for row in rows)


async def there(lab: Lab, ids: list[UUID]) -> list[UUID]:
    """Return which of the jobs there are still; each in all its tables, or in none."""
    found = set()
    for table, column in (("jobs", "id"), ("outcomes", "id"), ("attempts", "job_id")):
        rows = await lab.eye.fetch(f"SELECT DISTINCT {column} FROM uno_jobs.{table} WHERE {column} = ANY ($1)", ids)
        found.add(frozenset(row[0] for row in rows))
    assert len(found) == 1
    return [id_ for id_ in ids if id_ in next(iter(found))]


async def prune(lab: Lab, limit: int = 1000, *, on: Any = None) -> int:
    """Let the walks and the lap go on until they find nothing; returns how many jobs were removed."""
    removed = 0
    while True:
        row = await (on or lab.eye).fetchrow("SELECT * FROM uno_jobs.prune($1)", limit)
        removed += row["removed"]
        if not row["walked"]:
            resting = await (on or lab.eye).fetchval(
                "SELECT resume_at > now() FROM uno_jobs.retention_walks WHERE walk = 'lap'"
            )
            if resting:
                return removed


async def forget_rests(lab: Lab) -> None:
    """Let walks that have nothing to do for now look again."""
    await lab.eye.execute("UPDATE uno_jobs.retention_walks SET resume_at = '-infinity'")
