"""SQLAlchemy's sessions and connections, sync and async, on asyncpg, psycopg 3 or psycopg2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.engine import TwoPhaseTransaction
from sqlalchemy.orm import Session

from uno_jobs.errors import ConnectionClosed, UnsupportedConnection
from uno_jobs.storage.connections.link import percent_style

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from typing_extensions import TypeVar

    from uno_jobs.storage.connections.link import Rows, Statement

    T = TypeVar("T")

DRIVERS: Final = {"asyncpg", "psycopg", "psycopg_async", "psycopg2"}


class SQLAlchemyLink:
    """A Session or Connection. Statements go through SQLAlchemy, so that its own begin happens."""

    _connection: Connection

    def __init__(self, owner: Any) -> None:
        self._owner: Session | Connection = owner
        self.idle = False
        self.two_phase = False
        self._numbered = False

    def open(self) -> None:
        """See ``SyncLink``."""
        owner = self._owner
        if isinstance(owner, Session):
            self.two_phase = owner.twophase
            self._connection = owner.connection()
        else:
            self._connection = owner
            self.two_phase = isinstance(owner.get_transaction(), TwoPhaseTransaction)
        if self._connection.closed:
            raise ConnectionClosed("this SQLAlchemy connection is closed: enqueue before it is closed")
        dialect = self._connection.dialect
        if dialect.name != "postgresql" or dialect.driver not in DRIVERS:
            raise UnsupportedConnection(
                f"this SQLAlchemy connection is on {dialect.name}+{dialect.driver}: "
                "uno-jobs works on postgresql+asyncpg and postgresql+psycopg"
            )
        self._numbered = dialect.paramstyle == "numeric_dollar"
        self.idle = self._is_idle()

    def fetch(self, statement: Statement) -> Rows:
        """See ``SyncLink``."""
        sql = statement.sql if self._numbered else percent_style(statement.sql)
        result = self._connection.exec_driver_sql(sql, statement.args)
        return [tuple(row) for row in result] if result.returns_rows else []

    def command(self, sql: str) -> None:
        """See ``SyncLink``."""
        self._connection.exec_driver_sql(sql)

    def _is_idle(self) -> bool:
        """With AUTOCOMMIT, SQLAlchemy's begin does nothing in the database; only the driver knows."""
        proxied = self._connection.connection
        driver: Any = proxied.driver_connection
        if self._connection.dialect.driver == "asyncpg":
            level = getattr(proxied.dbapi_connection, "isolation_level", None)
            return level == "autocommit" and not driver.is_in_transaction()
        return bool(driver.autocommit) and int(driver.info.transaction_status) == 0


class AsyncSQLAlchemyLink:
    """An AsyncSession or AsyncConnection: the same, on SQLAlchemy's own bridge between the colours."""

    def __init__(self, owner: Any) -> None:
        self._owner: AsyncSession | AsyncConnection = owner
        self._link = SQLAlchemyLink(None)
        self.idle = False
        self.two_phase = False

    async def open(self) -> None:
        """See ``AsyncLink``."""
        if getattr(self._owner, "sync_connection", self) is None:
            raise ConnectionClosed(
                "this AsyncConnection is closed or has not been started: enqueue inside 'async with engine.begin()'"
            )

        def look(owner: Any) -> None:
            self._link = SQLAlchemyLink(owner)
            self._link.open()

        await self._run(look)
        self.idle, self.two_phase = self._link.idle, self._link.two_phase

    async def fetch(self, statement: Statement) -> Rows:
        """See ``AsyncLink``."""
        return await self._run(lambda _: self._link.fetch(statement))

    async def command(self, sql: str) -> None:
        """See ``AsyncLink``."""
        await self._run(lambda _: self._link.command(sql))

    async def _run(self, work: Callable[[Any], T]) -> T:
        return await self._owner.run_sync(work)
