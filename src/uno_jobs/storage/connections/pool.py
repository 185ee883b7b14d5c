"""A pool of asyncpg connections for one event loop, with nothing to await where one is idle.

asyncpg's own resets, shields and wakes at every release: several turns of the event loop, a quarter of the time that it
takes to enqueue one job. Nothing of ours leaves anything in a session but a transaction that ended badly, and such a
connection is not used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import CoroutineType, TracebackType

MAX_IDLE: Final = 300.0
"""Seconds after which an idle connection is not used again: firewalls forget connections without a word."""
CLOSE_TIMEOUT: Final = 2.0
"""Seconds that a server has to end a cancelled statement."""

_BROKEN: Final = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""After these nobody knows what a connection is at."""


class Pool:
    """Lends at most ``size`` connections at once, the last used first; opens them with ``connect`` when needed."""

    def __init__(self, connect: Callable[[], Awaitable[Any]], size: int) -> None:
        self._connect = connect
        self._size = size
        self._places = asyncio.Semaphore(size)
        self._idle: list[tuple[float, Any]] = []
        self._closing: set[asyncio.Task[None]] = set()

    def lend(self) -> Loan:
        """Return a context manager that lends a connection; waits while all are lent.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: As ``connect``.
        """
        return Loan(self)

    async def take(self) -> Any:
        """Take a connection, for a ``Loan``: it is to be given back."""
        await self._places.acquire()
        try:
            return self._take_idle() or await self._connect()
        except BaseException:
            self._places.release()
            raise

    async def give_back(self, connection: Any, error: BaseException | None) -> None:
        """Keep a connection for the next, or close it, whatever it is at; with what ended the loan early, if anything.

        Cancelled in the middle of a statement, say: that must have ended when the caller goes on, or a job could come
        into being afterwards.
        """
        sound = error is None or (isinstance(error, Exception) and not isinstance(error, _BROKEN))
        if connection.is_closed() or (sound and not connection.is_in_transaction()):
            self.keep(connection)
            return
        try:
            # It goes on when the caller is cancelled once more.
            await asyncio.shield(self._discard(connection))
        finally:
            self._places.release()

    def keep(self, connection: Any) -> None:
        """Keep a connection that is in no transaction for the next, unless it was closed."""
        if not connection.is_closed():
            self._idle.append((time.monotonic(), connection))
        self._places.release()

    async def close(self) -> None:
        """Close all connections; waits for those that are lent."""
        async with contextlib.AsyncExitStack() as places:
            for _ in range(self._size):
                await places.enter_async_context(self._places)
            for _, connection in self._idle:
                self._discard(connection)
            self._idle.clear()
            if self._closing:
                await asyncio.wait(self._closing)

    def _take_idle(self) -> Any:
        now = time.monotonic()
        while self._idle:
            if now - self._idle[-1][0] > MAX_IDLE:
                # The others have been idle for longer. Not waited for: a firewall may have cut them off without a word.
                for _, connection in self._idle:
                    self._discard(connection)
                self._idle.clear()
                break
            _, connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _discard(self, connection: Any) -> asyncio.Task[None]:
        closing = asyncio.create_task(_close(connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return closing


class Loan:
    """The loan of one connection; a class, since the context managers of ``contextlib`` take several times as long."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> Any:
        self._connection = await self._pool.take()
        return self._connection

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> CoroutineType[Any, Any, None]:
        return self._pool.give_back(self._connection, error)


async def _close(connection: Any) -> None:
    try:
        await connection.close(timeout=CLOSE_TIMEOUT)  # asks the server to cancel a statement, and waits for its end
    except (*_BROKEN, asyncpg.PostgresError):
        connection.terminate()
