"""One child process as its worker sees it: started, spoken with, ended by force, reaped with its whole group."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.runners.child.protocol import ENVIRONMENT, MAX_READ, ChildConfig, Lines, encode
from uno_jobs.supervisor import child as orphans
from uno_jobs.worker.config import ENVIRONMENT as WORKER_ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("uno_jobs.worker")

SILENT: Final = 2.0
"""Seconds that a child whose socket is closed has for ending."""


class ChildProcess:
    """A child process, from its start to its end. Belongs to the event loop that runs when it is started."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        ours: socket.socket,
        on_dead: Callable[[ChildProcess], None],
        announce: Callable[[dict[str, Any]], None],
    ) -> None:
        self.pid = popen.pid
        self.jobs = 0
        """How many jobs it has been given."""
        self.memory = 0
        """How many bytes were resident before its first job; 0 where that is not known."""
        self.worn = False
        """Whether it must not be given another."""
        self.dying = False
        """Whether it has been told to end."""
        self.status: int | None = None
        """Its exit status, negative for a signal, once it is dead; None if somebody else took it."""
        loop = self._loop = asyncio.get_running_loop()
        self.dead: asyncio.Future[None] = loop.create_future()
        self.heard: Callable[[dict[str, Any]], None] | None = None
        """Called with each message; without it what is said is not for anybody."""
        self._popen = popen
        self._socket = ours
        self._lines = Lines()
        self._out = bytearray()
        self._on_dead = on_dead
        self._announce = announce
        self._killer: asyncio.TimerHandle | None = None
        loop.add_reader(ours.fileno(), self._on_readable)
        self._pidfd = _pidfd(self.pid)
        if self._pidfd is not None:
            loop.add_reader(self._pidfd, self._on_death)
        else:
            threading.Thread(target=self._watch, name=f"uno-jobs-child-{self.pid}", daemon=True).start()

    @classmethod
    def start(
        cls,
        config: ChildConfig,
        on_dead: Callable[[ChildProcess], None],
        announce: Callable[[dict[str, Any]], None],
    ) -> ChildProcess:
        """Start a child. From the main thread: it is killed when the thread that started it ends.

        Args:
            config: What it is told.
            on_dead: Called once it is reaped.
            announce: Told of its start and, before its id is free for others, of its end.

        Raises:
            OSError: The system would not.
        """
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            told = dataclasses.replace(config, fd=theirs.fileno())
            environment = {name: value for name, value in os.environ.items() if name != WORKER_ENVIRONMENT}
            popen = subprocess.Popen(
                orphans.command("uno_jobs.runners.child"),
                env={**environment, ENVIRONMENT: told.to_json()},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        announce({"event": "child", "pid": popen.pid})
        return cls(popen, ours, on_dead, announce)

    # --- speaking ---

    def send(self, message: dict[str, Any]) -> None:
        """Say something. A child that does not hear it any more is noticed by its death."""
        if self._socket.fileno() < 0:
            return
        data = encode(message)
        if self._out:
            self._out += data
            return
        sent = self._send(data)
        if sent < len(data):
            self._out += data[sent:]
            self._loop.add_writer(self._socket.fileno(), self._on_writable)

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _on_writable(self) -> None:
        del self._out[: self._send(self._out)]
        if not self._out:
            self._loop.remove_writer(self._socket.fileno())

    def _on_readable(self) -> None:
        if not self._read():
            # Nothing more will be heard. It is dead or about to be; one that goes on is of no use.
            self._loop.remove_reader(self._socket.fileno())
            if not self.dying:
                self._kill_in(SILENT)

    def _read(self) -> bool:
        """Take in what has arrived; False at its end."""
        try:
            data = self._socket.recv(MAX_READ)
        except BlockingIOError:
            return True
        except OSError:
            return False
        try:
            messages = self._lines.feed(data) if data else []
        except ValueError:
            logger.error("a child process said what is no message", extra={"pid": self.pid})
            return False
        for message in messages:
            if self.heard is not None:
                self.heard(message)
        return bool(data)

    def _read_rest(self) -> None:
        """Take in what it said before it died. Whoever else holds its end of the socket is not waited for."""
        while self._socket.fileno() >= 0:
            try:
                if not self._socket.recv(1, socket.MSG_PEEK) or not self._read():
                    return
            except OSError:
                return

    # --- ending ---

    def retire(self) -> None:
        """Let it end by itself, and kill it with its group if it does not."""
        self.dying = True
        self._close_socket()
        self._kill_in(SILENT)

    def terminate(self, grace: float) -> None:
        """Tell it and its group to stop, and kill them in ``grace`` seconds at the latest."""
        if not self.dying:
            self.dying = True
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # it may have been stopped
        self._kill_in(grace)

    def kill(self) -> None:
        """Kill it and its group."""
        self.dying = True
        self._signal(signal.SIGKILL)

    def _kill_in(self, seconds: float) -> None:
        due = self._loop.time() + seconds
        if self._killer is not None:
            if self._killer.when() <= due:
                return
            self._killer.cancel()
        if not self.dead.done():
            self._killer = self._loop.call_at(due, self.kill)

    def _signal(self, signal_: signal.Signals) -> None:
        # Not reaped yet, so that the ids are still its own. It may have left its group.
        if not self.dead.done():
            for send in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    send(self.pid, signal_)

    def _on_death(self) -> None:
        if self.dead.done():
            return
        self._read_rest()
        # What it started must not outlive it. Its id is not free for anybody else before it is reaped.
        self._signal(signal.SIGKILL)
        self.dying = True
        self._announce({"event": "child_ended", "pid": self.pid})
        self.status = self._reap()
        if self._killer is not None:
            self._killer.cancel()
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._close_socket()
        self.dead.set_result(None)
        self._on_dead(self)

    def _reap(self) -> int | None:
        if self._popen.returncode is None:
            try:
                status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            except ChildProcessError:
                self._popen.returncode = 0  # or it would be waited for once more
                return None
            self._popen.returncode = status
        return self._popen.returncode

    def _watch(self) -> None:
        """Wait for the end on a thread, where there is no pidfd."""
        if sys.platform == "darwin":
            self._popen.wait()
        else:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the event loop may be closed
            self._loop.call_soon_threadsafe(self._on_death)

    def _close_socket(self) -> None:
        fd = self._socket.fileno()
        if fd >= 0:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            self._socket.close()


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
