"""A place for one worker process: filled, filled again when the process dies, and emptied when told to stop."""

from __future__ import annotations

import asyncio
import enum
import logging
import signal
from typing import TYPE_CHECKING, Final

from uno_jobs.supervisor.backoff import Backoff
from uno_jobs.supervisor.process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from uno_jobs.supervisor.children import Children
    from uno_jobs.supervisor.rescuer import Rescuer
    from uno_jobs.worker.config import WorkerConfig

logger = logging.getLogger("uno_jobs.supervisor")

NOT_WORTH_A_RESTART: Final = 3
"""A worker's exit status for what a new start would not mend."""
MARGIN: Final = 5.0
"""Seconds beyond its grace after which a worker that does not heed SIGTERM is killed."""
STORING: Final = 15.0
"""Seconds more for one that heeds it, and may be waiting for the database."""
APART: Final = 1.2
"""Seconds between two signals to a worker: it takes those within one second for one."""
HURRIED: Final = 10.0
"""Seconds for a worker that was told twice."""


class End(enum.Enum):
    """How a slot ended."""

    CLEAN = "clean"
    REFUSED = "refused"
    FAILED = "failed"


class Slot:
    """Keeps one worker process running.

    Args:
        number: Its number, for the log.
        config: The worker's configuration.
        command: What to run; it finds its configuration in the environment.
        children: Starts and reaps it.
        rescuer: Told of each end.
        reloads: Whether code may change: what would not start is then tried again after the next change.
    """

    def __init__(
        self,
        number: int,
        config: WorkerConfig,
        command: Sequence[str],
        children: Children,
        rescuer: Rescuer,
        *,
        reloads: bool = False,
    ) -> None:
        self._number = number
        self._config = config
        self._command = command
        self._children = children
        self._rescuer = rescuer
        self._reloads = reloads
        self._backoff = Backoff()
        self._process: WorkerProcess | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._signalled = float("-inf")
        self._stops = 0
        self._reloading = False
        self._nudge = asyncio.Event()

    @property
    def living(self) -> UUID | None:
        """The worker that lives here now."""
        return None if self._process is None else self._process.living

    def stop(self) -> None:
        """Drain the worker and start none after it; when called again, have it hand its jobs back at once."""
        self._stops += 1
        self._nudge.set()
        self._terminate(HURRIED if self._stops > 1 else None)

    def reload(self) -> None:
        """Drain the worker and start another: the code has changed."""
        self._nudge.set()
        if not self._reloading and self._process is not None:
            self._reloading = True
            self._terminate(None)

    def declared_dead(self, worker: UUID) -> None:
        """Somebody took this worker for dead, and its jobs away: it must not go on."""
        process = self._process
        # One that has gone on under another id knows it already.
        if process is not None and process.ids[-1:] == [worker]:
            logger.error("a worker was declared dead by another; starting anew", extra=self._about(process))
            process.kill("declared dead by another worker")

    async def run(self) -> End:
        """Run one worker process after another until stopped, or until a next one would make no sense."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            status = await self._run_once()
            lived = loop.time() - began
            if self._stops:
                # While code is being written a worker that would not start is no failure of the supervisor's.
                refused = status == NOT_WORTH_A_RESTART and self._reloads
                return End.CLEAN if status == 0 or refused else End.FAILED
            if self._reloading:
                self._backoff.reset()
            elif status == 0 and self._config.until_empty:
                return End.CLEAN
            elif status == NOT_WORTH_A_RESTART:
                if not self._reloads:
                    return End.REFUSED
                logger.info("waiting for the code to change", extra={"slot": self._number})
                await self._nudged(None)
            else:
                wait = self._backoff.next(lived)
                logger.info("a worker starts again", extra={"slot": self._number, "in_seconds": round(wait, 2)})
                await self._nudged(wait)
            self._reloading = False
            if self._stops:
                return End.CLEAN if status in (0, NOT_WORTH_A_RESTART) else End.FAILED

    async def _run_once(self) -> int:
        """Run one process to its end; returns its exit status, with an expected death counted as 0."""
        self._nudge.clear()
        try:
            process = self._process = WorkerProcess.start(self._children, self._command, self._config)
        except OSError as error:
            logger.error("a worker process cannot be started: %s", error, extra={"slot": self._number})
            return 1
        logger.debug("a worker process was started", extra=self._about(process))
        try:
            status = await process.end()
        finally:
            self._process = None
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            # Reached with the process alive only if this supervisor itself is being torn down.
            process.kill("its supervisor ended")
        return self._judge(process, status)

    def _judge(self, process: WorkerProcess, status: int) -> int:
        cause = process.cause or describe(status)
        told_to = self._stops > 0 or self._reloading
        if status == 0:
            for worker in process.ids:
                self._rescuer.discharge(worker)
            return 0
        for worker in process.ids:
            self._rescuer.bury(worker, cause)
        if told_to and status == -signal.SIGTERM and not process.ids:
            # It was told to stop before it could even listen.
            return 0
        if status != NOT_WORTH_A_RESTART:
            logger.error("a worker process died", extra=self._about(process) | {"cause": cause})
        return status

    def _terminate(self, seconds: float | None) -> None:
        process = self._process
        if process is None:
            return
        loop = asyncio.get_running_loop()
        early = APART - (loop.time() - self._signalled) if seconds is not None else 0.0
        self._signalled = loop.time()
        if early > 0:
            loop.call_later(early, process.child.send, signal.SIGTERM)
        else:
            process.child.send(signal.SIGTERM)
        if self._deadline is not None:
            self._deadline.cancel()
        grace = self._config.grace
        if seconds is None:
            self._deadline = loop.call_later(grace + MARGIN, self._enforce, process, grace + STORING)
        else:
            self._deadline = loop.call_later(seconds, self._enforce, process, 0.0)

    def _enforce(self, process: WorkerProcess, more: float) -> None:
        if process.draining and more:
            # It heeds us. What it still waits for is the database, to which it owes outcomes.
            self._deadline = asyncio.get_running_loop().call_later(more, self._enforce, process, 0.0)
            return
        logger.error("a worker did not stop in time and is killed", extra=self._about(process))
        process.kill("it did not stop in time")

    async def _nudged(self, seconds: float | None) -> None:
        """Wait for a stop or a change of the code, at most so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        except TimeoutError:
            return
        if not self._stops:
            self._backoff.reset()

    def _about(self, process: WorkerProcess) -> dict[str, object]:
        worker = str(process.ids[-1]) if process.ids else None
        return {"slot": self._number, "pid": process.child.pid, "worker_id": worker}


def describe(status: int) -> str:
    """Say in words how a process ended."""
    if status >= 0:
        return f"its process exited with status {status}"
    try:
        return f"its process was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"its process was killed by signal {-status}"
