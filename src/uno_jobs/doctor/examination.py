"""The examination: makes the checks one after the other, each on its own, and says of each what became of it."""

from __future__ import annotations

import time as time_
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from uno_jobs.doctor.finding import Finding, Report, Status
from uno_jobs.doctor.limits import Limits
from uno_jobs.doctor.look import Look, duration
from uno_jobs.doctor.registry import CHECKS
from uno_jobs.errors import InvalidOption, SchemaNotInstalled, UnsupportedServer
from uno_jobs.storage.schema import DEFAULT_SCHEMA
from uno_jobs.storage.session import check_revision, check_server, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from uno_jobs.doctor.check import Check

PATIENCE: Final = 2.0
"""Seconds that one statement of a check may take, and half of them that it may wait for a lock."""


async def examine(
    url: str,
    schema: str = DEFAULT_SCHEMA,
    *,
    pooled: bool = False,
    checks: Collection[str] | None = None,
    limits: Limits | None = None,
    time: Callable[[], float] = time_.time,
) -> Report:
    """Make the checks on a database. It only reads, and no check holds a snapshot longer than it takes.

    Args:
        url: Any spelling of a PostgreSQL URL.
        schema: The schema of uno-jobs.
        pooled: The URL is a transaction pooler's.
        checks: The names of those to make, of ``check_names()``; all unless given.
        limits: From where on to warn; the defaults unless given.
        time: The clock of this host, in seconds since 1970.

    Returns:
        A finding for each check, in their order. What a check could not look at is ``unknown``.

    Raises:
        DatabaseUnavailable: The database cannot be reached, or refuses.
        ConfigurationError: The URL cannot be read, or is a pooler's although ``pooled`` is false.
        InvalidOption: There is no check of such a name.
    """
    chosen = _chosen(checks)
    connection = await connect(url, schema, name="uno-jobs doctor", pooled=pooled)
    try:
        look = Look(connection, url, schema, pooled, limits or Limits(), time)
        lacking = await _lacking(look)
        return Report(findings=tuple([await _make(one, look, lacking) for one in chosen]))
    finally:
        connection.terminate()


def _chosen(names: Collection[str] | None) -> list[Check]:
    every = CHECKS
    unknown = set(names or ()) - {one.name for one in every}
    if unknown:
        known = ", ".join(one.name for one in every)
        raise InvalidOption(f"there is no check {sorted(unknown)[0]!r}; the checks are {known}")
    return [one for one in every if names is None or one.name in names]


async def _lacking(look: Look) -> str | None:
    """Say why what is in the schema cannot be looked at; None if it can."""
    try:
        check_server(int(await look.value("SELECT current_setting('server_version_num')")))
        # By the catalogue, which everybody may read: a right to the schema is each check's own matter.
        found = await look.value(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = $1 AND c.relname = 'schema_info')",
            look.schema,
        )
        if not found:
            check_revision(None, look.schema)
    except (UnsupportedServer, SchemaNotInstalled) as error:
        return str(error)
    return None


async def run(one: Check, look: Look) -> Finding:
    """Make one check, in a read-only transaction of its own that neither lasts nor waits for long."""
    settings = {
        "statement_timeout": f"{PATIENCE * 1000:.0f}",
        "lock_timeout": f"{PATIENCE * 500:.0f}",
        # Whatever the statistics say: a look at the head of an index must not become one at the whole table.
        **({"enable_seqscan": "off", "enable_bitmapscan": "off"} if one.needs_schema else {}),
    }
    async with look.connection.transaction(isolation="repeatable_read", readonly=True):
        for name, value in settings.items():
            await look.value("SELECT pg_catalog.set_config($1, $2, true)", name, value)
        return await one.examine(look)


async def _make(one: Check, look: Look, lacking: str | None) -> Finding:
    if one.needs_schema and lacking is not None:
        return _unknown(one, lacking)
    try:
        return await run(one, look)
    except asyncpg.InsufficientPrivilegeError as error:
        return _unknown(one, f"this role may not look: {error}", "grant it that right, or ask as another role")
    except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError) as error:
        return _unknown(one, f"gave up after {duration(PATIENCE)}: {error}", "try again when the server is less busy")
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError) as error:
        return _unknown(one, f"the schema lacks what is asked for: {error}", "see what the check 'schema' says")


def _unknown(one: Check, seen: str, advice: str | None = None) -> Finding:
    return Finding(check=one.name, status=Status.UNKNOWN, seen=seen, advice=advice)


def as_document(report: Report) -> dict[str, Any]:
    """Return a report as JSON has it."""
    return {
        "status": report.worst.value,
        "checks": [
            {
                "check": one.check,
                "status": one.status.value,
                "seen": one.seen,
                "advice": one.advice,
                "details": list(one.details),
            }
            for one in report.findings
        ],
    }
