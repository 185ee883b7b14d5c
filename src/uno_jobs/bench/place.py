"""The temporary schema of a benchmark: made, held by a lock, dropped; what a killed run left is found and removed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from uno_jobs.errors import ConfigurationError, PermissionDenied
from uno_jobs.storage import migrations
from uno_jobs.storage.session import check_server, connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from uno_jobs.settings import Settings

PREFIX: Final = "uno_jobs_bench_"
MARK: Final = "Temporary: made by uno-jobs bench, which drops it."
_NAME: Final = re.compile(rf"{PREFIX}[0-9a-f]{{8}}")
_PATIENCE: Final = "30s"
"""How long to wait for the locks of others before a schema is left for the next run to drop."""

# Both the name and the mark: nobody else's schema is ever dropped.
_FOUND: Final = """
SELECT n.nspname, pg_has_role(n.nspowner, 'USAGE') AS ours FROM pg_namespace n
WHERE starts_with(n.nspname, $1) AND obj_description(n.oid, 'pg_namespace') = $2 ORDER BY 1
"""
_LOCK: Final = "hashtextextended('uno-jobs bench ' || $1, 0)"


def check_settings(settings: Settings) -> None:
    """Refuse what nothing could be measured through.

    Raises:
        ConfigurationError: There is no database, or only a pooler.
    """
    settings.database()
    if settings.pooled:
        raise ConfigurationError(
            "bench measures PostgreSQL itself, and holds a lock in a session: give it a URL that leads past the pooler"
        )


@contextlib.asynccontextmanager
async def temporary_schema(url: str, told: Callable[[str], None]) -> AsyncGenerator[str]:
    """Make a schema of its own with uno-jobs in it, and drop it at the end, whatever that is.

    Args:
        url: The database.
        told: Told of what earlier runs left behind and what became of it.

    Raises:
        PermissionDenied: The role may not make schemas there.
        UnsupportedServer, DatabaseUnavailable: As ``connect``.
    """
    schema = f"{PREFIX}{secrets.token_hex(4)}"
    keeper = await connect(url, name="uno-jobs bench")
    try:
        check_server(int(await keeper.fetchval("SELECT current_setting('server_version_num')")))
        await _check_rights(keeper)
        await _remove_leftovers(keeper, told)
        # Held before there is anything to be taken for a leftover.
        await keeper.execute(f"SELECT pg_advisory_lock({_LOCK.replace('$1', repr(schema))})")
        try:
            async with keeper.transaction():
                await keeper.execute(f"CREATE SCHEMA {schema}")
                await keeper.execute(f"COMMENT ON SCHEMA {schema} IS '{MARK}'")
            await _to_its_end(migrations.upgrade, url, schema)
            yield schema
        finally:
            # On a connection of its own: that of the keeper may be what failed.
            last = await connect(url, name="uno-jobs bench")
            try:
                await _drop(last, schema)
            finally:
                await last.close()
    finally:
        keeper.terminate()


async def _check_rights(connection: Any) -> None:
    role, database, may = await connection.fetchrow(
        "SELECT current_user::text, current_database()::text, has_database_privilege(current_database(), 'CREATE')"
    )
    if not may:
        raise PermissionDenied(
            f"the role {role!r} may not create schemas in the database {database!r}, and bench works in a temporary "
            f'one: GRANT CREATE ON DATABASE "{database}" TO "{role}", or name another database or role with '
            "--database-url"
        )


async def _remove_leftovers(connection: Any, told: Callable[[str], None]) -> None:
    for name, ours in await connection.fetch(_FOUND, PREFIX, MARK):
        if not _NAME.fullmatch(name):
            continue
        if not await connection.fetchval(f"SELECT pg_try_advisory_lock({_LOCK})", name):
            continue  # of a run that is under way
        try:
            if not ours:
                told(f"the schema {name} is left from a run that was killed, and belongs to another role: drop it")
                continue
            await _drop(connection, name)
            told(f"removed the schema {name}, left from a run that was killed")
        finally:
            await connection.fetchval(f"SELECT pg_advisory_unlock({_LOCK})", name)


async def _drop(connection: Any, schema: str) -> None:
    """Drop a schema, although workers may still be about to let go of it."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
        for attempt in range(5):
            try:
                async with connection.transaction():
                    await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
                return
            except asyncpg.DeadlockDetectedError:
                if attempt == 4:
                    raise


async def _to_its_end(work: Callable[..., None], *args: Any) -> None:
    """Run something on a thread; cancelled, wait for its end first, so that nothing is made after the cleaning up."""
    thread = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait({thread})
        raise
