"""psycopg 3 connections, sync and async, by cursors of our own, whatever the application's row factory is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from uno_jobs.errors import ConnectionClosed, TransactionFailed
from uno_jobs.storage.connections.link import percent_style

if TYPE_CHECKING:
    from uno_jobs.storage.connections.link import Rows, Statement


class PsycopgLink:
    """A raw psycopg connection. Without autocommit it begins a transaction by itself, which stays the caller's."""

    two_phase = False

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.idle = False

    def open(self) -> None:
        """See ``SyncLink``."""
        self.idle = _look(self._connection)

    def fetch(self, statement: Statement) -> Rows:
        """See ``SyncLink``."""
        with psycopg.Cursor(self._connection, row_factory=tuple_row) as cursor:
            cursor.execute(percent_style(statement.sql).encode(), statement.args)
            return cursor.fetchall() if cursor.description else []

    def command(self, sql: str) -> None:
        """See ``SyncLink``."""
        with psycopg.Cursor(self._connection, row_factory=tuple_row) as cursor:
            cursor.execute(sql.encode())


class AsyncPsycopgLink:
    """A raw psycopg AsyncConnection."""

    two_phase = False

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self.idle = False

    async def open(self) -> None:
        """See ``AsyncLink``."""
        self.idle = _look(self._connection)

    async def fetch(self, statement: Statement) -> Rows:
        """See ``AsyncLink``."""
        async with psycopg.AsyncCursor(self._connection, row_factory=tuple_row) as cursor:
            await cursor.execute(percent_style(statement.sql).encode(), statement.args)
            return await cursor.fetchall() if cursor.description else []

    async def command(self, sql: str) -> None:
        """See ``AsyncLink``."""
        async with psycopg.AsyncCursor(self._connection, row_factory=tuple_row) as cursor:
            await cursor.execute(sql.encode())


def _look(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    if connection.closed:
        raise ConnectionClosed("this psycopg connection is closed: enqueue before it is closed")
    status = connection.info.transaction_status
    if status == TransactionStatus.INERROR:
        raise TransactionFailed("the transaction of this connection has already failed: roll it back first")
    return connection.autocommit and status == TransactionStatus.IDLE
