"""The beat: says every second which workers live, and holds the lock whose loss tells of our death at once."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

import asyncpg

from uno_jobs.errors import UnoJobsError
from uno_jobs.storage.gateway import Gateway
from uno_jobs.storage.session import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

logger = logging.getLogger("uno_jobs.supervisor")

EVERY: Final = 1.0
PATIENCE: Final = 4.0
"""Seconds for a connection or a beat: two failures in a row must fit into the 15 s before others take us for dead."""
LONGEST_WAIT: Final = 1.0
DATABASE_TROUBLE: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    UnoJobsError,
)
"""Whatever the database does to a supervisor, it tries again: its workers decide what makes no sense."""


class Heart:
    """Beats for the workers of one supervisor, on one connection that is made again when it breaks.

    Args:
        url: The database.
        schema: The schema of uno-jobs.
        lock_key: Of the session-level advisory lock; None: take none.
        living: Says which workers live now.
        declared_dead: Told of workers that somebody has declared dead.
        pooled: The URL is a transaction pooler's.
    """

    def __init__(
        self,
        url: str,
        schema: str,
        lock_key: int | None,
        living: Callable[[], Sequence[UUID]],
        declared_dead: Callable[[UUID], None],
        *,
        pooled: bool = False,
    ) -> None:
        self._url = url
        self._schema = schema
        self._lock_key = lock_key
        self._living = living
        self._declared_dead = declared_dead
        self._pooled = pooled
        self._lost = False

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            try:
                async with asyncio.timeout(2 * PATIENCE):
                    connection = await connect(
                        self._url, self._schema, name="uno-jobs supervisor", timeout=PATIENCE, pooled=self._pooled
                    )
            except DATABASE_TROUBLE as error:
                self._note(error)
            else:
                try:
                    await self._beat(Gateway(connection, self._schema))
                except DATABASE_TROUBLE as error:
                    self._note(error)
                finally:
                    # Does not wait for a network that may be silent; the server frees the lock when it sees the end.
                    connection.terminate()
            await asyncio.sleep(random.uniform(0.1, LONGEST_WAIT))  # noqa: S311 - spreads load, keeps no secret

    async def _beat(self, gateway: Gateway) -> None:
        loop = asyncio.get_running_loop()
        locked = self._lock_key is None
        due = loop.time()
        while True:
            async with asyncio.timeout(PATIENCE):
                # The session before this one may not be over yet in the server's eyes: then it still holds the lock.
                locked = locked or await gateway.connection.fetchval(
                    "SELECT pg_catalog.pg_try_advisory_lock($1)", self._lock_key
                )
                dead = await gateway.beat(self._living())
            if self._lost:
                self._lost = False
                logger.info("the supervisor reached the database again")
            for worker in dead:
                self._declared_dead(worker)
            due = max(due + EVERY, loop.time())
            await asyncio.sleep(due - loop.time())

    def _note(self, error: BaseException) -> None:
        if not self._lost:
            self._lost = True
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            logger.warning("the supervisor lost the database and tries again", extra={"error": said})
