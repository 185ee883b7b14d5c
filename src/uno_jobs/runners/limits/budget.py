"""A budget of CPU time: a bucket of tokens that fills as time goes by, and may go into debt."""

from __future__ import annotations

from typing import Final

BURST: Final = 0.08
"""Seconds' worth of the limit that may be saved up while less is used."""
OWED: Final = 0.25
"""Seconds' worth of the limit that may be saved up while stopped, when the waking comes late."""
PORTION: Final = 0.05
"""Seconds' worth of the limit that are in the bucket when a stopped group goes on: so often it is stopped."""


class CpuBudget:
    """What a group may still use of ``limit`` cores. Times are seconds.

    Starts with little, so that the first second is no exception: within any second at most a tenth more than the
    limit is used, but for what the measuring comes too late, which is worked off afterwards.
    """

    def __init__(self, limit: float, now: float) -> None:
        self._limit = limit
        self._now = now
        self._tokens = limit * BURST
        self.stopped = False
        """Whether the group must not run now."""

    def spend(self, now: float, used: float) -> None:
        """Account for what was used since the last time, and decide whether the group may run on."""
        saved = (now - self._now) * self._limit
        self._now = now
        most = self._limit * (OWED if self.stopped else BURST)
        self._tokens = min(self._tokens + saved - used, most)
        if self.stopped:
            self.stopped = self._tokens < self._limit * PORTION
        else:
            self.stopped = self._tokens <= 0

    def wait(self, cores: int) -> float:
        """Return in how many seconds to measure again.

        Args:
            cores: How many the group may keep busy at once.
        """
        if self.stopped:
            return (self._limit * PORTION - self._tokens) / self._limit
        return self._tokens / cores
