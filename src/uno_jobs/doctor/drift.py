"""Whether the schema is what this code's migrations make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uno_jobs.doctor.check import check
from uno_jobs.doctor.finding import Finding, Status
from uno_jobs.doctor.look import MOST
from uno_jobs.errors import CodeTooOld, SchemaNotInstalled, SchemaTooOld, UnsupportedServer
from uno_jobs.storage.checking import find_differences
from uno_jobs.storage.session import check_schema

if TYPE_CHECKING:
    from uno_jobs.doctor.look import Look


@check("schema", "Is the schema what this version of uno-jobs makes?", needs_schema=False)
async def schema(look: Look) -> Finding:
    """Compare revision, tables, columns, constraints, indexes, views and functions with what the migrations made."""
    try:
        await check_schema(look.connection, look.schema)
    except (SchemaNotInstalled, SchemaTooOld, CodeTooOld, UnsupportedServer) as error:
        seen, _, advice = str(error).rpartition(": ")
        return Finding(check="schema", status=Status.ERROR, seen=seen, advice=advice)
    found = await find_differences(look.connection, look.schema)
    if not found:
        return Finding(check="schema", status=Status.OK, seen=f"the schema {look.schema} is what this code makes")
    more = f" (and {len(found) - 1} more such)" if len(found) > 1 else ""
    return Finding(
        check="schema",
        status=Status.ERROR,
        seen=f"{found[0]}{more}",
        advice=(
            "'uno-jobs db check' lists all differences, 'uno-jobs db sql' prints how each thing is made: undo what was "
            "changed by hand"
        ),
        details=tuple({"difference": one} for one in found[:MOST]),
    )
