"""What is done in the database for a worker whose process has ended: it is declared over, its jobs are given back."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from uno_jobs.storage.gateway import Gateway
from uno_jobs.storage.session import connect
from uno_jobs.supervisor.heart import DATABASE_TROUBLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

logger = logging.getLogger("uno_jobs.supervisor")

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 2.0
REASON: Final = "its worker was shut down"


class Rescuer:
    """Settles the ends of workers, each on a connection of its own, for as long as the database takes to answer."""

    def __init__(self, url: str, schema: str, max_lost: int, *, pooled: bool = False) -> None:
        self._url = url
        self._schema = schema
        self._max_lost = max_lost
        self._pooled = pooled
        self._tasks: set[asyncio.Task[None]] = set()

    def bury(self, worker: UUID, cause: str) -> None:
        """A worker's process died of ``cause``: its jobs are lost attempts, and ready again."""

        async def settle(gateway: Gateway) -> bool:
            await gateway.worker_state(worker, "dead", cause)
            rescued = await gateway.rescue(worker, cause, self._max_lost)
            if rescued:
                logger.warning(
                    "gave the jobs of a dead worker back",
                    extra={"worker_id": str(worker), "jobs": len(rescued), "cause": cause},
                )
            return not await gateway.held(worker)

        self._start(worker, settle)

    def discharge(self, worker: UUID) -> None:
        """A worker ended as it should: what it could not hand back, because the database was away, is handed back."""

        async def settle(gateway: Gateway) -> bool:
            await gateway.worker_state(worker, "stopped")
            rest = await gateway.held(worker)
            if rest:
                await gateway.hand_back(worker, [row[0] for row in rest], [row[1] for row in rest], REASON)
            return not rest or not await gateway.held(worker)

        self._start(worker, settle)

    async def finish(self, seconds: float) -> None:
        """Wait, at most so long, until all is settled; what is not, other workers find out in time."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = list(self._tasks)
        if left:
            logger.warning("the database did not answer; other workers will rescue", extra={"workers": len(left)})
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _start(self, worker: UUID, settle: Callable[[Gateway], Awaitable[bool]]) -> None:
        task = asyncio.create_task(self._settle(worker, settle))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, worker: UUID, settle: Callable[[Gateway], Awaitable[bool]]) -> None:
        wait = FIRST_WAIT
        failed = False
        while True:
            try:
                if await self._once(settle):
                    return
                # Somebody has one of its rows locked.
                wait = FIRST_WAIT
            except DATABASE_TROUBLE as error:
                if not failed:
                    failed = True
                    logger.warning(
                        "the end of a worker cannot be recorded yet",
                        extra={"worker_id": str(worker), "error": repr(error)},
                    )
                wait = min(LONGEST_WAIT, wait * 2)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, keeps no secret

    async def _once(self, settle: Callable[[Gateway], Awaitable[bool]]) -> bool:
        connection = await connect(self._url, self._schema, name="uno-jobs rescuer", timeout=5.0, pooled=self._pooled)
        try:
            return await settle(Gateway(connection, self._schema))
        finally:
            connection.terminate()
