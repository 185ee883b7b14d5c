"""Whether the kernel's out-of-memory killer struck: counters of the control group that the workers are in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from uno_jobs.runners.limits.cgroup import counter, mounted, own_cgroup
from uno_jobs.runners.limits.group import PROC

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEPT: Final = 5.0
"""Seconds in which a kill that was counted may explain a death."""


class OomKills:
    """Tells deaths by the out-of-memory killer from other deaths by SIGKILL.

    Args:
        proc: Where the process file system is mounted.
        clock: Tells the time in seconds.
    """

    def __init__(self, *, proc: Path = PROC, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = _source(proc)
        self._clock = clock
        self._seen = self.count() or 0
        self._unclaimed = 0
        self._since = 0.0

    def count(self) -> int | None:
        """Return how many processes the kernel has killed there; None where it does not count them."""
        if self._source is None:
            return None
        path, name = self._source
        try:
            return counter(path.read_text(), name)
        except OSError:
            return None

    def look(self) -> None:
        """Take note of kills up to now: what came before is no explanation of a death that comes later."""
        self._seen = self.count() or self._seen
        self._unclaimed = 0

    def struck(self) -> bool:
        """Say whether the kernel has killed a process since the last look that no earlier call was told of.

        To be asked once for each child that died by SIGKILL.
        """
        now, count = self._clock(), self.count()
        if now - self._since > KEPT:
            self._unclaimed = 0
        if count is not None and count > self._seen:
            self._unclaimed += count - self._seen
            self._seen = count
            self._since = now
        if not self._unclaimed:
            return False
        self._unclaimed -= 1
        return True


def _source(proc: Path) -> tuple[Path, str] | None:
    """Return the file that counts kills, and the counter's name: the nearest to this process that there is."""
    own = own_cgroup(proc)
    candidates = [(own / "memory.events", "oom_kill")] if own is not None else []
    if (older := _memory_v1(proc)) is not None:
        candidates.append((older / "memory.oom_control", "oom_kill"))
    candidates.append((proc / "vmstat", "oom_kill"))
    for path, name in candidates:
        try:
            if counter(path.read_text(), name) is not None:
                return path, name
        except OSError:
            continue
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
