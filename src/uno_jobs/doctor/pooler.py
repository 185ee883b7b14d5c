"""Whether the URL is a transaction pooler's although nobody said so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uno_jobs.doctor.check import check
from uno_jobs.doctor.finding import Finding, Status
from uno_jobs.storage.session import connect

if TYPE_CHECKING:
    from uno_jobs.doctor.look import Look


@check("pooler", "Is a transaction pooler declared as one?", needs_schema=False)
async def pooler(look: Look) -> Finding:
    """Find out whether the session is ours alone.

    A pooler answers with a process id of its own making where a session begins. And one that pools transactions gives
    the server's process that has just served one client to the next, though both are connected.
    """
    if look.pooled:
        return Finding(
            check="pooler",
            status=Status.OK,
            seen="declared as a pooler's URL: nothing is kept in sessions, all is polled",
        )
    mine = await look.value("SELECT pg_catalog.pg_backend_pid()")
    if look.connection.get_server_pid() == mine:
        return Finding(check="pooler", status=Status.OK, seen="the URL leads to PostgreSQL itself")
    shared = await _shares(look)
    if not shared:
        return Finding(
            check="pooler",
            status=Status.OK,
            seen="a pooler or proxy stands between, and gives each client a session of its own",
        )
    return Finding(
        check="pooler",
        status=Status.ERROR,
        seen="the URL is a transaction pooler's, and it is not said that it is: one session serves several clients",
        advice=(
            "say so by UNO_JOBS_POOLED=true, --pooled or Queue(..., pooled=True), or use a URL of PostgreSQL itself: "
            "prepared statements, LISTEN and the lock that tells of a worker's death need a session of their own"
        ),
    )


async def _shares(look: Look) -> bool:
    one = await connect(look.url, look.schema, name="uno-jobs doctor")
    try:
        first = await one.fetchval("SELECT pg_catalog.pg_backend_pid()")
        other = await connect(look.url, look.schema, name="uno-jobs doctor")
        try:
            return await other.fetchval("SELECT pg_catalog.pg_backend_pid()") == first
        finally:
            other.terminate()
    finally:
        one.terminate()
