"""How long to wait before a process that died is started again."""

from __future__ import annotations

import random
from typing import Final

FIRST: Final = 0.5
LONGEST: Final = 30.0
HEALTHY: Final = 30.0
"""Seconds: a process that lived for so long has proved itself, and the next wait is short again."""


class Backoff:
    """Waits that double from half a second to half a minute, each shortened at random by up to a half."""

    def __init__(self) -> None:
        self._wait = FIRST

    def reset(self) -> None:
        """Begin again with the shortest."""
        self._wait = FIRST

    def next(self, lived: float) -> float:
        """Return the seconds to wait after a process that lived for ``lived`` seconds."""
        if lived >= HEALTHY:
            self.reset()
        wait, self._wait = self._wait, min(LONGEST, self._wait * 2)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
