"""The claimer: keeps the slots full, sleeps when there is nothing, and is woken when there is."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.worker.line import LINE_TROUBLE

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from uno_jobs.worker.config import WorkerConfig
    from uno_jobs.worker.floors import ScanFloors
    from uno_jobs.worker.holdings import Holdings
    from uno_jobs.worker.identity import Identity
    from uno_jobs.worker.line import Line

logger = logging.getLogger("uno_jobs.worker")

BATCH: Final = 400
"""Most jobs in one claim: the next is claimed while these run."""
HUNGRY_FOR: Final = 3.0
"""How many polls a mark of hunger lasts."""

_in_order: Final = itemgetter(2, 3)  # priority, seq


class Claimer:
    """Claims jobs for free slots and hands them to ``dispatch``.

    ``gate`` is held while a claim is under way: nobody may compare what is held with what the database says meanwhile.
    """

    def __init__(
        self,
        config: WorkerConfig,
        line: Line,
        identity: Identity,
        holdings: Holdings,
        floors: ScanFloors,
        dispatch: Callable[[list[asyncpg.Record], int], None],
        in_doubt: Callable[[], None],
    ) -> None:
        self._line = line
        self._identity = identity
        self._holdings = holdings
        self._floors = floors
        self._dispatch = dispatch
        self._in_doubt = in_doubt
        self._queues = [name for name, _ in config.queues]
        self._poll = config.poll_interval
        self._until_empty = config.until_empty
        self._notified = not config.pooled
        self._turn = 0
        self._hungry_until = 0.0
        self._stopping = False
        self._news = asyncio.Event()
        self.gate = asyncio.Lock()
        self.empty = asyncio.Event()
        """Set when the worker was to run until the queues are empty, and they are."""

    def wake(self) -> None:
        """There may be something to claim."""
        self._news.set()

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping = True
        self._news.set()
        self._holdings.changed.set()

    async def run(self) -> None:
        """Claim until stopped."""
        holdings = self._holdings
        while not self._stopping:
            holdings.changed.clear()
            if holdings.free <= 0 or not self._open_queues():
                await holdings.changed.wait()
                continue
            self._news.clear()
            # What runs, or is about to be recorded, may release others.
            was_idle = holdings.idle
            async with self.gate:
                claimed = 0 if self._stopping else await self._claim(min(holdings.free, BATCH))
            if claimed is None:
                self._in_doubt()
            elif claimed == 0 and not self._stopping:
                await self._rest(all_looked=was_idle)

    def _open_queues(self) -> list[str]:
        """Return the queues that may be claimed from now, the next one's turn first."""
        turn = self._turn % len(self._queues)
        queues = self._queues[turn:] + self._queues[:turn]
        return [queue for queue in queues if self._holdings.limit(queue) > 0]

    async def _claim(self, slots: int) -> int | None:
        """Return how many jobs were claimed; None when it is not known."""
        queues = self._open_queues()
        limits = [self._holdings.limit(queue) for queue in queues]
        floors = self._floors.floors(queues)
        lease = secrets.randbits(63)
        gateway = await self._line.get()
        started = time.monotonic()
        try:
            rows = await gateway.claim(self._identity.id, lease, slots, queues, limits, floors, self._identity.known)
        except LINE_TROUBLE as error:
            self._line.drop(error)
            self._floors.failed(queues, floors, time.monotonic() - started)
            return None
        self._turn += 1
        jobs = self._note_scans(rows, queues, floors)
        if jobs:
            jobs.sort(key=_in_order)
            self._dispatch(jobs, lease)
        return len(jobs)

    def _note_scans(self, rows: list[asyncpg.Record], queues: list[str], floors: list[int]) -> list[asyncpg.Record]:
        """Take the reports of scans out of what a claim returned."""
        jobs: list[asyncpg.Record] = []
        seen: set[tuple[Any, Any]] = set()
        for row in rows:
            if row[0] is not None:
                jobs.append(row)
                continue
            queue: str = row[1]
            priority: int = row[2]
            # The second scan of a round begins where the first one ended.
            full = (queue, priority) not in seen and floors[queues.index(queue) * 10 + priority] == 0
            seen.add((queue, priority))
            self._floors.note(queue, priority, row[3], row[4], full=full)
        return jobs

    async def _rest(self, *, all_looked: bool) -> None:
        """Nothing was there: say so to the database, look once more, then sleep until there is news or time to look."""
        now = time.monotonic()
        if self._notified and self._hungry_until < now + self._poll:
            gateway = await self._line.get()
            try:
                await gateway.mark_hungry(self._identity.id, self._queues, HUNGRY_FOR * self._poll)
            except LINE_TROUBLE as error:
                self._line.drop(error)
                return
            self._hungry_until = now + HUNGRY_FOR * self._poll
            return
        if self._until_empty and all_looked and self._holdings.idle:
            self.empty.set()
        try:
            async with asyncio.timeout(self._poll * random.uniform(0.75, 1.25)):  # noqa: S311 - spreads polls, guards nothing
                await self._news.wait()
        except TimeoutError:
            pass
