"""Scan floors: where this worker's scans of each queue and priority begin.

A scan from 0 (a full one) finds everything, but walks dead rows and jobs that this worker cannot run; a scan from
a floor (the last seq that an earlier scan reached) walks neither, but misses what was committed behind it. Full scans
are due so often that what they cost more than floored ones stays under a twentieth of the time, and at the latest every
minute.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PRIORITIES: Final = 10
SHARE: Final = 20
LATEST: Final = 60.0
SKIP: Final = 2**63 - 1
"""A floor above everything: nothing is scanned."""


class _Scan:
    __slots__ = ("floor", "floored_us", "full_at", "full_us")

    def __init__(self) -> None:
        self.floor = 0
        self.full_at = float("-inf")
        self.full_us = 0
        self.floored_us: int | None = None

    def due(self) -> float:
        """Return when the next full scan is due."""
        excess = self.full_us - (self.floored_us or 0)
        return self.full_at + min(LATEST, SHARE * max(0, excess) / 1e6)


class ScanFloors:
    """The floors of one worker.

    Args:
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._scans: dict[tuple[str, int], _Scan] = {}

    def floors(self, queues: Sequence[str]) -> list[int]:
        """Return ten floors for each queue, one a priority; 0 where a full scan is due."""
        if not self._scans:
            return [0] * (PRIORITIES * len(queues))
        now = self._clock()
        return [self._floor(queue, priority, now) for queue in queues for priority in range(PRIORITIES)]

    def _floor(self, queue: str, priority: int, now: float) -> int:
        scan = self._scans.get((queue, priority))
        if scan is None or now >= scan.due():
            return 0
        # Where nothing was in sight, only the way there was long: wait for the next full scan.
        return scan.floor or SKIP

    def note(self, queue: str, priority: int, seq: int | None, microseconds: int, *, full: bool) -> None:
        """Take in what a scan reported: the last seq that it reached, and how long it took."""
        scan = self._scans.get((queue, priority))
        if scan is None:
            scan = self._scans[queue, priority] = _Scan()
        if full:
            scan.full_at = self._clock()
            scan.full_us = microseconds
            if seq is not None:
                scan.floor = seq
        else:
            scan.floored_us = microseconds
            if seq is not None and seq > scan.floor:
                scan.floor = seq

    def failed(self, queues: Sequence[str], floors: Sequence[int], seconds: float) -> None:
        """A claim failed: its full scans count as having cost its time, so that they are not repeated at once."""
        for place, floor in enumerate(floors):
            queue, priority = queues[place // PRIORITIES], place % PRIORITIES
            if floor == 0 and (queue, priority) in self._scans:
                self.note(queue, priority, None, int(seconds * 1e6), full=True)
