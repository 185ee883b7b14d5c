"""Control groups (cgroup v2), where the worker's own is delegated to it: the kernel then holds the limits.

As systemd documents it for ``Delegate=yes``: a group that hands controllers down may not hold processes itself, so ours
move into a leaf, and each limited child gets a leaf beside it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from uno_jobs.errors import UnoJobsError
from uno_jobs.runners.limits.group import PROC

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.runners.limits.limits import Limits

MAIN: Final = "uno-jobs"
"""The leaf that holds the supervisor and its workers."""
CHILD: Final = "uno-jobs-"
"""With a process id: the leaf of one child."""
PERIOD: Final = 100_000
"""Microseconds over which the kernel counts CPU time."""
SMALLEST_QUOTA: Final = 1_000
"""Microseconds of a period; the kernel takes no less."""
ROUNDS: Final = 10
"""How often to move the processes that have come meanwhile."""


class CgroupUnavailable(UnoJobsError):
    """Control groups cannot be used here; the message says why."""


class Cgroupfs:
    """The few things that are done to a control group's files, each as the kernel wants it."""

    def make(self, path: Path) -> None:
        """Make a group."""
        path.mkdir(exist_ok=True)

    def remove(self, path: Path) -> None:
        """Remove an empty group; its files go with it."""
        path.rmdir()

    def read(self, path: Path) -> str:
        """Return a file's text."""
        return path.read_text()

    def write(self, path: Path, value: str) -> None:
        """Write a file in one call, and never make one."""
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, value.encode())
        finally:
            os.close(file)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides whether the own group may be used; the tests put their own in its place."""

    proc: Path = PROC
    systemd: Path = Path("/run/systemd/system")
    """There while systemd runs, to which then all groups belong that it has not delegated."""
    user: int | None = None
    files: Cgroupfs = field(default_factory=Cgroupfs)

    def delegated(self, path: Path) -> bool:
        """Say whether systemd marked a group as delegated."""
        for name in ("user.delegate", "trusted.delegate"):
            with contextlib.suppress(OSError, AttributeError):
                if os.getxattr(path, name) == b"1":
                    return True
        return False


class CgroupTree:
    """A delegated control group, ready to hold limited children. Made by ``claim``."""

    def __init__(self, path: Path, controllers: frozenset[str], files: Cgroupfs) -> None:
        self.path = path
        self.controllers = controllers
        """Which of ``cpu`` and ``memory`` the kernel holds here."""
        self._files = files
        self._home = path / MAIN

    @classmethod
    def claim(cls, is_ours: Callable[[int], bool], around: Surroundings | None = None) -> CgroupTree:
        """Make the own control group ready.

        Args:
            is_ours: Whether a process belongs to this supervisor; others are never moved.
            around: Where to look.

        Raises:
            CgroupUnavailable: It is not there, not delegated, or does not let us.
        """
        around = around or Surroundings()
        files = around.files
        path = own_cgroup(around.proc)
        if path is None:
            raise CgroupUnavailable("this process is in no control group of version 2 that is mounted here")
        if path.name == MAIN:
            path = path.parent  # a worker that was started after an earlier one had done all this
        try:
            offered = frozenset(files.read(path / "cgroup.controllers").split()) & {"cpu", "memory"}
            if "cpu" not in offered:
                raise CgroupUnavailable(f"{path} does not offer the cpu controller")
            _check_delegated(path, around)
            tree = cls(path, offered, files)
            tree._settle(is_ours)
        except OSError as error:
            raise CgroupUnavailable(f"{path} is not delegated to this process ({error.strerror})") from error
        return tree

    def child(self, pid: int) -> ChildCgroup:
        """Make a control group for one child process, and put it in.

        Raises:
            OSError: The kernel refused.
        """
        path = self.path / f"{CHILD}{pid}"
        self._files.make(path)
        try:
            self._files.write(path / "cgroup.procs", str(pid))
        except OSError:
            self._files.remove(path)
            raise
        return ChildCgroup(path, self._home, self.controllers, self._files)

    def _settle(self, is_ours: Callable[[int], bool]) -> None:
        files, path = self._files, self.path
        # Only the root of all groups has no type, and it alone may hold processes beside groups.
        if (path / "cgroup.type").exists():
            if files.read(path / "cgroup.type").strip() != "domain":
                raise CgroupUnavailable(f"{path} is for threads, not for processes")
            pids = self._processes()
            if pids and not all(map(is_ours, pids)):
                raise CgroupUnavailable(f"{path} also holds processes that are not of this supervisor")
            files.make(self._home)
            for _ in range(ROUNDS):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        files.write(self._home / "cgroup.procs", str(pid))
                pids = [pid for pid in self._processes() if is_ours(pid)]
                if not pids:
                    break
        else:
            self._home = path
        for name in sorted(self.controllers):
            files.write(path / "cgroup.subtree_control", f"+{name}")

    def _processes(self) -> list[int]:
        return [int(pid) for pid in self._files.read(self.path / "cgroup.procs").split()]


class ChildCgroup:
    """The control group of one child process, for as long as it lives."""

    def __init__(self, path: Path, home: Path, controllers: frozenset[str], files: Cgroupfs) -> None:
        self.path = path
        self._home = home
        self._controllers = controllers
        self._files = files
        self._sealed: int | None = None

    def hold(self, limits: Limits) -> None:
        """Write the limits of the next job.

        Raises:
            OSError: The kernel refused.
        """
        if "memory" in self._controllers:
            for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                # Not every kernel has them: no swap accounting, or before 4.19.
                with contextlib.suppress(FileNotFoundError):
                    self._files.write(self.path / name, value if limits.max_memory is not None else _without(name))
            self._files.write(self.path / "memory.max", str(limits.max_memory or "max"))
        quota = "max"
        if limits.cpu_limit is not None:
            quota = str(max(SMALLEST_QUOTA, round(limits.cpu_limit * PERIOD)))
        self._files.write(self.path / "cpu.max", f"{quota} {PERIOD}")

    def oom_kills(self) -> int:
        """Return how many of its processes the kernel has killed for want of memory."""
        if self._sealed is not None:
            return self._sealed
        if "memory" not in self._controllers:
            return 0
        try:
            return counter(self._files.read(self.path / "memory.events"), "oom_kill") or 0
        except OSError:
            return 0

    def seal(self) -> None:
        """Keep what was counted, since the group is about to be removed."""
        self._sealed = self.oom_kills()

    def remove(self) -> None:
        """Move out what still runs in it, and remove it.

        Raises:
            OSError: Processes came into it faster than they could be moved.
        """
        for rounds_left in reversed(range(ROUNDS)):
            try:
                for pid in self._files.read(self.path / "cgroup.procs").split():
                    with contextlib.suppress(ProcessLookupError):
                        self._files.write(self._home / "cgroup.procs", pid)
                self._files.remove(self.path)
            except FileNotFoundError:
                return
            except OSError:
                if not rounds_left:
                    raise
            else:
                return


def own_cgroup(proc: Path = PROC, pid: int | str = "self") -> Path | None:
    """Return the folder of a process's control group of version 2; None where there is none, or it is not mounted."""
    try:
        groups = (proc / str(pid) / "cgroup").read_text()
        mounts = (proc / "self" / "mountinfo").read_text()
    except OSError:
        return None
    for line in groups.splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            return mounted(mounts, path, "cgroup2")
    return None


def mounted(mounts: str, path: str, kind: str, controller: str | None = None) -> Path | None:
    """Return where a control group is to be found.

    Args:
        mounts: The text of ``mountinfo``.
        path: The group, as ``/proc/PID/cgroup`` names it.
        kind: The file system, ``cgroup2`` or ``cgroup``.
        controller: Of the latter, which controller it must have.
    """
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        words, (type_, _, options) = before.split(), after.split(" ", 2)
        root, point = (_unescaped(word) for word in words[3:5])
        if type_ != kind or (controller is not None and controller not in options.split(",")):
            continue
        # Inside a container only a part of the tree may be mounted.
        inside = path if root == "/" else path.removeprefix(root)
        if (root != "/" and inside == path) or ".." in inside.split("/"):
            continue
        return Path(point) / inside.lstrip("/")
    return None


def counter(text: str, name: str) -> int | None:
    """Return a number from a file of lines "name number"."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return None


def _check_delegated(path: Path, around: Surroundings) -> None:
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        if not os.access(path / name, os.W_OK):
            raise CgroupUnavailable(f"{path / name} is not writable: the group is not delegated")
    # To root everything is writable, and yet systemd's.
    user = os.geteuid() if around.user is None else around.user
    if user == 0 and around.systemd.exists() and not around.delegated(path):
        raise CgroupUnavailable(f"{path} belongs to systemd: give the service Delegate=yes")


def _without(name: str) -> str:
    return {"memory.swap.max": "max", "memory.oom.group": "0"}[name]


def _unescaped(word: str) -> str:
    """Return a field of ``mountinfo``, which writes spaces and the like in octal."""
    return word.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
