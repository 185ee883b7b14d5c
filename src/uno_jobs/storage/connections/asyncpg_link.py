"""asyncpg connections, also those acquired from a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from uno_jobs.errors import ConnectionClosed

if TYPE_CHECKING:
    from uno_jobs.storage.connections.link import Rows, Statement


class AsyncpgLink:
    """A raw asyncpg connection. Never ``connection.transaction()``: inside another that is a savepoint."""

    two_phase = False

    def __init__(self, connection: Any, *, idle: bool = False) -> None:
        self._connection = connection
        self.idle = idle

    async def open(self) -> None:
        """See ``AsyncLink``."""
        try:
            closed = self._connection.is_closed()
        except asyncpg.InterfaceError as error:
            raise ConnectionClosed(
                "this asyncpg connection was released to its pool: enqueue before it is released"
            ) from error
        if closed:
            raise ConnectionClosed("this asyncpg connection is closed: enqueue before it is closed")
        self.idle = not self._connection.is_in_transaction()

    async def fetch(self, statement: Statement) -> Rows:
        """See ``AsyncLink``."""
        return [tuple(row) for row in await self._connection.fetch(statement.sql, *statement.args)]

    async def command(self, sql: str) -> None:
        """See ``AsyncLink``."""
        await self._connection.execute(sql)
