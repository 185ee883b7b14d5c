"""Whether vacuum can do its work: old snapshots and who holds them, dead rows in the hot table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from uno_jobs.doctor.check import check
from uno_jobs.doctor.finding import Finding, Status
from uno_jobs.doctor.look import MOST, duration, grade

if TYPE_CHECKING:
    from uno_jobs.doctor.look import Look

# What removes no row of a table of this database does not count: vacuum itself, sessions in other databases.
_SESSIONS: Final = """
    SELECT 'session' AS kind, a.pid, a.usename AS role, a.application_name AS application,
           a.client_addr::text AS client, a.state, a.backend_type,
           pg_catalog.age(coalesce(a.backend_xmin, a.backend_xid)) AS transactions,
           extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8 AS seconds
    FROM pg_catalog.pg_stat_activity a
    WHERE coalesce(a.backend_xmin, a.backend_xid) IS NOT NULL AND a.datname = current_database()
      AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type NOT IN ('autovacuum worker', 'walsender')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum v WHERE v.pid = a.pid)
    ORDER BY a.xact_start LIMIT 20
"""
_PREPARED: Final = """
    SELECT 'prepared transaction' AS kind, p.gid, p.owner AS role, pg_catalog.age(p.transaction) AS transactions,
           extract(epoch FROM pg_catalog.clock_timestamp() - p.prepared)::float8 AS seconds
    FROM pg_catalog.pg_prepared_xacts p WHERE p.database = current_database() ORDER BY p.prepared LIMIT 20
"""
_STANDBYS: Final = """
    SELECT 'replication slot' AS kind, s.slot_name AS name, s.active, pg_catalog.age(s.xmin) AS transactions
    FROM pg_catalog.pg_replication_slots s WHERE s.xmin IS NOT NULL
    UNION ALL
    SELECT 'standby', r.application_name, true, pg_catalog.age(r.backend_xmin)
    FROM pg_catalog.pg_stat_replication r WHERE r.backend_xmin IS NOT NULL
    ORDER BY 4 DESC LIMIT 20
"""


@check("snapshots", "Does anybody hold vacuum back?", needs_schema=False)
async def snapshots(look: Look) -> Finding:
    """Find who holds the oldest snapshot: a session, a prepared transaction, a replication slot or a standby."""
    found = await look.rows(_SESSIONS) + await look.rows(_PREPARED)
    holders: list[tuple[Status, float, dict[str, Any]]] = [
        (grade(row["seconds"], look.limits.snapshot_age), row["seconds"], row) for row in found
    ]
    holders += [
        (grade(row["transactions"], look.limits.snapshot_transactions), 0.0, row) for row in await look.rows(_STANDBYS)
    ]
    order = (Status.OK, Status.WARNING, Status.ERROR)
    holders.sort(key=lambda one: (order.index(one[0]), one[1]), reverse=True)
    details = tuple(row for _, _, row in holders[:MOST])
    if holders and holders[0][0] is not Status.OK:
        status, _, worst = holders[0]
        seen, advice = _describe(worst)
        return Finding(check="snapshots", status=status, seen=seen, advice=advice, details=details)
    # Without this right the sessions of others show no snapshot, and that none was seen says nothing.
    if not await look.value("SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')"):
        return Finding(
            check="snapshots",
            status=Status.UNKNOWN,
            seen="nothing is held back by this role's own sessions; those of others it may not see",
            advice="GRANT pg_read_all_stats TO this role",
            details=details,
        )
    oldest = max((row["seconds"] for row in found), default=None)
    seen = "no transaction is open" if oldest is None else f"the oldest transaction is {duration(oldest)} old"
    return Finding(check="snapshots", status=Status.OK, seen=f"nobody holds vacuum back: {seen}", details=details)


def _describe(row: dict[str, Any]) -> tuple[str, str]:
    """Say who holds vacuum back, and how to end it."""
    match row["kind"]:
        case "session":
            seen = (
                f"pid {row['pid']} (role {row['role']}, application {row['application']!r}, "
                f"{row['client'] or 'local'}, {row['state']}) has held a transaction open for "
                f"{duration(row['seconds'])}: no row that died since then can be removed"
            )
            return seen, (
                f"end it if it is not needed: SELECT pg_terminate_backend({row['pid']}). Long reports belong on a "
                "standby without hot_standby_feedback; idle_in_transaction_session_timeout ends what was forgotten"
            )
        case "prepared transaction":
            seen = (
                f"the prepared transaction {row['gid']!r} (role {row['role']}) has been open for "
                f"{duration(row['seconds'])}: it keeps its locks, and no row that died since then can be removed"
            )
            return seen, "end it in this database with COMMIT PREPARED or ROLLBACK PREPARED and that name"
        case kind:
            seen = f"the {kind} {row['name']!r} holds back {row['transactions']:,} transactions' worth of dead rows"
            if row["active"]:
                return seen, "end the long query there, or set hot_standby_feedback = off on it"
            return seen, f"nobody uses it now: SELECT pg_drop_replication_slot('{row['name']}') if nobody will"


@check("vacuum", "Is the table of unfinished jobs vacuumed?")
async def vacuum(look: Look) -> Finding:
    """Look at the dead rows of the hot table, and when it was last vacuumed."""
    [row] = await look.rows(
        """
        SELECT s.n_live_tup AS live, s.n_dead_tup AS dead, s.last_autovacuum, s.last_vacuum,
               extract(epoch FROM pg_catalog.clock_timestamp()
                       - greatest(s.last_autovacuum, s.last_vacuum))::float8 AS seconds,
               pg_catalog.pg_table_size(c.oid) AS bytes,
               current_setting('autovacuum')::bool AND current_setting('track_counts')::bool AS enabled,
               'autovacuum_enabled=false' = ANY (coalesce(c.reloptions, '{{}}')) AS switched_off
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_stat_all_tables s ON s.relid = c.oid
        WHERE c.oid = '{0}.live_jobs'::regclass
        """
    )
    last = "not vacuumed yet" if row["seconds"] is None else f"last vacuumed {duration(row['seconds'])} ago"
    seen = f"live_jobs has {row['dead']:,} dead rows and {row['live']:,} living ones, and was {last}"
    status = grade(row["dead"], look.limits.dead_rows) if row["dead"] >= row["live"] else Status.OK
    advice = None
    if not row["enabled"] or row["switched_off"]:
        status = Status.ERROR
        seen = f"autovacuum is switched off {'for it' if row['enabled'] else 'in this server'}; {seen}"
        advice = (
            "switch it on (ALTER TABLE live_jobs RESET (autovacuum_enabled))"
            if row["enabled"]
            else "switch it on (autovacuum = on, track_counts = on)"
        )
    elif status is not Status.OK:
        advice = (
            "see what the check 'snapshots' says; if nobody holds it back, VACUUM live_jobs now, and give autovacuum "
            "more workers (autovacuum_max_workers) or less delay"
        )
    return Finding(check="vacuum", status=status, seen=seen, advice=advice, details=(row,))
