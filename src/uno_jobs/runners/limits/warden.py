"""The warden: watches one job's process group from the worker, and stops or reports it when it uses too much."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING, Final

from uno_jobs.runners.limits.budget import CpuBudget
from uno_jobs.runners.limits.group import peak_memory
from uno_jobs.runners.limits.limits import measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.runners.limits.group import Group, Usage
    from uno_jobs.runners.limits.limits import Limits

logger = logging.getLogger("uno_jobs.runners")

SHORTEST: Final = 0.005
"""Seconds between two measurements when a limit is near."""
LONGEST: Final = 0.05
"""Seconds between two measurements when it is far."""
FIRST_NOTE: Final = 0.1
LAST_NOTE: Final = 1.6
"""Seconds between two looks at the peak of a job without limits: twice as long each time, up to here."""
GROWTH: Final = 4e9
"""Bytes that a process may be expected to fill in a second."""
CONFIRM: Final = 0.1
"""Seconds before shared pages are looked into again, after they explained what was over the limit."""


class Warden:
    """Watches the process group of one job, on the event loop in which it is started.

    Args:
        pid: The child process, which leads its group.
        limits: What it may use.
        on_breach: Called once, with the bytes in use, when that is over ``max_memory``; it must kill the group.
        throttle: Whether to hold the group to ``cpu_limit`` by stopping it; False where the kernel does.
    """

    def __init__(self, pid: int, limits: Limits, on_breach: Callable[[int], None], *, throttle: bool = True) -> None:
        self.pid = pid
        self.limits = limits
        self._on_breach = on_breach
        self._throttle = throttle and limits.cpu_limit is not None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._group: Group | None = None
        self._budget: CpuBudget | None = None
        self._cores = os.cpu_count() or 1
        self._spent = 0.0
        self._shared_until = 0.0
        self._stopped = False
        self.peak: int | None = None
        """The most memory seen at once so far, in bytes."""

    def start(self) -> None:
        """Begin: what the group has used up to now does not count."""
        if not self.limits:
            self._timer = self._loop.call_later(FIRST_NOTE, self._note, FIRST_NOTE * 2)
            return
        self._group = measure(self.pid)
        if self._throttle and self.limits.cpu_limit is not None:
            self._budget = CpuBudget(self.limits.cpu_limit, self._loop.time())
        self._look()

    def release(self) -> None:
        """Stop the group no more, so that it can end; its memory is still watched."""
        self._budget = None
        self._go_on()

    def stop(self) -> int | None:
        """End; the group runs on. Returns the most memory seen at once, in bytes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.release()
        return self.peak

    def note_peak(self) -> None:
        """Take in the child's own peak: to be called while it still lives, as before it is killed."""
        self._saw(peak_memory(self.pid))

    def _note(self, wait: float) -> None:
        self.note_peak()
        self._timer = self._loop.call_later(wait, self._note, min(wait * 2, LAST_NOTE))

    def _look(self) -> None:
        group, limits = self._group, self.limits
        if group is None:
            return
        usage = group.usage()
        if not usage.processes:
            return  # gone: whoever waits for it will hear
        if self._is_over(group, usage, limits.max_memory):
            self._timer = None
            self.release()
            self._on_breach(self.peak or usage.memory)
            return
        wait = LONGEST
        if limits.max_memory is not None:
            wait = min(wait, (limits.max_memory - usage.memory) / GROWTH)
        if self._budget is not None:
            wait = min(wait, self._account(self._budget, usage))
        self._timer = self._loop.call_later(max(wait, SHORTEST), self._look)

    def _saw(self, memory: int | None) -> None:
        if memory is not None:
            self.peak = max(self.peak or 0, memory)

    def _is_over(self, group: Group, usage: Usage, most: int | None) -> bool:
        """Say whether the group is over its limit; what its processes share counts once before it does any harm."""
        memory = usage.memory
        if most is not None and usage.memory > most and usage.processes > 1:
            now = self._loop.time()
            if now < self._shared_until:
                return False
            memory = group.exact_memory() or usage.memory
            if memory <= most:
                self._shared_until = now + CONFIRM
        self._saw(memory)
        return most is not None and memory > most

    def _account(self, budget: CpuBudget, usage: Usage) -> float:
        budget.spend(self._loop.time(), usage.cpu - self._spent)
        self._spent = usage.cpu
        if budget.stopped and not self._stopped:
            self._stopped = True
            _signal(self.pid, signal.SIGSTOP)
        elif not budget.stopped:
            self._go_on()
        return budget.wait(self._cores)

    def _go_on(self) -> None:
        if self._stopped:
            self._stopped = False
            _signal(self.pid, signal.SIGCONT)


def terminate(pgid: int, number: signal.Signals) -> None:
    """Send a signal to a process group so that it arrives, also where the group is stopped.

    A group that is gone is none the worse.
    """
    _signal(pgid, number)
    if number != signal.SIGKILL:
        _signal(pgid, signal.SIGCONT)


def _signal(pgid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        logger.debug("no process group to signal", extra={"pgid": pgid, "signal": number.name})
