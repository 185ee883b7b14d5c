"""Whether the workers live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uno_jobs.doctor.check import check
from uno_jobs.doctor.finding import Finding, Status
from uno_jobs.doctor.look import LIVING_FOR, MOST, duration

if TYPE_CHECKING:
    from uno_jobs.doctor.look import Look


@check("workers", "Do the workers live?")
async def workers(look: Look) -> Finding:
    """Look for workers that are silent, or that died lately."""
    counts = await look.rows(
        f"""
        SELECT count(*) FILTER (WHERE w.state IN ('running', 'draining')
                                  AND w.beat_at > {{0}}.clock() - {LIVING_FOR})::int AS living,
               count(*) FILTER (WHERE w.state IN ('running', 'draining')
                                  AND w.beat_at <= {{0}}.clock() - {LIVING_FOR})::int AS silent,
               count(*) FILTER (WHERE w.state = 'dead'
                                  AND w.stopped_at > {{0}}.clock() - $1 * interval '1 second')::int AS dead
        FROM {{0}}.workers w
        """,
        look.limits.dead_workers,
    )
    living, silent, dead = counts[0]["living"], counts[0]["silent"], counts[0]["dead"]
    seen = "one worker lives" if living == 1 else f"{living} workers live"
    if silent:
        details = await look.rows(
            f"""
            SELECT w.id, w.state, w.hostname, w.pid,
                   extract(epoch FROM {{0}}.clock() - w.beat_at)::float8 AS seconds_since_beat,
                   (SELECT count(*) FROM {{0}}.live_jobs l
                    WHERE l.state = 'running' AND l.worker_id = w.id)::int AS running
            FROM {{0}}.workers w
            WHERE w.state IN ('running', 'draining') AND w.beat_at <= {{0}}.clock() - {LIVING_FOR}
            ORDER BY w.beat_at LIMIT {MOST}
            """
        )
        one = details[0]
        seen += (
            f"; {silent} said to run but silent, such as the one on {one['hostname']} (pid {one['pid']}), for "
            f"{duration(one['seconds_since_beat'])}, with {one['running']} jobs"
        )
        advice = "see whether that process and its host still live, and whether they reach the database"
        if not living:
            advice += "; start a worker: a living one gives the jobs of a dead one back within 20 s"
        return Finding(check="workers", status=Status.ERROR, seen=seen, advice=advice, details=tuple(details))
    if dead:
        details = await look.rows(
            f"""
            SELECT w.id, w.state, w.hostname, w.pid, w.cause, w.lost_jobs, w.stopped_at FROM {{0}}.workers w
            WHERE w.state = 'dead' AND w.stopped_at > {{0}}.clock() - $1 * interval '1 second'
            ORDER BY w.stopped_at DESC LIMIT {MOST}
            """,
            look.limits.dead_workers,
        )
        one = details[0]
        seen += (
            f"; {dead} died within the last {duration(look.limits.dead_workers)}, the last one on {one['hostname']} "
            f"(pid {one['pid']}) with {one['lost_jobs'] or 0} jobs: {one['cause'] or 'cause unknown'}"
        )
        advice = (
            "their jobs run elsewhere; see why they died: memory (max_memory bounds a task's), a grace that is longer "
            "than what stops the container, a crash in an extension. 'uno-jobs workers --all' lists them"
        )
        return Finding(check="workers", status=Status.WARNING, seen=seen, advice=advice, details=tuple(details))
    return Finding(check="workers", status=Status.OK, seen=seen)
