"""A connection to look through, made anew when a fault has ended it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

PATIENCE = 60.0
"""Seconds after which a server is not coming back."""

_AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that was lost in an unlucky moment
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
)


class Eye:
    """Runs queries that may be run twice. A context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def __aenter__(self) -> Eye:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.terminate()

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        return await self.use(lambda connection: connection.fetch(query, *args))

    async def fetchval(self, query: str, *args: Any) -> Any:
        return await self.use(lambda connection: connection.fetchval(query, *args))

    async def use(self, action: Any) -> Any:
        """Await ``action(connection)``, again if the server goes away meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self._url)
                return await action(self._connection)
            except _AWAY:
                if self._connection is not None:
                    self._connection.terminate()
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
