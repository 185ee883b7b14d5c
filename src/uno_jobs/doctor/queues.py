"""Whether somebody can run what is ready: queues that no worker serves, versions that none knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from uno_jobs.doctor.check import check
from uno_jobs.doctor.finding import Finding, Status
from uno_jobs.doctor.look import MOST, named

if TYPE_CHECKING:
    from uno_jobs.doctor.look import Look

COUNTED: Final = 10_000
"""Jobs of a queue that are counted; of more it is only said that there are more."""
SAMPLED: Final = 5_000
"""Ready jobs of each queue and priority that are looked at, from either end."""
LINES: Final = 50
"""Pairs of queue and priority that are looked at."""

# From index entry to index entry, however many jobs lie between them.
_LINES: Final = """
    WITH RECURSIVE line AS (
        (SELECT l.queue, l.priority FROM {0}.live_jobs l WHERE l.state = 'ready' ORDER BY l.queue, l.priority LIMIT 1)
        UNION ALL
        SELECT n.queue, n.priority FROM line CROSS JOIN LATERAL (
            SELECT l.queue, l.priority FROM {0}.live_jobs l
            WHERE l.state = 'ready' AND (l.queue, l.priority) > (line.queue, line.priority)
            ORDER BY l.queue, l.priority LIMIT 1) n
    )
    SELECT queue, priority FROM line
"""


@check("queues", "Does a worker serve every queue that has ready jobs?")
async def queues(look: Look) -> Finding:
    """Look for queues with ready jobs that no living worker serves; paused ones are left out."""
    living = await look.living()
    served = sorted({queue for worker in living for queue in worker["queues"]})
    orphans = await look.rows(
        _LINES.replace("SELECT queue, priority FROM line", "")
        + """
        SELECT DISTINCT line.queue FROM line
        WHERE line.queue <> ALL ($1) AND NOT EXISTS (
            SELECT FROM {0}.queues q WHERE q.name = line.queue AND q.paused_at IS NOT NULL)
        ORDER BY 1
        """,
        served,
    )
    if not orphans:
        return Finding(check="queues", status=Status.OK, seen="every queue that has ready jobs is served or paused")
    details = orphans[:MOST]
    for row in details:
        row["ready"] = await look.value(
            "SELECT count(*) FROM (SELECT FROM {0}.live_jobs l WHERE l.state = 'ready' AND l.queue = $1 "
            f"ORDER BY l.priority, l.seq LIMIT {COUNTED}) counted",
            row["queue"],
        )
    first = details[0]
    more = f" (and {len(orphans) - 1} more such queues)" if len(orphans) > 1 else ""
    ready = "a job is" if first["ready"] == 1 else f"{_counted(first['ready'])} jobs are"
    serve = f"those that live serve {named(served)}" if served else "none lives"
    return Finding(
        check="queues",
        status=Status.ERROR,
        seen=f"{ready} ready in the queue {first['queue']!r}, which no worker serves{more}; {serve}",
        advice=f"start one for it: uno-jobs worker --app … --queue {first['queue']}",
        details=tuple(details),
    )


@check("versions", "Does a worker know every task that has ready jobs?")
async def versions(look: Look) -> Finding:
    """Look among the ready jobs for tasks and versions that no living worker of their queue knows."""
    living = await look.living()
    known: dict[str, set[str]] = {}
    for worker in living:
        for queue in worker["queues"]:
            known.setdefault(queue, set()).update(worker["known"])
    lines = await look.rows(_LINES + f" LIMIT {LINES}")
    unrunnable: dict[tuple[str, str, str], dict[str, Any]] = {}
    for line in lines:
        if line["queue"] not in known:
            continue  # told by the check of queues
        for row in await _sample(look, line["queue"], line["priority"]):
            if f"{row['task']}@{row['version']}" in known[line["queue"]]:
                continue
            seen = unrunnable.setdefault((row["queue"], row["task"], row["version"]), {**row, "ready": 0})
            seen["ready"] += row["ready"]
    looked = f"of the first and last {SAMPLED:,} of each queue and priority"
    if not unrunnable:
        return Finding(
            check="versions", status=Status.OK, seen=f"a worker knows the task and version of each ready job ({looked})"
        )
    details = sorted(unrunnable.values(), key=lambda row: -row["ready"])[:MOST]
    first = details[0]
    task = f"{first['task']}@{first['version']}"
    others = sorted(
        {one for one in known[first["queue"]] if one.rpartition("@")[0] == first["task"]},
    )
    knows = f"they know {named(others)}" if others else "they know no other version of it either"
    more = f" (and {len(unrunnable) - 1} more such)" if len(unrunnable) > 1 else ""
    ready = "a ready job is" if first["ready"] == 1 else f"{first['ready']:,} ready jobs are"
    return Finding(
        check="versions",
        status=Status.ERROR,
        seen=f"{ready} of {task}, which no worker of the queue {first['queue']!r} knows{more}; {knows} ({looked})",
        advice=(
            "start a worker whose code has it, or give the newer version of the task upgrade_from for the older one; "
            "jobs that nobody needs: uno-jobs jobs cancel"
        ),
        details=tuple(details),
    )


async def _sample(look: Look, queue: str, priority: int) -> list[dict[str, Any]]:
    """Return the tasks of a line's first and last ready jobs: what nobody can run gathers at the head."""
    return await look.rows(
        """
        SELECT s.queue, s.task, s.version, count(*)::int AS ready, min(s.id::text) AS job
        FROM (
            (SELECT l.id, l.queue, l.task, l.version FROM {0}.live_jobs l
             WHERE l.state = 'ready' AND l.queue = $1 AND l.priority = $2 ORDER BY l.seq LIMIT $3)
            UNION
            (SELECT l.id, l.queue, l.task, l.version FROM {0}.live_jobs l
             WHERE l.state = 'ready' AND l.queue = $1 AND l.priority = $2 ORDER BY l.seq DESC LIMIT $3)
        ) s GROUP BY 1, 2, 3
        """,
        queue,
        priority,
        SAMPLED,
    )


def _counted(number: int) -> str:
    return f"{COUNTED:,} or more" if number >= COUNTED else f"{number:,}"
