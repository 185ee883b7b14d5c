"""The queue's own connections: a small pool for a URL, or the connections of an engine that was handed in."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final, Protocol

from uno_jobs.errors import DatabaseUnavailable
from uno_jobs.storage.connections.asyncpg_link import AsyncpgLink
from uno_jobs.storage.connections.foreign import keep_foreign
from uno_jobs.storage.connections.pool import Loan, Pool
from uno_jobs.storage.pooled import PooledConnection
from uno_jobs.storage.session import connect, connect_raw, search_path

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from uno_jobs.storage.connections.link import AsyncLink, Rows, Statement
    from uno_jobs.storage.connections.sqlalchemy_link import SQLAlchemyLink

    Pools = dict[asyncio.AbstractEventLoop, Pool]

NAME: Final = "uno-jobs queue"
MAX_CONNECTIONS: Final = 10
"""Connections of one queue in one event loop, at most."""


class Own(Protocol):
    """Where a queue's own connections come from."""

    def link(self) -> AbstractAsyncContextManager[AsyncLink]:
        """Return a context manager that lends a connection, opened; work is committed when it ends well."""
        ...

    async def fetch(self, statement: Statement) -> Rows:
        """Run one statement, in a transaction of its own."""
        ...

    async def listen(self) -> Any:
        """Return a new asyncpg connection for LISTEN, the caller's to close.

        Raises:
            DatabaseUnavailable: There is none to be had; poll instead.
        """
        ...

    async def close(self) -> None:
        """Close what was opened in this event loop."""
        ...


class FetchesByLink:
    """Runs one statement as it would run several."""

    async def fetch(self: Own, statement: Statement) -> Rows:
        """See ``Own``."""
        async with self.link() as link:
            return await link.fetch(statement)


class UrlConnections:
    """A pool for each event loop, opened when first needed."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._pid = os.getpid()
        self._pools: Pools = {}

    def link(self) -> AbstractAsyncContextManager[AsyncLink]:
        """See ``Own``. A single statement is a transaction of its own: idle until somebody begins."""
        return LinkLoan(self._pool())

    async def fetch(self, statement: Statement) -> Rows:
        """See ``Own``."""
        pool = self._pool()
        connection = await pool.take()
        try:
            rows = await connection.fetch(statement.sql, *statement.args)
        except BaseException as error:
            await pool.give_back(connection, error)
            raise
        pool.keep(connection)
        return rows

    async def listen(self) -> Any:
        """See ``Own``."""
        return await connect(self._url, self._schema, name="uno-jobs results")

    async def close(self) -> None:
        """See ``Own``."""
        pool = self._mine().pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()

    def _pool(self) -> Pool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None or self._pid != os.getpid():
            pool = self._mine()[loop] = Pool(self._connect, MAX_CONNECTIONS)
        return pool

    def _mine(self) -> Pools:
        if self._pid != os.getpid():
            keep_foreign(self._pools)
            self._pools = {}
            self._pid = os.getpid()
        for loop in list(self._pools):
            if loop.is_closed():
                self._pools.pop(loop, None)
        return self._pools

    async def _connect(self) -> Any:
        return await connect(self._url, self._schema, name=NAME)


class LinkLoan(Loan):
    """The loan of a connection, with a link to it."""

    __slots__ = ()

    async def __aenter__(self) -> AsyncpgLink:
        self._connection = await self._pool.take()
        return AsyncpgLink(self._connection, idle=True)


class PoolerConnections(FetchesByLink, UrlConnections):
    """The same through a transaction pooler: all that is done on a connection that is lent is one transaction."""

    @contextlib.asynccontextmanager
    async def link(self) -> AsyncGenerator[AsyncLink]:
        """See ``Own``."""
        async with (
            self._pool().lend() as connection,
            PooledConnection(connection, search_path(self._schema)).transaction(),
        ):
            link = AsyncpgLink(connection)
            await link.open()
            yield link

    async def _connect(self) -> Any:
        return await connect_raw(self._url, name=NAME)


class AsyncEngineConnections(FetchesByLink):
    """The connections of an async engine, with whatever its makers set: certificates, passwords that change."""

    def __init__(self, engine: AsyncEngine, schema: str) -> None:
        self._engine = engine
        self._schema = schema

    @contextlib.asynccontextmanager
    async def link(self) -> AsyncGenerator[AsyncLink]:
        """See ``Own``."""
        from uno_jobs.storage.connections.sqlalchemy_link import AsyncSQLAlchemyLink

        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="READ COMMITTED")
            link = AsyncSQLAlchemyLink(connection)
            await link.open()
            yield link
            await connection.commit()

    async def listen(self) -> Any:
        """See ``Own``."""
        return await _listen(self._engine.url, self._schema)

    async def close(self) -> None:
        """See ``Own``: the engine is its maker's to dispose of."""


class EngineConnections(FetchesByLink):
    """The connections of a synchronous engine; on an event loop they are used on threads."""

    def __init__(self, engine: Engine, schema: str) -> None:
        self._engine = engine
        self._schema = schema

    @contextlib.contextmanager
    def link_sync(self) -> Generator[SQLAlchemyLink]:
        """Lend a connection without an event loop."""
        from uno_jobs.storage.connections.sqlalchemy_link import SQLAlchemyLink

        with self._engine.connect() as connection:
            link = SQLAlchemyLink(connection.execution_options(isolation_level="READ COMMITTED"))
            link.open()
            yield link
            connection.commit()

    @contextlib.asynccontextmanager
    async def link(self) -> AsyncGenerator[AsyncLink]:
        """See ``Own``."""
        lent = self.link_sync()
        link = ThreadLink(await asyncio.to_thread(lent.__enter__))
        try:
            yield link
        except BaseException as error:
            await asyncio.to_thread(lent.__exit__, type(error), error, error.__traceback__)
            raise
        else:
            await asyncio.to_thread(lent.__exit__, None, None, None)

    async def listen(self) -> Any:
        """See ``Own``."""
        return await _listen(self._engine.url, self._schema)

    async def close(self) -> None:
        """See ``Own``: the engine is its maker's to dispose of."""


class ThreadLink:
    """A synchronous link used from an event loop: each call on a thread."""

    def __init__(self, link: SQLAlchemyLink) -> None:
        self._link = link
        self.idle = link.idle
        self.two_phase = link.two_phase

    async def open(self) -> None:
        """See ``AsyncLink``."""

    async def fetch(self, statement: Statement) -> Rows:
        """See ``AsyncLink``."""
        return await _uninterrupted(lambda: self._link.fetch(statement))

    async def command(self, sql: str) -> None:
        """See ``AsyncLink``."""
        await _uninterrupted(lambda: self._link.command(sql))


async def _uninterrupted(work: Callable[[], Any]) -> Any:
    """Wait for a thread to its end, also when cancelled: its connection must not be used by two."""
    task: Awaitable[Any] = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await task
        raise


async def _listen(url: Any, schema: str) -> Any:
    """What an engine's URL says may not be all that its connections need: then there is only polling."""
    try:
        return await connect(url.render_as_string(hide_password=False), schema, name="uno-jobs results")
    except (DatabaseUnavailable, ValueError, TypeError) as error:
        raise DatabaseUnavailable(f"no connection to listen on: {error}") from error
