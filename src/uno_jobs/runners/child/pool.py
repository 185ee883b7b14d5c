"""The children of one worker: started ahead of need, handed out one job at a time, replaced when used up or killed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.errors import UnoJobsError
from uno_jobs.runners.child.process import ChildProcess
from uno_jobs.runners.limits.group import status_bytes
from uno_jobs.supervisor.backoff import Backoff
from uno_jobs.supervisor.slot import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.runners.child.protocol import ChildConfig

logger = logging.getLogger("uno_jobs.worker")

START_LIMIT: Final = 120.0
"""Seconds that a child has for importing the application."""


class NoChild(UnoJobsError):
    """No child process can be had; the message says why."""


def default_size() -> int:
    """Return as many children as there are CPUs for this process, at least two."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return max(2, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


class Pool:
    """Child processes, at most ``size`` at work at once.

    With ``warm`` one waits ready at any time, as far as ``size`` allows; without, they are started only for who asks,
    and go when nobody does. While one is being killed its replacement already starts.

    Args:
        config: What each child is told.
        size: Most jobs at once.
        max_jobs: A child that has been given so many is replaced.
        warm: Whether to start children ahead of need.
        freed: Called when a child becomes free.
        announce: Told of children that start and end, as a supervisor is.
    """

    def __init__(
        self,
        config: ChildConfig,
        *,
        size: int,
        max_jobs: int,
        warm: bool,
        freed: Callable[[], None],
        announce: Callable[[dict[str, Any]], None],
    ) -> None:
        self._config = config
        self._size = size
        self._max_jobs = max_jobs
        self._warm = warm
        self._freed = freed
        self._announce = announce
        self._starting: set[ChildProcess] = set()
        self._idle: list[ChildProcess] = []
        self._taken: set[ChildProcess] = set()
        self._leaving: set[ChildProcess] = set()
        self._waiters: deque[asyncio.Future[ChildProcess]] = deque()
        self._expected = 0
        self._backoff = Backoff()
        self._pause: asyncio.TimerHandle | None = None
        self._open = False
        self._longest_grace: float | None = None

    @property
    def free(self) -> int:
        """How many jobs could start at once."""
        if self._waiters:
            return 0
        return max(0, min(len(self._idle), self._size - len(self._taken)) - self._expected)

    def open(self) -> None:
        """Begin to start children."""
        self._open = True
        self._refill()

    def expect(self) -> None:
        """A call of ``take`` is about to come: what it will take is not free any more."""
        self._expected += 1

    async def take(self) -> ChildProcess:
        """Return a child that is free; give it back with ``release``. To be announced by ``expect``.

        Raises:
            NoChild: None could be started, or the pool is closed.
        """
        self._expected -= 1
        if not self._waiters and self._idle and len(self._taken) < self._size:
            return self._hand_out()
        if not self._open:
            raise NoChild("its worker was shut down")
        waiter: asyncio.Future[ChildProcess] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._refill()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def release(self, child: ChildProcess) -> None:
        """Take a child back whose job is over."""
        self._taken.discard(child)
        child.heard = None
        if not child.dying:
            self._backoff.reset()
            if child.worn or child.jobs >= self._max_jobs or not self._open:
                self._retire(child)
            else:
                self._idle.append(child)
        self._offer()

    def terminate(self, child: ChildProcess, grace: float) -> None:
        """Tell a child that was taken to stop, and kill it with its group in ``grace`` seconds at the latest."""
        child.terminate(grace if self._longest_grace is None else min(grace, self._longest_grace))
        self._refill()

    def drain(self) -> None:
        """Start no more children, and let go of those that have nothing to do."""
        self._open = False
        for child in [*self._idle, *self._starting]:
            self._retire(child)
        self._give_up("its worker was shut down")

    def hasten(self, seconds: float) -> None:
        """Give children that have been told to stop, or will be, no longer than so many seconds."""
        self._longest_grace = seconds
        for child in self._taken:
            if child.dying:
                child.terminate(seconds)

    async def close(self, seconds: float) -> None:
        """Kill what is left, and wait for its end, at most so many seconds."""
        self.drain()
        if self._pause is not None:
            self._pause.cancel()
        left = [*self._taken, *self._leaving]
        for child in left:
            child.kill()
        if left:
            _, alive = await asyncio.wait([child.dead for child in left], timeout=seconds)
            if alive:
                logger.error("child processes do not die", extra={"processes": len(alive)})

    # --- what happens of itself ---

    def _hand_out(self) -> ChildProcess:
        child = self._idle.pop()
        self._taken.add(child)
        child.jobs += 1
        self._refill()
        return child

    def _offer(self) -> None:
        """Give free children to those who wait, and say so when some are left."""
        while self._waiters and self._idle and len(self._taken) < self._size:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(self._hand_out())
        if not self._warm:
            for child in self._idle.copy():
                self._retire(child)
        self._refill()
        if self.free > 0:
            self._freed()

    def _refill(self) -> None:
        """Start as many children as are missing: for those who wait, and ahead of need as many as are at work."""
        if not self._open or self._pause is not None:
            return
        busy = sum(not child.dying for child in self._taken)
        ahead = max(1, busy) if self._warm and not self._idle else 0
        missing = max(len(self._waiters), ahead) - len(self._starting)
        room = self._size - busy - len(self._idle) - len(self._starting)
        for _ in range(min(missing, room)):
            self._start()
            if self._pause is not None:
                return

    def _start(self) -> None:
        try:
            child = ChildProcess.start(self._config, self._on_dead, self._announce)
        except OSError as error:
            self._failed(f"a child process cannot be started: {error}")
            return
        self._starting.add(child)
        limit = asyncio.get_running_loop().call_later(START_LIMIT, child.kill)

        def hear(message: dict[str, Any]) -> None:
            limit.cancel()
            self._starting.discard(child)
            if message["say"] == "ready":
                child.heard = None
                child.memory = status_bytes(child.pid, b"VmRSS") or 0
                self._idle.append(child)
                self._offer()
            else:
                self._leaving.add(child)
                child.retire()
                self._failed(f"a child process cannot import the application: {message['error']}")

        child.heard = hear

    def _retire(self, child: ChildProcess) -> None:
        self._starting.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        self._leaving.add(child)
        child.retire()

    def _on_dead(self, child: ChildProcess) -> None:
        self._leaving.discard(child)
        if child in self._idle:
            self._idle.remove(child)
            self._failed(f"a child process that had nothing to do died: {how(child)}")
        elif child in self._starting:
            self._starting.discard(child)
            self._failed(f"a child process died while it imported the application: {how(child)}")
        self._refill()

    def _failed(self, reason: str) -> None:
        """Children do not live: wait before the next, and keep nobody waiting."""
        logger.error(reason)
        if self._pause is None and self._open:
            wait = self._backoff.next(0.0)
            self._pause = asyncio.get_running_loop().call_later(wait, self._resume)
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(NoChild(reason))

    def _resume(self) -> None:
        self._pause = None
        self._refill()


def how(child: ChildProcess) -> str:
    """Say in words how a child died."""
    return "its process ended" if child.status is None else describe(child.status)
