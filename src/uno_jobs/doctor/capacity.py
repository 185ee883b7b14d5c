"""How near the server is to its limits: connections, and the queue of notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uno_jobs.doctor.check import check
from uno_jobs.doctor.finding import Finding, Status
from uno_jobs.doctor.look import MOST, duration, grade

if TYPE_CHECKING:
    from uno_jobs.doctor.look import Look


@check("connections", "Are there connections left?", needs_schema=False)
async def connections(look: Look) -> Finding:
    """Compare the connections there are with those the server, the database and the role may have."""
    # What pg_stat_activity shows of other roles' sessions without further rights is enough here.
    bounds = await look.rows("""
        SELECT 'the server' AS whose, current_setting('max_connections')::int
               - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0) AS most,
               (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usesysid IS NOT NULL)::int AS used
        UNION ALL
        SELECT 'the database ' || d.datname, d.datconnlimit,
               (SELECT count(*) FROM pg_catalog.pg_stat_activity a
                WHERE a.datid = d.oid AND a.usesysid IS NOT NULL)::int
        FROM pg_catalog.pg_database d WHERE d.datname = current_database() AND d.datconnlimit >= 0
        UNION ALL
        SELECT 'the role ' || r.rolname, r.rolconnlimit,
               (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid)::int
        FROM pg_catalog.pg_roles r WHERE r.rolname = current_user AND r.rolconnlimit >= 0 AND NOT r.rolsuper
        """)
    for row in bounds:
        row["share"] = row["used"] / max(1, row["most"])
    worst = max(bounds, key=lambda row: row["share"])
    status = grade(worst["share"], look.limits.connections)
    seen = f"{worst['used']} of {worst['most']} connections of {worst['whose']} are in use"
    advice = None
    if status is not Status.OK:
        users = await look.rows(
            "SELECT usename AS role, datname AS database, count(*)::int AS used FROM pg_catalog.pg_stat_activity "
            "WHERE usesysid IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT $1",
            MOST - len(bounds),
        )
        bounds += users
        first = users[0]
        seen += f", {first['used']} of them by the role {first['role']} in the database {first['database']}"
        advice = (
            "raise that limit, make the pools of applications smaller or put a pooler before them; a worker process "
            "keeps four, its supervisor one, and each job one while it is in job.transaction()"
        )
    return Finding(check="connections", status=status, seen=seen, advice=advice, details=tuple(bounds))


@check("notify", "Is there room in the queue of notifications?", needs_schema=False)
async def notify(look: Look) -> Finding:
    """Look at how full the server's queue of notifications is: when it is, every NOTIFY in the server fails."""
    share = float(await look.value("SELECT pg_catalog.pg_notification_queue_usage()"))
    status = grade(share, look.limits.notify_queue)
    seen = f"{100 * share:.2g} % of the server's queue of notifications is in use"
    if status is Status.OK:
        return Finding(check="notify", status=status, seen=seen, details=({"share": share},))
    # A session that listens frees nothing while it is in a transaction.
    suspects = await look.rows(
        """
        SELECT a.pid, a.usename AS role, a.application_name AS application, a.state,
               extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8 AS seconds
        FROM pg_catalog.pg_stat_activity a
        WHERE a.datname = current_database() AND a.xact_start IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
        ORDER BY a.xact_start LIMIT $1
        """,
        MOST,
    )
    advice = "a session that listens holds it up by a long transaction: end that transaction"
    if suspects:
        one = suspects[0]
        advice += (
            f"; the longest here is {duration(one['seconds'])} old, that of pid {one['pid']} "
            f"(role {one['role']}, application {one['application']!r}): SELECT pg_terminate_backend({one['pid']})"
        )
    return Finding(
        check="notify", status=status, seen=seen, advice=advice, details=({"share": share}, *suspects[: MOST - 1])
    )
