"""Limits as the child process helps to hold them: no allocation far beyond, and the peak of each job."""

from __future__ import annotations

import os
import re
import resource
import sys
from typing import TYPE_CHECKING, Final

from uno_jobs.errors import MemoryLimitExceeded
from uno_jobs.runners.limits.group import PROC, status_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from uno_jobs.runners.limits.limits import Limits

MEBIBYTE: Final = 1024 * 1024
_HIGHEST: Final = re.compile(rb"VmHWM:\s+(\d+) kB")
STACK: Final = 8 * MEBIBYTE
"""What a thread reserves for its stack and seldom uses; libraries start one for each core."""


class Bounds:
    """Belongs to one child process: ``apply`` before each job, ``lift`` after it, ``prepare`` when nobody waits."""

    def __init__(self, *, proc: Path = PROC) -> None:
        self._proc = proc
        # Kept open: before and after each job. Of this process, also in whatever it forks.
        self._status = _open(proc / "self" / "status", os.O_RDONLY)
        self._clear = _open(proc / "self" / "clear_refs", os.O_WRONLY)
        self._before: tuple[int, int] | None = None
        self._first = True
        self._fresh = False
        """Whether the process's peak is that of this job alone."""
        self._prepared = False

    def prepare(self) -> None:
        """Forget the peak of the jobs so far, so that the next one need not wait for that."""
        self._prepared = self._reset_peak()

    def apply(self, limits: Limits) -> None:
        """Begin a job: forget the peak of earlier ones, and refuse allocations that lead far over the limit."""
        self._fresh = self._prepared or self._reset_peak() or self._first
        self._prepared = False
        self._first = False
        if limits.max_memory is not None:
            self._before = self._restrict(limits.max_memory)

    def lift(self) -> int | None:
        """End a job; returns the peak of this process's memory in it, in bytes, where it can be told."""
        if self._before is not None:
            resource.setrlimit(resource.RLIMIT_DATA, self._before)
            self._before = None
        if not self._fresh:
            return None
        peak = self._peak()
        if peak is None:
            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return peak

    def _peak(self) -> int | None:
        if self._status is None:
            return None
        found = _HIGHEST.search(os.pread(self._status, 8192, 0))
        return int(found[1]) * 1024 if found else None

    def _reset_peak(self) -> bool:
        if self._clear is None:
            return False
        try:
            os.write(self._clear, b"5")
        except OSError:
            return False
        return True

    def _restrict(self, max_memory: int) -> tuple[int, int] | None:
        size, resident = (status_bytes("self", field, proc=self._proc) for field in (b"VmData", b"VmRSS"))
        if size is None or resident is None:
            return None
        before = soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = size + max(0, max_memory - resident) + slack(max_memory)
        for limit in (soft, hard):
            if limit != resource.RLIM_INFINITY:
                most = min(most, limit)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
        return before


def _open(path: Path, flags: int) -> int | None:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError:
        return None


def slack(max_memory: int) -> int:
    """Return how much more than ``max_memory`` may be reserved, since what is reserved is not always used."""
    return max(64 * MEBIBYTE, max_memory // 4) + STACK * (os.cpu_count() or 1)


def refused(error: BaseException, limits: Limits, peak: int | None) -> BaseException:
    """Return what a job's error is called: under a memory limit, a ``MemoryError`` is ``MemoryLimitExceeded``."""
    if limits.max_memory is None or not isinstance(error, MemoryError) or isinstance(error, MemoryLimitExceeded):
        return error
    exceeded = MemoryLimitExceeded("an allocation was refused", limit=limits.max_memory, peak=peak)
    exceeded.__cause__ = error
    return exceeded.with_traceback(error.__traceback__)
