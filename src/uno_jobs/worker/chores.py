"""Chores: make due jobs ready, cancel the expired and the unwanted, rescue jobs of the dead. Harmless under two."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from uno_jobs.worker.line import LINE_TROUBLE
from uno_jobs.worker.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.storage.gateway import Gateway
    from uno_jobs.worker.identity import Identity
    from uno_jobs.worker.line import Line

logger = logging.getLogger("uno_jobs.worker")

ROUND: Final = 1.0
ALONE: Final = 0.9
"""Seconds after which a worker whose beat has not moved beats for itself: less than a round."""
BATCH: Final = 1_000
LEASE: Final = 5.0
FULL_EVERY: Final = 60.0
SWEEP_EVERY: Final = 60.0
STRAYS_EVERY: Final = 5.0
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = UUID(int=0)


class Chores:
    """One round a second, more often while there is much to do or a job is due sooner."""

    def __init__(
        self,
        line: Line,
        identity: Identity,
        max_lost: int,
        promoted: Callable[[], None],
        in_doubt: Callable[[], None],
        lead: Callable[[float], None],
    ) -> None:
        self._line = line
        self._identity = identity
        self._max_lost = max_lost
        self._promoted = promoted
        self._in_doubt = in_doubt
        self._lead = lead
        self._watcher = Watcher()
        self._own_beat: int | None = None
        self._own_due = 0.0
        self._floor = _START
        self._full_due = 0.0
        self._sweep_due = 0.0
        self._strays_due = 0.0
        self._looked_at: UUID | None = None
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Do no more."""
        self._stop.set()

    async def run(self) -> None:
        """Do the chores until stopped."""
        while not self._stop.is_set():
            async with self._line.turn:
                gateway = await self._line.get()
                try:
                    wait = await self._round(gateway)
                except LINE_TROUBLE as error:
                    self._line.drop(error)
                    continue
            try:
                async with asyncio.timeout(wait):
                    await self._stop.wait()
            except TimeoutError:
                pass

    async def _round(self, gateway: Gateway) -> float:
        """Do one round; returns the seconds until the next."""
        # Every worker watches, one does the rest: a dead leader must not be the one who would have noticed.
        await self._watch(gateway)
        if not await gateway.take_chore("maintenance", self._identity.id, LEASE):
            return ROUND
        self._lead(LEASE)
        wait = await self._promote(gateway)
        if await gateway.expire(BATCH) == BATCH:
            wait = 0.0
        if await gateway.apply_cancellations(BATCH) == BATCH:
            wait = 0.0
        if await gateway.release_pending(BATCH):
            wait = 0.0
        if time.monotonic() >= self._strays_due:
            await self._gather_strays(gateway)
            self._strays_due = time.monotonic() + STRAYS_EVERY
        if time.monotonic() >= self._sweep_due:
            await gateway.sweep()
            self._sweep_due = time.monotonic() + SWEEP_EVERY
            self._looked_at = self._looked_at or _FIRST
        if self._looked_at is not None:
            await self._mend(gateway, self._looked_at)
        return wait

    async def _mend(self, gateway: Gateway, after: UUID) -> None:
        """Look for jobs that might wait for ever: a batch a round, all the way through about once a minute."""
        self._looked_at, mended = await gateway.mend_waiting(after, BATCH)
        if mended:
            # Nothing that uno-jobs does leads here: rows were changed by hand, or there is a bug to be told of.
            logger.warning(
                "jobs waited for another number of parents than are unfinished; they are counted anew",
                extra={"jobs": [str(id_) for id_ in mended]},
            )

    async def _watch(self, gateway: Gateway) -> None:
        asked = time.monotonic()
        rows = await gateway.observe(self._watcher.suspects())
        me = self._identity.id
        own = next((row[1] for row in rows if row[0] == me), None)
        await self._beat_if_nobody_does(gateway, me, own)
        others = [row for row in rows if row[0] != me]
        for worker, cause in self._watcher.observe(self._line.connects, own, others, asked).items():
            # First its jobs: once it is called dead nobody watches it, and what was missed is left to the strays.
            await self._rescue(gateway, worker, cause)
            if await gateway.worker_state(worker, "dead", cause):
                logger.warning("a worker is dead", extra={"dead_worker": str(worker), "cause": cause})

    async def _beat_if_nobody_does(self, gateway: Gateway, me: UUID, beat: int | None) -> None:
        """A supervisor that stands still, or gets no connection, must not cost a healthy worker its jobs."""
        now = time.monotonic()
        if beat is not None and beat != self._own_beat:
            self._own_beat = beat
        elif now >= self._own_due:
            if me in await gateway.beat([me]):
                # Taken for dead all the same: our jobs are in other hands, and we go on as somebody else.
                await self._identity.renew(gateway, me)
                self._in_doubt()
            elif beat is not None:
                self._own_beat = beat + 1
        else:
            return
        self._own_due = now + ALONE

    async def _gather_strays(self, gateway: Gateway) -> None:
        for worker, state, cause in await gateway.strays():
            if state == "stopped":
                held = await gateway.held(worker)
                await gateway.hand_back(
                    worker, [row[0] for row in held], [row[1] for row in held], "its worker stopped"
                )
            else:
                await self._rescue(gateway, worker, cause or "its worker is unknown")

    async def _rescue(self, gateway: Gateway, worker: UUID, cause: str) -> None:
        rescued = await gateway.rescue(worker, cause, self._max_lost)
        if rescued:
            extra = {"dead_worker": str(worker), "jobs": len(rescued)}
            logger.warning("rescued jobs of a dead worker", extra=extra)

    async def _promote(self, gateway: Gateway) -> float:
        # The floor spares the walk over what was promoted and is not yet vacuumed; a full scan finds what is behind it.
        full = time.monotonic() >= self._full_due
        done = await gateway.promote(BATCH, _START if full else self._floor)
        if full:
            self._full_due = time.monotonic() + min(FULL_EVERY, 20 * done.scan_us / 1e6)
        if done.reached is not None:
            self._floor = done.reached
        if done.promoted:
            self._promoted()
        if done.promoted == BATCH:
            return 0.0  # a round for each batch: however much is due, the others are watched meanwhile
        if done.next_due is None:
            return ROUND
        due_in = (done.next_due - await gateway.connection.fetchval("SELECT clock_timestamp()")).total_seconds()
        return min(ROUND, max(0.001, due_in))
