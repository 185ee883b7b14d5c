"""Whether finished jobs are removed when their time is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uno_jobs.doctor.check import check
from uno_jobs.doctor.finding import Finding, Status
from uno_jobs.doctor.look import duration, grade

if TYPE_CHECKING:
    from uno_jobs.doctor.look import Look

COUNTED: Final = 10_000
"""Jobs that are counted; of more it is only said that there are more."""


@check("retention", "Are finished jobs removed when their time is over?")
async def retention(look: Look) -> Finding:
    """Look how far the removal of finished jobs lags behind, as ``prune`` reckons it."""
    rows = await look.rows(
        f"""
        WITH walk AS (
            SELECT r.keep, coalesce((SELECT w.reached FROM {{0}}.retention_walks w WHERE w.keep = r.keep LIMIT 1),
                                    '00000000-0000-0000-0000-000000000000') AS reached,
                   {{0}}.first_id({{0}}.clock() - r.keep * 1.01) AS until
            FROM (SELECT DISTINCT t.keep FROM {{0}}.retention t WHERE t.keep IS NOT NULL) r
        )
        SELECT w.keep::text AS keep,
               coalesce(extract(epoch FROM {{0}}.clock() - w.keep * 1.01 - {{0}}.id_time(n.id)), 0)::float8 AS seconds,
               (SELECT count(*) FROM (SELECT FROM {{0}}.outcomes o WHERE o.id > w.reached AND o.id < w.until
                                      LIMIT {COUNTED}) counted)::int AS jobs
        FROM walk w LEFT JOIN LATERAL (
            SELECT o.id FROM {{0}}.outcomes o WHERE o.id > w.reached AND o.id < w.until ORDER BY o.id LIMIT 1) n ON true
        ORDER BY 2 DESC, 1
        """
    )
    if not rows:
        return Finding(
            check="retention", status=Status.OK, seen="every finished job is kept for ever, as the rules say"
        )
    worst = rows[0]
    status = grade(worst["seconds"], look.limits.retention_lag)
    if worst["jobs"] == 0:
        return Finding(check="retention", status=status, seen="no job is past its time", details=tuple(rows))
    jobs = f"{COUNTED:,} or more" if worst["jobs"] >= COUNTED else f"{worst['jobs']:,}"
    seen = (
        f"the removal of what is kept for {worst['keep']} is {duration(worst['seconds'])} behind, "
        f"{jobs} finished jobs are yet to be looked at"
    )
    advice = None
    if status is not Status.OK:
        advice = (
            "a worker removes them: see that one lives and what it logs, and what 'snapshots' and 'vacuum' say. "
            "After a rule was changed it goes through all that is kept once more, which takes its time"
        )
    return Finding(check="retention", status=status, seen=seen, advice=advice, details=tuple(rows))
