"""Whether the kernel's OOM killer was at work: its count of kills in this process's control group."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_LONGEST: Final = 4096


class OomKills:
    """Reads the count of OOM kills; always 0 where the system does not tell."""

    def __init__(self) -> None:
        self._fd: int | None = _open()

    def count(self) -> int:
        """Return how many processes of this control group the OOM killer has killed."""
        if self._fd is None:
            return 0
        for line in os.pread(self._fd, _LONGEST, 0).splitlines():
            name, _, number = line.partition(b" ")
            if name == b"oom_kill":
                return int(number)
        return 0

    def close(self) -> None:
        """Read no more."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _open() -> int | None:
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        return None
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            base, name = _ROOT, "memory.events"
        elif "memory" in controllers.split(","):
            base, name = _ROOT / "memory", "memory.oom_control"
        else:
            continue
        # In a container the group's path is often the host's, and what is mounted is the group itself.
        for place in (base / group.lstrip("/") / name, base / name):
            try:
                return os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
    return None
