"""What a check reads is bounded, whatever the backlog: no more pages with twice the jobs, and no table read whole."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.doctor.test_jobs import worker
from tests.storage.plans import explained
from uno_jobs.doctor import Limits
from uno_jobs.doctor.examination import run
from uno_jobs.doctor.look import Look
from uno_jobs.doctor.registry import CHECKS

if TYPE_CHECKING:
    from tests.storage.lab import Lab
    from uno_jobs.doctor.check import Check

READY = 25_000
"""More than any check looks at."""


async def fill(lab: Lab, days: int) -> None:
    """Make so many jobs ready in each of two queues, one served by nobody, and let as many have ended days ago."""
    for queue in ("default", "mail"):
        await lab.put(READY, queue=queue)
    await lab.eye.execute(
        """
        WITH old AS (SELECT n, uno_jobs.first_id(now() - $2 * interval '1 day' - n * interval '1 second') AS id
                     FROM generate_series(1, $1::int) n),
        job AS (INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
                SELECT old.id, now() - $2 * interval '1 day', 5, 't', '1', 'default', '[]', '{}' FROM old
                ON CONFLICT DO NOTHING RETURNING id)
        INSERT INTO uno_jobs.outcomes (id, finished_at, state, attempt, failures, lost)
        SELECT job.id, now() - $2 * interval '1 day', 'succeeded', 1, 0, 0 FROM job
        """,
        READY,
        days,
    )
    await lab.eye.execute("ANALYZE uno_jobs.live_jobs")
    await lab.eye.execute("ANALYZE uno_jobs.outcomes")


async def pages(lab: Lab, check: Check) -> int:
    """Return how many pages a check touches, and see that its plans are sound."""
    look = Look(lab.eye, lab.url, lab.schema, False, Limits(), time.time)
    async with explained(lab.eye) as seen:
        await run(check, look)
    whole = [
        node["Relation Name"]
        for node in seen.nodes()
        if node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan")
        and node.get("Relation Name") in ("live_jobs", "jobs", "outcomes", "attempts", "job_edges")
    ]
    assert not whole, f"{check.name} reads {whole} whole"
    return sum(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] for plan in seen.plans)


async def test_no_check_reads_more_when_there_is_more(lab: Lab) -> None:
    await worker(lab, "default")
    # What vacuum has gone over is cheaper to look at: before and after alike, nothing is.
    for table in ("live_jobs", "outcomes"):
        await lab.eye.execute(f"ALTER TABLE uno_jobs.{table} SET (autovacuum_enabled = false)")
    checks = [check for check in CHECKS if check.needs_schema]
    assert len(checks) >= 6
    await fill(lab, 8)
    before = {check.name: await pages(lab, check) for check in checks}
    # Of another time: ids that lie between those of the first fill would each lie on another page than the last.
    await fill(lab, 9)
    after = {check.name: await pages(lab, check) for check in checks}
    for name, count in after.items():
        # A level more of an index is a page more for each look-up.
        assert count <= before[name] * 1.3 + 50, (name, before[name], count)
        assert count < 60_000, (name, count)
