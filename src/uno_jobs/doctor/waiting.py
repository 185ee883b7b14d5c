"""Whether a job waits for parents that have all ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uno_jobs.doctor.check import check
from uno_jobs.doctor.finding import Finding, Status
from uno_jobs.doctor.look import MOST

if TYPE_CHECKING:
    from uno_jobs.doctor.look import Look

LOOKED_AT: Final = 20_000
"""Unfinished jobs that are looked at, the oldest ones: what waits for ever is among them in the end."""


@check("waiting", "Does every waiting job wait for something?")
async def waiting(look: Look) -> Finding:
    """Look among the oldest unfinished jobs for steps that wait although their parents have ended."""
    # What ends at this moment is in pending_releases until its children have been told.
    rows = await look.rows(
        """
        WITH oldest AS MATERIALIZED (
            SELECT l.id, l.state, l.task, l.pending_parents FROM {0}.live_jobs l ORDER BY l.id LIMIT $1
        )
        SELECT o.id, o.task, o.pending_parents FROM oldest o
        WHERE o.state = 'waiting'
          AND NOT EXISTS (
              SELECT FROM {0}.job_edges e WHERE e.child_id = o.id
                AND (EXISTS (SELECT FROM {0}.live_jobs p WHERE p.id = e.parent_id)
                     OR EXISTS (SELECT FROM {0}.pending_releases r WHERE r.job_id = e.parent_id)))
          AND NOT EXISTS (SELECT FROM {0}.pending_counts c WHERE c.job_id = o.id)
          AND NOT EXISTS (SELECT FROM {0}.cancel_requests c WHERE c.job_id = o.id)
        ORDER BY o.id
        """,
        LOOKED_AT,
    )
    looked = f"of the oldest {LOOKED_AT:,} unfinished jobs"
    if not rows:
        return Finding(check="waiting", status=Status.OK, seen=f"whatever waits has unfinished parents ({looked})")
    first = rows[0]
    more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
    return Finding(
        check="waiting",
        status=Status.ERROR,
        seen=f"the job {first['id']} waits although all its parents have ended{more} ({looked})",
        advice=(
            "a worker puts it right within minutes (it logs 'jobs waited for another number of parents'): see that one "
            "lives. Rows were changed by hand, or uno-jobs has a bug: please report it"
        ),
        details=tuple(rows[:MOST]),
    )
