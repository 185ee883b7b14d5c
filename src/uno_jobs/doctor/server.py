"""Whether the server is one that uno-jobs works with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uno_jobs.doctor.check import check
from uno_jobs.doctor.finding import Finding, Status
from uno_jobs.storage.session import MIN_SERVER

if TYPE_CHECKING:
    from uno_jobs.doctor.look import Look

NEWEST: Final = 18
"""The newest major version of PostgreSQL that the tests run on."""


@check("server", "Is the server one that uno-jobs works with?", needs_schema=False)
async def server(look: Look) -> Finding:
    """Look at the server's version, and whether it takes writes."""
    [row] = await look.rows(
        "SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version, "
        "pg_catalog.pg_is_in_recovery() AS is_standby"
    )
    return judge(row["number"], row["version"], is_standby=row["is_standby"])


def judge(number: int, version: str, *, is_standby: bool) -> Finding:
    """Say how a server of this version stands (``number`` is its server_version_num)."""
    oldest, major = MIN_SERVER // 10000, number // 10000
    status, seen, advice = Status.OK, f"PostgreSQL {version}", None
    if major < oldest:
        status, advice = Status.ERROR, f"upgrade PostgreSQL: uno-jobs needs {oldest} or later"
    elif is_standby:
        status, seen = Status.ERROR, f"{seen}, a standby: it takes no writes, so no jobs"
        advice = "use a URL that leads to the primary, such as one with target_session_attrs=read-write"
    elif major > NEWEST:
        status = Status.WARNING
        advice = f"uno-jobs is tested up to PostgreSQL {NEWEST}: see whether there is a newer release of it"
    return Finding(check="server", status=status, seen=seen, advice=advice)
