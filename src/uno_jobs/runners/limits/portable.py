"""What a process group uses, through psutil: for systems without /proc."""

from __future__ import annotations

import os
from typing import Final

import psutil

from uno_jobs.runners.limits.group import Usage

_GONE: Final = (psutil.NoSuchProcess, psutil.AccessDenied)


class PortableGroup:
    """The processes of one group; each look goes through all processes of the system."""

    def __init__(self, pgid: int) -> None:
        self._pgid = pgid
        self._by_pid: dict[int, tuple[float, float]] = {}
        """By process id: the time of its start, and its CPU time when last seen."""
        self._cpu = 0.0
        self._measure()
        self._cpu = 0.0

    def usage(self) -> Usage:
        """Return what the group uses now; all zero once it is gone."""
        memory, count = self._measure()
        return Usage(memory, self._cpu, count)

    def exact_memory(self) -> int | None:
        """Return None: shared pages cannot be told apart."""
        return None

    def _measure(self) -> tuple[int, int]:
        total = count = 0
        seen: dict[int, tuple[float, float]] = {}
        for pid in psutil.pids():
            try:
                if os.getpgid(pid) != self._pgid:
                    continue
                process = psutil.Process(pid)
                with process.oneshot():
                    started = process.create_time()
                    total += process.memory_info().rss
                    times = process.cpu_times()
            except (OSError, *_GONE):
                continue
            count += 1
            cpu = times.user + times.system
            before_start, before = self._by_pid.get(pid, (started, 0.0))
            self._cpu += max(0.0, cpu - (before if before_start == started else 0.0))
            seen[pid] = (started, cpu)
        self._by_pid = seen
        return total, count
