"""What is true of a database between any two transactions: each job stands in one place, each count adds up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uno_jobs.storage.schema import DEFAULT_SCHEMA, render

if TYPE_CHECKING:
    import asyncpg

_COUNTS = "a job waits for as many parents as are unfinished, or about to say that they have ended"

_RULES = {
    "a job is in live_jobs or in outcomes, and in one of them only": """
        SELECT j.id FROM uno_jobs.jobs j
        LEFT JOIN uno_jobs.live_jobs l ON l.id = j.id LEFT JOIN uno_jobs.outcomes o ON o.id = j.id
        WHERE (l.id IS NULL) = (o.id IS NULL)""",
    "what is live was asked for": """
        SELECT l.id FROM uno_jobs.live_jobs l WHERE NOT EXISTS (SELECT FROM uno_jobs.jobs j WHERE j.id = l.id)""",
    "what ended was asked for": """
        SELECT o.id FROM uno_jobs.outcomes o WHERE NOT EXISTS (SELECT FROM uno_jobs.jobs j WHERE j.id = o.id)""",
    "a job runs if and only if it has a lease, a worker and a start": """
        SELECT l.id FROM uno_jobs.live_jobs l
        WHERE (l.state = 'running') <> (l.lease IS NOT NULL)
           OR (l.state = 'running') <> (l.worker_id IS NOT NULL)
           OR (l.state = 'running') <> (l.started_at IS NOT NULL)""",
    "ready jobs have a place, scheduled ones a time": """
        SELECT l.id FROM uno_jobs.live_jobs l
        WHERE (l.state = 'ready' AND (l.seq IS NULL OR l.run_at IS NOT NULL))
           OR (l.state = 'scheduled' AND (l.seq IS NOT NULL OR l.run_at IS NULL))""",
    "what has started neither expires nor holds a key that was to be freed": """
        SELECT l.id FROM uno_jobs.live_jobs l
        WHERE l.attempt > 0 AND (l.expires_at IS NOT NULL OR (l.key_until_start AND l.unique_key IS NOT NULL))""",
    "a live job agrees with what was asked for": """
        SELECT l.id FROM uno_jobs.live_jobs l JOIN uno_jobs.jobs j ON j.id = l.id
        WHERE (l.task, l.version, l.queue, l.priority) IS DISTINCT FROM (j.task, j.version, j.queue, j.priority)
           OR l.unique_key <> j.unique_key""",
    "each start of an unfinished job but the present one has ended": """
        SELECT l.id FROM uno_jobs.live_jobs l
        LEFT JOIN LATERAL (
            SELECT count(*) AS starts, count(*) FILTER (WHERE a.outcome = 'retried') AS failures,
                   count(*) FILTER (WHERE a.outcome = 'lost') AS losses,
                   count(*) FILTER (WHERE a.outcome IN ('succeeded', 'failed', 'cancelled')) AS ends
            FROM uno_jobs.attempts a WHERE a.job_id = l.id) a ON true
        WHERE l.attempt <> a.starts + (l.state = 'running')::integer
           OR l.failures <> a.failures OR l.lost > a.losses OR a.ends > 0""",
    "each start of a finished job has ended, and the last one in its outcome": """
        SELECT o.id FROM uno_jobs.outcomes o
        LEFT JOIN LATERAL (
            SELECT count(*) AS starts, count(*) FILTER (WHERE a.outcome IN ('retried', 'failed')) AS failures,
                   count(*) FILTER (WHERE a.outcome = 'lost') AS losses,
                   array_agg(a.outcome::text ORDER BY a.attempt DESC) AS ends
            FROM uno_jobs.attempts a WHERE a.job_id = o.id) a ON true
        WHERE o.attempt <> a.starts OR o.failures <> a.failures OR o.lost > a.losses
           OR (o.state = 'succeeded' AND a.ends[1] IS DISTINCT FROM 'succeeded'
               AND (SELECT j.task FROM uno_jobs.jobs j WHERE j.id = o.id) IS NOT NULL)
           OR (o.state = 'failed' AND coalesce(a.ends[1], '') NOT IN ('failed', 'lost'))
           OR (o.state <> 'succeeded' AND 'succeeded' = ANY (a.ends))""",
    _COUNTS: """
        SELECT l.id FROM uno_jobs.live_jobs l
        LEFT JOIN LATERAL (
            SELECT count(*) AS parents FROM uno_jobs.job_edges e
            LEFT JOIN uno_jobs.live_jobs p ON p.id = e.parent_id
            LEFT JOIN uno_jobs.pending_releases r ON r.job_id = e.parent_id
            WHERE e.child_id = l.id AND (p.id IS NOT NULL OR r.job_id IS NOT NULL)) e ON true
        LEFT JOIN uno_jobs.pending_counts m ON m.job_id = l.id
        WHERE ((m.job_id IS NULL OR l.state <> 'waiting') AND l.pending_parents <> e.parents)
           OR (l.state = 'waiting') <> (l.pending_parents > 0)""",
    "a job knows that others wait for it": """
        SELECT l.id FROM uno_jobs.live_jobs l
        WHERE NOT l.has_children AND EXISTS (SELECT FROM uno_jobs.job_edges e WHERE e.parent_id = l.id)""",
    "attempts belong to jobs": """
        SELECT a.job_id FROM uno_jobs.attempts a
        WHERE NOT EXISTS (SELECT FROM uno_jobs.jobs j WHERE j.id = a.job_id)""",
}

# A retry by hand begins to count anew, after an end that its attempts show.
_RETRIED_BY_HAND = {
    "each start of an unfinished job but the present one has ended": """
        SELECT l.id FROM uno_jobs.live_jobs l
        LEFT JOIN LATERAL (
            SELECT count(*) AS starts, count(*) FILTER (WHERE a.outcome = 'retried') AS failures,
                   count(*) FILTER (WHERE a.outcome = 'lost') AS losses,
                   count(*) FILTER (WHERE a.outcome = 'succeeded') AS ends
            FROM uno_jobs.attempts a WHERE a.job_id = l.id) a ON true
        WHERE l.attempt <> a.starts + (l.state = 'running')::integer
           OR l.failures > a.failures OR l.lost > a.losses OR a.ends > 0""",
    "each start of a finished job has ended, and the last one in its outcome": _RULES[
        "each start of a finished job has ended, and the last one in its outcome"
    ].replace("o.failures <> a.failures", "o.failures > a.failures"),
    # What runs whatever its parents do has started, and one of them is retried: it does not run again.
    _COUNTS: _RULES[_COUNTS].replace(
        "l.pending_parents <> e.parents)",
        "l.pending_parents <> e.parents AND NOT (l.run_anyway AND l.state <> 'waiting'))",
    ),
}

_SIDES = {
    f"{table} is about unfinished jobs": f"""
        SELECT s.job_id FROM uno_jobs.{table} s JOIN uno_jobs.outcomes o ON o.id = s.job_id"""
    for table in ("progress", "cancel_requests", "result_waiters")
}


async def broken(
    connection: asyncpg.Connection[Any],
    schema: str = DEFAULT_SCHEMA,
    *,
    side_tables: bool = True,
    retried_by_hand: bool = False,
) -> dict[str, list[Any]]:
    """Return the rules that do not hold, each with the first jobs for which it does not.

    Args:
        connection: An asyncpg connection, on which nobody else works.
        schema: The schema of uno-jobs.
        side_tables: Also look into the tables that are tidied when a job ends. A request that was committed while the
            job ended may stay there for good, so where such races are run this is to be false.
        retried_by_hand: Finished jobs were retried, so that their failures count anew.
    """
    rules = _RULES | (_SIDES if side_tables else {}) | (_RETRIED_BY_HAND if retried_by_hand else {})
    found = {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for rule, query in rules.items():
            rows = await connection.fetch(f"{render(query, schema)} LIMIT 5")
            if rows:
                found[rule] = [row[0] for row in rows]
    return found


async def check(
    connection: asyncpg.Connection[Any],
    schema: str = DEFAULT_SCHEMA,
    *,
    side_tables: bool = True,
    retried_by_hand: bool = False,
) -> None:
    """Raise an AssertionError that names each rule that does not hold; the arguments are those of ``broken``."""
    found = await broken(connection, schema, side_tables=side_tables, retried_by_hand=retried_by_hand)
    assert not found, f"broken invariants: {found}"
