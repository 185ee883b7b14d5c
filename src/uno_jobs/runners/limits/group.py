"""What a process group uses, read from /proc: memory of all its processes, CPU time of all that ran in it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC: Final = Path("/proc")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
TICK: Final = 1.0 / os.sysconf("SC_CLK_TCK")

FAMILY_INTERVAL: Final = 0.04
"""Seconds between two looks for new children of the processes that are known."""
SCAN_INTERVAL: Final = 1.0
"""Seconds, at least, between two looks through all processes for members whose parents are gone."""
SCAN_SHARE: Final = 0.002
"""The share of a core that looking through all processes may cost."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process group uses: bytes of resident memory now, seconds of CPU since it was first measured."""

    memory: int
    cpu: float
    processes: int


class Group(Protocol):
    """A process group that can be measured."""

    def usage(self) -> Usage:
        """Return what it uses now; all zero once it is gone."""
        ...

    def exact_memory(self) -> int | None:
        """Return its memory with shared pages counted once, in bytes; None where that cannot be had."""
        ...


class _Stat(NamedTuple):
    parent: int
    group: int
    cpu: float
    """Its own; at the granularity of clock ticks."""
    children_cpu: float
    """Of children that are gone and were waited for."""
    started: int
    size: int
    memory: int


class ProcGroup:
    """The processes of one group, by /proc.

    Members are found through their parents, which is cheap; those whose parents are gone by a look through all
    processes from time to time. A process that leaves the group is no longer counted.
    """

    def __init__(self, pgid: int, *, proc: Path = PROC) -> None:
        self._pgid = pgid
        self._proc = str(proc)
        self._members: dict[int, int] = {}
        """By process id, the time of its start, which tells it from a later one of the same id."""
        self._next_scan = 0.0
        self._next_look = 0.0
        self._seen = 0.0
        self._cpu = 0.0
        self._scan(time.monotonic())
        self._seen = self._sum(self._stats())

    def usage(self) -> Usage:
        """Return what the group uses now; all zero once it is gone."""
        now = time.monotonic()
        if now >= self._next_scan:
            self._scan(now)
        elif now >= self._next_look:
            self._look(now)
        stats = self._stats()
        cpu = self._sum(stats)
        # It may shrink: a child that nobody waits for takes its time with it. That was counted when it was used.
        self._cpu += max(0.0, cpu - self._seen)
        self._seen = cpu
        memory = sum(stat.memory for _, stat in _own_memory(stats))
        return Usage(memory, self._cpu, len(stats))

    def exact_memory(self) -> int | None:
        """Return the proportional set size of all members, in bytes."""
        total = 0
        for pid, _ in _own_memory(self._stats()):
            text = _read(f"{self._proc}/{pid}/smaps_rollup")
            if text is None:
                return None
            for line in text.splitlines():
                if line.startswith(b"Pss:"):
                    total += int(line.split()[1]) * 1024
                    break
        return total

    def _stats(self) -> dict[int, _Stat]:
        stats: dict[int, _Stat] = {}
        for pid, started in list(self._members.items()):
            stat = self._stat(pid)
            if stat is None or stat.started != started or stat.group != self._pgid:
                del self._members[pid]
            else:
                stats[pid] = stat
        return stats

    def _sum(self, stats: dict[int, _Stat]) -> float:
        return sum(_cpu_time(pid, stat) + stat.children_cpu for pid, stat in stats.items())

    def _look(self, now: float) -> None:
        """Find children of members."""
        self._next_look = now + FAMILY_INTERVAL
        todo = list(self._members)
        while todo:
            todo.extend(pid for pid in self._children(todo.pop()) if pid not in self._members and self._add(pid))

    def _scan(self, now: float) -> None:
        """Find members among all processes."""
        for name in os.listdir(self._proc):  # noqa: PTH208 - many, and often
            if name.isdigit() and int(name) not in self._members:
                try:
                    group = os.getpgid(int(name))
                except OSError:
                    continue
                if group == self._pgid:
                    self._add(int(name))
        end = time.monotonic()
        self._next_scan = end + max(SCAN_INTERVAL, (end - now) / SCAN_SHARE)
        self._next_look = end + FAMILY_INTERVAL

    def _add(self, pid: int) -> bool:
        stat = self._stat(pid)
        if stat is None or stat.group != self._pgid:
            return False
        self._members[pid] = stat.started
        return True

    def _children(self, pid: int) -> Iterator[int]:
        folder = f"{self._proc}/{pid}/task"
        try:
            threads = os.listdir(folder)  # noqa: PTH208 - as above
        except OSError:
            return
        for thread in threads:
            # A kernel without this file leaves all to the look through all processes.
            for child in (_read(f"{folder}/{thread}/children") or b"").split():
                yield int(child)

    def _stat(self, pid: int) -> _Stat | None:
        text = _read(f"{self._proc}/{pid}/stat")
        if text is None:
            return None
        # The name, in parentheses, may hold anything; after it: state, parent, group, …
        values = text[text.rindex(b")") + 2 :].split()
        return _Stat(
            parent=int(values[1]),
            group=int(values[2]),
            cpu=(int(values[11]) + int(values[12])) * TICK,
            children_cpu=(int(values[13]) + int(values[14])) * TICK,
            started=int(values[19]),
            size=int(values[20]),
            memory=int(values[21]) * PAGE,
        )


def peak_memory(pid: int | str = "self", *, proc: Path = PROC) -> int | None:
    """Return the most resident memory that a process had at once, in bytes, since its peak was last reset.

    None where /proc does not tell, or the process is gone.
    """
    return status_bytes(pid, b"VmHWM", proc=proc)


def status_bytes(pid: int | str, field: bytes, *, proc: Path = PROC) -> int | None:
    """Return a size from a process's ``status``, in bytes."""
    text = _read(f"{proc}/{pid}/status")
    for line in (text or b"").splitlines():
        if line.startswith(field + b":"):
            return int(line.split()[1]) * 1024
    return None


def _own_memory(stats: dict[int, _Stat]) -> Iterator[tuple[int, _Stat]]:
    """Leave out a process that still has its parent's memory, as between ``vfork`` and ``exec``."""
    for pid, stat in stats.items():
        parent = stats.get(stat.parent)
        if parent is None or (parent.size, parent.memory) != (stat.size, stat.memory):
            yield pid, stat


def _cpu_time(pid: int, stat: _Stat) -> float:
    """Return the CPU time of a process and all its threads, by its clock: to the nanosecond, where stat has ticks."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return stat.cpu


def _read(path: str) -> bytes | None:
    """Return a file of a process; None when the process, or the file, is not there or not for us."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(file, 65536)
    except OSError:
        return None
    finally:
        os.close(file)
