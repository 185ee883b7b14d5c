"""Who is alive: an observer judges other workers only by what it has itself seen, by its own monotonic clock.

The age of a beat by anybody's clock proves nothing: a failover ages all beats and takes all locks at once. So a worker
is dead when, on one unbroken connection of the observer's, its beat has not moved for 3 s and its supervisor's lock is
gone, or has not moved for 15 s (a stopped process, a silent network, a pooler behind which there is no lock).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

WITHOUT_LOCK: Final = 3.0
WITH_LOCK: Final = 15.0
SETTLE: Final = 15.0
"""After a reconnect, how long to watch before anybody is judged."""


@dataclass(slots=True)
class _Seen:
    beat: int
    since: float


class Watcher:
    """Keeps what was observed of each worker.

    Args:
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[UUID, _Seen] = {}
        self._own: _Seen | None = None
        self._connection = 0
        self._since = clock()

    def suspects(self) -> list[UUID]:
        """Return the workers whose beat has not moved for so long that their lock is worth a look."""
        now = self._clock()
        return [worker for worker, seen in self._seen.items() if now - seen.since >= WITHOUT_LOCK]

    def observe(self, connection: int, own: int | None, rows: Iterable[Any], asked: float) -> dict[UUID, str]:
        """Take in (id, beat, holds_lock, locked) of all other living workers; returns the dead, each with its cause.

        Args:
            connection: Which connection they were read on; another than before means that nothing earlier counts.
            own: This worker's own beat. While it does not move, nobody can be told apart from the dead: the database
                takes no writes, is full or stalled, or hidden by a pooler. None: this worker is not known to live.
            rows: What was read.
            asked: When it was asked for, by the same clock: this process may have stood still since.
        """
        now = self._clock()
        if connection != self._connection:
            first = self._connection == 0
            self._connection = connection
            self._seen.clear()
            self._since = now - SETTLE if first else now
        if not self._beating(own, now):
            self._seen.clear()
            self._since = now
        dead: dict[UUID, str] = {}
        present: set[UUID] = set()
        for worker, beat, holds_lock, locked in rows:
            present.add(worker)
            seen = self._seen.get(worker)
            if seen is None or seen.beat != beat:
                self._seen[worker] = _Seen(beat, now)
                continue
            silent = asked - seen.since
            if asked - self._since < SETTLE:
                continue
            if holds_lock and locked is False and silent >= WITHOUT_LOCK:
                dead[worker] = "its supervisor is gone (no beat, no lock)"
            elif silent >= WITH_LOCK:
                dead[worker] = f"no beat for {silent:.0f} s (stopped, or its network is silent)"
        for worker in self._seen.keys() - present:
            del self._seen[worker]
        return dead

    def _beating(self, own: int | None, now: float) -> bool:
        """Say whether our own beat has kept moving since the last look."""
        before = self._own
        if own is None:
            self._own = None
            return False
        if before is None or before.beat != own:
            self._own = _Seen(own, now)
        # By how often it moved: whoever looks seldom, as tasks hold the event loop, must not mistrust the database.
        return before is None or now - before.since < WITHOUT_LOCK * max(1, own - before.beat)
