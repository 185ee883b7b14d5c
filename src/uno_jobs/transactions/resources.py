"""The session or connection of an asynchronous job's transaction: begun, committed, and given back whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg
    import psycopg
    from asyncpg.pool import PoolConnectionProxy
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

logger = logging.getLogger("uno_jobs.transactions")

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
GIVE_UP: Final = 5.0
"""Seconds for a rollback or an orderly farewell; then the connection is cut, which does the same."""


class AsyncResource(Protocol):
    """One transaction on one connection."""

    handle: Any
    """What the block works with."""

    async def begin(self, mark: str) -> None:
        """Begin, and run a first statement."""
        ...

    async def before_commit(self) -> None:
        """Do what is the user's part of the commit."""
        ...

    async def commit(self) -> None:
        """Commit."""
        ...

    async def after_commit(self) -> None:
        """Tell the user's listeners of the commit."""
        ...

    async def abandon(self) -> None:
        """Cut the connection: its state is in doubt."""
        ...

    async def close(self) -> None:
        """Roll back what is not committed, and give the connection back. Raises nothing; twice is once."""
        ...


class SessionResource:
    """An AsyncSession on a connection of an engine's pool."""

    handle: AsyncSession

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._committed = False

    async def begin(self, mark: str) -> None:
        """See ``AsyncResource``."""
        from sqlalchemy.ext.asyncio import AsyncSession

        connection = self._connection = await self._engine.connect()
        await connection.begin()
        await connection.exec_driver_sql(mark)
        # Whoever commits inside the block, a library perhaps, must not tear the success from its effects.
        self.handle = AsyncSession(bind=connection, join_transaction_mode="rollback_only", expire_on_commit=False)

    async def before_commit(self) -> None:
        """See ``AsyncResource``."""
        await self.handle.run_sync(lambda session: session.dispatch.before_commit(session))
        await self.handle.flush()

    async def commit(self) -> None:
        """See ``AsyncResource``."""
        assert self._connection is not None
        await self._connection.commit()
        self._committed = True

    async def after_commit(self) -> None:
        """See ``AsyncResource``."""
        await self.handle.run_sync(lambda session: session.dispatch.after_commit(session))

    async def abandon(self) -> None:
        """See ``AsyncResource``."""
        if self._connection is not None:
            await _quietly(self._connection.invalidate())

    async def close(self) -> None:
        """See ``AsyncResource``."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if not await _quietly(self._close_session()):
            await _quietly(connection.invalidate())
        await _quietly(connection.close())

    async def _close_session(self) -> None:
        session: AsyncSession | None = getattr(self, "handle", None)
        if session is not None:
            if not self._committed:
                await session.rollback()
            await session.close()


class AsyncpgResource:
    """A connection of a pool of asyncpg's, which is reset before another job gets it."""

    handle: PoolConnectionProxy[asyncpg.Record]

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool
        self._lent = False

    async def begin(self, mark: str) -> None:
        """See ``AsyncResource``."""
        await self._pool  # made when first needed
        self.handle = await self._pool.acquire()
        self._lent = True
        # Its own, so that the block's connection.transaction() is a savepoint.
        self._transaction = self.handle.transaction(isolation="read_committed")
        await self._transaction.start()
        await self.handle.execute(mark)

    async def before_commit(self) -> None:
        """See ``AsyncResource``."""

    async def commit(self) -> None:
        """See ``AsyncResource``."""
        await self._transaction.commit()

    async def after_commit(self) -> None:
        """See ``AsyncResource``."""

    async def abandon(self) -> None:
        """See ``AsyncResource``."""
        if self._lent:
            await _quietly(self._cut())

    async def close(self) -> None:
        """See ``AsyncResource``."""
        if self._lent:
            self._lent = False
            if not await _quietly(self._roll_back()):
                await _quietly(self._cut())
            # Resets it within bounds, and drops one that does not answer.
            await _quietly(self._pool.release(self.handle, timeout=GIVE_UP))

    async def _roll_back(self) -> None:
        if self.handle.is_in_transaction():
            await self.handle.execute("ROLLBACK")

    async def _cut(self) -> None:
        # One that is gone already is the pool's again, and may not be spoken with.
        self.handle.terminate()


class PsycopgResource:
    """An AsyncConnection of psycopg's, of its own."""

    handle: psycopg.AsyncConnection[Any]

    def __init__(self, connect: Callable[[], Awaitable[Any]], places: asyncio.Semaphore) -> None:
        self._connect = connect
        self._places = places
        self._held = contextlib.AsyncExitStack()

    async def begin(self, mark: str) -> None:
        """See ``AsyncResource``."""
        await self._held.enter_async_context(self._places)
        self.handle = await self._connect()
        self._held.push_async_callback(self.handle.close)
        await self.handle.execute(f"{BEGIN}; {mark}".encode())

    async def before_commit(self) -> None:
        """See ``AsyncResource``."""

    async def commit(self) -> None:
        """See ``AsyncResource``."""
        await self.handle.execute(b"COMMIT")

    async def after_commit(self) -> None:
        """See ``AsyncResource``."""

    async def abandon(self) -> None:
        """See ``AsyncResource``."""
        await self._held.aclose()

    async def close(self) -> None:
        """See ``AsyncResource``."""
        await self._held.aclose()


async def _quietly(work: Awaitable[object]) -> bool:
    """Do what is only good manners, within bounds, and say whether it was done."""
    try:
        async with asyncio.timeout(GIVE_UP):
            await work
    except Exception as error:
        logger.debug("a connection of a job's transaction did not end in order", exc_info=error)
        return False
    return True
