"""The claimer: keeps the slots of each lane full, sleeps when there is nothing, and is woken when there is."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from uno_jobs.worker.line import LINE_TROUBLE

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from uno_jobs.worker.config import WorkerConfig
    from uno_jobs.worker.holdings import Holdings
    from uno_jobs.worker.identity import Identity
    from uno_jobs.worker.lanes import Lane
    from uno_jobs.worker.line import Line

logger = logging.getLogger("uno_jobs.worker")

BATCH: Final = 500
"""Most jobs in one claim: the next is claimed while these run."""
IN_A_ROW: Final = 8
"""Most claims in a row without a break in which others may compare what is held."""
HUNGRY_FOR: Final = 3.0
"""How many polls a mark of hunger lasts."""

_in_order: Final = itemgetter(2, 3)  # priority, seq


class _Claim(NamedTuple):
    """Jobs in the order in which they start, not yet started."""

    jobs: list[asyncpg.Record]
    lease: int
    full: bool
    """There were as many as were asked for, so that there may be more."""


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
        lanes: list[Lane],
        dispatch: Callable[[list[asyncpg.Record], int], None],
        in_doubt: Callable[[], None],
    ) -> None:
        self._line = line
        self._identity = identity
        self._holdings = holdings
        self._lanes = lanes
        self._dispatch = dispatch
        self._in_doubt = in_doubt
        self._queues = [name for name, _ in config.queues]
        self._limited = any(limit is not None for _, limit in config.queues)
        self._poll = config.poll_interval
        self._until_empty = config.until_empty
        self._notified = not config.pooled
        self._hungry_until = 0.0
        self._stopping = False
        self._news = asyncio.Event()
        self.gate = asyncio.Lock()
        self.empty = asyncio.Event()
        """Set when the worker was to run until the queues are empty, and they are."""

    def wake(self) -> None:
        """There may be something to claim."""
        self._news.set()

    def room(self) -> None:
        """A lane that had no room may have some."""
        self._news.set()
        self._holdings.changed.set()

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
            lanes = [lane for lane in self._lanes if lane.free() > 0]
            if not lanes or not self._open_queues(0):
                await holdings.changed.wait()
                continue
            self._news.clear()
            claimed: int | None = 0
            # What runs, or is about to be recorded, may release others.
            was_idle = holdings.idle
            for lane in lanes:
                async with self.gate:
                    got = await self._fill(lane)
                claimed = None if got is None or claimed is None else claimed + got
            if len(self._lanes) > 1:
                # The first one takes what slots there are.
                self._lanes.append(self._lanes.pop(0))
            if claimed is None:
                self._in_doubt()
            elif claimed == 0 and not self._stopping:
                await self._rest(all_looked=was_idle and len(lanes) == len(self._lanes))

    def _open_queues(self, turn: int) -> list[str]:
        """Return the queues that may be claimed from now, the one whose turn it is first."""
        turn %= len(self._queues)
        queues = self._queues[turn:] + self._queues[:turn]
        return [queue for queue in queues if self._holdings.limit(queue) > 0]

    async def _fill(self, lane: Lane) -> int | None:
        """Claim for a lane and start what was claimed; returns how many jobs, None when it is not known.

        While there is as much as was asked for, the next claim is on its way before the jobs of the last are started.
        """
        total, row = 0, 1
        claim = await self._claim(lane, min(lane.free(), BATCH))
        while claim is not None:
            total += len(claim.jobs)
            slots = min(lane.free() - len(claim.jobs), BATCH)
            if not claim.full or slots <= 0 or row == IN_A_ROW or self._limited or self._stopping:
                self._start(claim)
                return total
            row += 1
            following = asyncio.create_task(self._claim(lane, slots))
            try:
                await asyncio.sleep(0)  # it is sent
            except asyncio.CancelledError:
                following.cancel()
                raise
            finally:
                self._start(claim)
            claim = await following
        return None

    def _start(self, claim: _Claim) -> None:
        if claim.jobs:
            self._dispatch(claim.jobs, claim.lease)

    async def _claim(self, lane: Lane, slots: int) -> _Claim | None:
        """Claim once; returns what came of it, None when that is not known."""
        queues = self._open_queues(lane.turn)
        if slots <= 0 or self._stopping or not queues:
            return _Claim([], 0, full=False)
        limits = [self._holdings.limit(queue) for queue in queues]
        floors = lane.floors.floors(queues)
        lease = secrets.randbits(63)
        gateway = await self._line.get()
        started = time.monotonic()
        try:
            rows = await gateway.claim(self._identity.id, lease, slots, queues, limits, floors, lane.known)
        except LINE_TROUBLE as error:
            self._line.drop(error)
            lane.floors.failed(queues, floors, time.monotonic() - started)
            return None
        lane.turn += 1
        jobs = _note_scans(lane, rows, queues, floors)
        jobs.sort(key=_in_order)
        return _Claim(jobs, lease, full=len(jobs) == slots)

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


def _note_scans(lane: Lane, rows: list[asyncpg.Record], queues: list[str], floors: list[int]) -> list[asyncpg.Record]:
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
        lane.floors.note(queue, priority, row[3], row[4], full=full)
    return jobs
