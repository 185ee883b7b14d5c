"""Child processes: started in groups of their own, and reaped as they end, orphans too where we are process 1."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Child:
    """A child process. ``ended`` gives its exit status, negative for the signal that killed it."""

    def __init__(self, popen: subprocess.Popen[bytes], ended: asyncio.Future[int]) -> None:
        self.popen = popen
        self.ended = ended

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's."""
        return self.popen.pid

    def send(self, signal_: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self.ended.done():
            # Not reaped yet, so the id is still its own.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal_)

    def is_stopped(self) -> bool:
        """Return whether it stands still (SIGSTOP); always false where there is no /proc."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:  # noqa: PTH123 - every second, and pathlib is not needed else
                return file.read().rpartition(b")")[2].split()[0] == b"T"
        except OSError:
            return False


class Children:
    """All child processes of this one that it wants to know of. Use inside the event loop that runs."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._children: dict[int, Child] = {}

    def __enter__(self) -> Children:
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_signal_handler(signal.SIGCHLD)

    def start(self, command: Sequence[str], environment: Mapping[str, str], *, pass_fd: int) -> Child:
        """Start a process in a group of its own: a Ctrl-C in the terminal then reaches it through us alone.

        Raises:
            OSError: The system would not.
        """
        popen = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, pass_fds=(pass_fd,), process_group=0
        )
        child = Child(popen, self._loop.create_future())
        self._children[child.pid] = child
        return child

    def _reap(self) -> None:
        for pid in list(self._children):
            if (status := _peek(pid)) is None:
                continue
            # What a worker started must not go on with a job that others will run now, also when it handed that back
            # and ended well. Its id is not free for anybody else before it is reaped.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            self._end(pid, status if sys.platform == "darwin" else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        while os.getpid() == 1:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._children:
                self._end(pid, os.waitstatus_to_exitcode(status))

    def _end(self, pid: int, status: int) -> None:
        child = self._children.pop(pid)
        child.popen.returncode = status
        if not child.ended.done():
            child.ended.set_result(status)


def _peek(pid: int) -> int | None:
    """Return how a child ended, None while it lives; leaves it to be reaped where the system can do that."""
    if sys.platform == "darwin":
        ended, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
