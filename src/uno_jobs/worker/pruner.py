"""Removes finished jobs past their retention, at a pace that leaves the database to the others."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from uno_jobs.worker.line import LINE_TROUBLE

if TYPE_CHECKING:
    from uno_jobs.storage.gateway import Pruned
    from uno_jobs.worker.line import Line

logger = logging.getLogger("uno_jobs.worker")

IDLE: Final = 5.0
"""Seconds until the next look when there was nothing to look at."""
FIRST: Final = 200
SMALLEST: Final = 50
LARGEST: Final = 5_000
STEP: Final = 0.04
"""Seconds that a step should take: its size follows, so that a busy server gets smaller ones."""
SHARES: Final = ((60.0, 0.25), (3600.0, 0.4))
"""Up to so many seconds behind, at most this share of the time."""
HASTE: Final = 0.6
"""The share when it is further behind than that."""


class Pace:
    """How many jobs a step looks at, and how long to rest after it: in proportion to what the last one took."""

    def __init__(self) -> None:
        self.size = FIRST

    def rest(self, done: Pruned, took: float) -> float:
        """Return the seconds to rest after a step that took so many seconds, and set the size of the next."""
        if done.walked >= self.size and took < STEP / 2:
            self.size = min(self.size * 2, LARGEST)
        elif took > STEP * 2:
            self.size = max(self.size // 2, SMALLEST)
        if done.walked == 0:
            return IDLE
        share = next((share for limit, share in SHARES if done.behind <= limit), HASTE)
        return took * (1 - share) / share


class Pruner:
    """Works while ``lead`` is called, on a connection of its own that it has only then."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lead_until = 0.0
        self._leading = asyncio.Event()
        self._stop = asyncio.Event()

    def lead(self, seconds: float) -> None:
        """Say that the chores are this worker's for so many seconds."""
        self._lead_until = time.monotonic() + seconds
        self._leading.set()

    def stop(self) -> None:
        """Do no more."""
        self._stop.set()
        self._leading.set()

    async def run(self) -> None:
        """Remove what is past its retention until stopped, while this worker leads."""
        pace = Pace()
        while not self._stop.is_set():
            if time.monotonic() >= self._lead_until:
                # Before anything is awaited: what is said meanwhile must not be forgotten.
                self._leading.clear()
                await self._line.close()
                await self._leading.wait()
                continue
            gateway = await self._line.get()
            started = time.monotonic()
            try:
                done = await gateway.prune(pace.size)
            except LINE_TROUBLE as error:
                self._line.drop(error)
                continue
            if done.removed:
                logger.debug("removed finished jobs", extra={"jobs": done.removed, "behind_s": round(done.behind)})
            try:
                async with asyncio.timeout(pace.rest(done, time.monotonic() - started)):
                    await self._stop.wait()
            except TimeoutError:
                pass
