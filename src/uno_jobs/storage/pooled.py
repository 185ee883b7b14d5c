"""Connections through a transaction pooler, such as PgBouncer's: nothing is kept in a session of the server.

Two transactions of one client may run in two sessions, and what one leaves there another client would find. So every
statement has a transaction around it that says itself what it needs, and there are no prepared statements, no
session's locks and no LISTEN.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SETTINGS: Final = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "DateStyle": "ISO",
    "TimeZone": "UTC",
}
"""Those of a direct session, but for jit: asyncpg switches it off and back by itself while it looks up types, and what
it believed to be the session's own value would stay behind."""

GIVE_UP: Final = 5.0
"""Seconds for a rollback; then the connection is ended, which does the same."""


def has_transaction_timeout(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Whether the server knows the setting of that name, as PostgreSQL does from 17."""
    return connection.get_server_version().major >= 17


class PooledConnection:
    """An asyncpg connection to a pooler, with those of its methods that uno-jobs uses, for one user at a time.

    Args:
        connection: Made without a statement cache.
        search_path: As SQL writes it.
    """

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], search_path: str) -> None:
        self._connection = connection
        settings = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in SETTINGS.items())
        if has_transaction_timeout(connection):
            settings += "; SET LOCAL transaction_timeout = 0"
        self._settings = f"{settings}; SET LOCAL search_path = {search_path}"
        self._inside = False

    @contextlib.asynccontextmanager
    async def transaction(self, *, isolation: str = "read committed", readonly: bool = False) -> AsyncGenerator[None]:
        """Run a block in one transaction, with our settings. Options are those of asyncpg."""
        access = "READ ONLY" if readonly else "READ WRITE"
        connection = self._connection
        self._inside = True
        try:
            # In one message: what begins with BEGIN stays open when the message ends.
            await connection.execute(
                f"BEGIN ISOLATION LEVEL {isolation.replace('_', ' ')} {access} NOT DEFERRABLE{self._settings}"
            )
            yield
            await connection.execute("COMMIT")
        except BaseException as error:
            # A network may have gone silent, and whoever cancels does not want to wait.
            if isinstance(error, OSError) or not isinstance(error, Exception):
                connection.terminate()
            else:
                await self._roll_back()
            raise
        finally:
            self._inside = False

    async def _roll_back(self) -> None:
        if self._connection.is_closed():
            return
        try:
            await self._connection.execute("ROLLBACK", timeout=GIVE_UP)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self._connection.terminate()

    async def fetch(self, sql: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """See asyncpg."""
        async with self._around():
            return await self._connection.fetch(sql, *args, timeout=timeout)

    async def fetchrow(self, sql: str, *args: Any, timeout: float | None = None) -> asyncpg.Record | None:
        """See asyncpg."""
        async with self._around():
            return await self._connection.fetchrow(sql, *args, timeout=timeout)

    async def fetchval(self, sql: str, *args: Any, timeout: float | None = None) -> Any:
        """See asyncpg."""
        async with self._around():
            return await self._connection.fetchval(sql, *args, timeout=timeout)

    async def prepare(self, sql: str, *, timeout: float | None = None) -> Unprepared:
        """Remember a statement; behind a pooler none is prepared."""
        return Unprepared(self, sql)

    async def set_type_codec(self, *args: Any, **options: Any) -> None:
        """See asyncpg."""
        async with self._around():
            await self._connection.set_type_codec(*args, **options)

    def is_closed(self) -> bool:
        """See asyncpg."""
        return self._connection.is_closed()

    def terminate(self) -> None:
        """See asyncpg."""
        self._connection.terminate()

    async def close(self, *, timeout: float | None = None) -> None:
        """See asyncpg."""
        await self._connection.close(timeout=timeout)

    def _around(self) -> contextlib.AbstractAsyncContextManager[None]:
        return contextlib.nullcontext() if self._inside else self.transaction()


class Unprepared:
    """Stands where a prepared statement does on a direct connection."""

    def __init__(self, connection: PooledConnection, sql: str) -> None:
        self._connection = connection
        self._sql = sql

    async def fetch(self, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """See asyncpg."""
        return await self._connection.fetch(self._sql, *args, timeout=timeout)
