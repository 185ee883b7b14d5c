"""What a job may use at most, and whether this system can hold it to that."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uno_jobs.runners.limits.group import PROC, ProcGroup
from uno_jobs.runners.limits.portable import PortableGroup

if TYPE_CHECKING:
    from pathlib import Path

    from uno_jobs.runners.limits.group import Group
    from uno_jobs.tasks.options import TaskOptions


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one job may use: ``max_memory`` bytes, ``cpu_limit`` cores; None: as much as there is."""

    max_memory: int | None = None
    cpu_limit: float | None = None

    @classmethod
    def of(cls, options: TaskOptions) -> Limits:
        """Return the limits of a task."""
        return cls(options.max_memory, options.cpu_limit)

    def __bool__(self) -> bool:
        return self.max_memory is not None or self.cpu_limit is not None


def measure(pgid: int, *, proc: Path = PROC) -> Group:
    """Return what measures a process group here: from /proc, and through psutil where there is none."""
    return ProcGroup(pgid, proc=proc) if (proc / "self" / "stat").exists() else PortableGroup(pgid)


def unsupported(limits: Limits, *, proc: Path = PROC) -> str | None:
    """Say why this system cannot hold a job to its limits, or return None: it can.

    Args:
        limits: The limits.
        proc: Where the process file system is mounted.
    """
    if limits.cpu_limit is not None and not hasattr(signal, "SIGSTOP"):
        return f"cpu_limit={limits.cpu_limit:g}: processes cannot be stopped and continued on this system"
    if not limits:
        return None
    names = [name for name in ("max_memory", "cpu_limit") if getattr(limits, name) is not None]
    reason = _unmeasurable(proc)
    return None if reason is None else f"{' and '.join(names)}: {reason}"


def _unmeasurable(proc: Path) -> str | None:
    if not hasattr(os, "killpg"):
        return "there are no process groups on this system"
    own = proc / "self"
    if own.is_symlink() and own.readlink().name != str(os.getpid()):
        return f"{proc} shows the processes of another PID namespace: mount one of this namespace"
    if not proc.joinpath("self", "stat").exists() and proc.exists():
        return f"{proc} is there, but is not a process file system with this process in it"
    try:
        usage = measure(os.getpgrp(), proc=proc).usage()
    except OSError as error:
        return f"processes cannot be measured here ({error})"
    if usage.processes == 0 or usage.memory == 0:
        return "the memory and CPU time of processes cannot be read here (no /proc, and psutil sees nothing)"
    return None
