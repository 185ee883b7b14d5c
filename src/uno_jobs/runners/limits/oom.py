"""Whether the kernel's out-of-memory killer was at work: its count of kills, as near to this process as it counts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from uno_jobs.runners.limits.cgroup import counter, mounted, own_cgroup
from uno_jobs.runners.limits.group import PROC

if TYPE_CHECKING:
    from pathlib import Path


class OomKills:
    """Counts the processes that the kernel killed for want of memory: those of this process's control group.

    Where that does not count them, as the root of all groups does not, those of the whole system.

    Args:
        proc: Where the process file system is mounted.
    """

    def __init__(self, *, proc: Path = PROC) -> None:
        self._source = _source(proc)
        self._recent = 0
        self._until = float("-inf")

    def recent(self) -> int:
        """Return how many there were at most a second ago: for those who ask before every job."""
        now = time.monotonic()
        if now >= self._until:
            self._until = now + 1.0
            self._recent = self.count()
        return self._recent

    def count(self) -> int:
        """Return how many there have been; always 0 where the system does not tell."""
        return 0 if self._source is None else _count(self._source) or 0


def _source(proc: Path) -> Path | None:
    own = own_cgroup(proc)
    candidates = [own / "memory.events"] if own is not None else []
    if (older := _memory_v1(proc)) is not None:
        candidates.append(older / "memory.oom_control")
    candidates.append(proc / "vmstat")
    return next((path for path in candidates if _count(path) is not None), None)


def _count(path: Path) -> int | None:
    try:
        return counter(path.read_text(), "oom_kill")
    except OSError:
        return None


def _memory_v1(proc: Path) -> Path | None:
    """Return the folder of the own control group of version 1 that counts memory."""
    try:
        groups = (proc / "self" / "cgroup").read_text()
        mounts = (proc / "self" / "mountinfo").read_text()
    except OSError:
        return None
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return mounted(mounts, path, "cgroup", "memory")
    return None
