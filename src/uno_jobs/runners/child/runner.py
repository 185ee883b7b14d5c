"""One job in a child process: handed over, watched, stopped by force when its time is up, and how it ended."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.errors import MemoryLimitExceeded, ProcessDied
from uno_jobs.outcomes import ErrorRecord, Failed, HandedBack, Lost, Retried, Succeeded
from uno_jobs.runners.child.pool import NoChild, Pool, how
from uno_jobs.runners.child.protocol import pack_job, unpack_outcome
from uno_jobs.runners.limits.group import status_bytes
from uno_jobs.runners.limits.limits import Limits
from uno_jobs.runners.limits.oom import OomKills
from uno_jobs.runners.records import record_error
from uno_jobs.runners.verdict import judge
from uno_jobs.transactions.state import TransactionState

if TYPE_CHECKING:
    from uno_jobs.context import Job, JobControl
    from uno_jobs.outcomes import Outcome
    from uno_jobs.runners.child.process import ChildProcess
    from uno_jobs.runners.limits.limiter import Guard, Limiter
    from uno_jobs.tasks.options import TaskOptions

logger = logging.getLogger("uno_jobs.worker")

LEFT_BEHIND: Final = 0.25
"""The share of a job's ``max_memory`` by which earlier jobs may have left a child larger than it was at first."""


class Stopped(asyncio.CancelledError):
    """The run was cancelled, and the child is dead."""

    def __init__(self, peak_memory: int | None) -> None:
        super().__init__()
        self.peak_memory = peak_memory


class ChildRunner:
    """Runs jobs in the children of a pool, each within its limits.

    Args:
        pool: The children.
        control: Told of the jobs' progress.
        max_lost: A job whose process dies so often fails.
        limiter: Holds the jobs' limits.
    """

    def __init__(self, pool: Pool, control: JobControl, max_lost: int, limiter: Limiter) -> None:
        self._pool = pool
        self._control = control
        self._max_lost = max_lost
        self._limiter = limiter
        self._oom = OomKills()

    def expect(self) -> None:
        """A call of ``run`` is about to come: no more must be claimed than there are children for."""
        self._pool.expect()

    async def run(self, job: Job, options: TaskOptions, lost: int) -> Outcome:
        """Run a job, announced by ``expect``, in a child and say how it ended.

        When cancelled, it makes the child stop first.

        Args:
            job: The job.
            options: Its task's options.
            lost: How many of its attempts were lost before.

        Raises:
            Stopped: It was cancelled, and the child is dead; a success in spite of that is returned.
        """
        limits = self._limiter.possible(Limits.of(options))
        try:
            child = await self._take(limits)
        except NoChild as error:
            return HandedBack(str(error))
        run = _Run(child, job, self._control)
        try:
            kills = self._oom.recent()
            run.guard = await self._limiter.guard(child.pid, limits, run.exceed, child.dead)
            run.start()
            outcome = await self._watch(run, options, lost, kills)
            return _with_peak(outcome, run.guard.peak)
        finally:
            if run.guard is not None:
                run.guard.stop()
            self._pool.release(child)

    async def _take(self, limits: Limits) -> ChildProcess:
        """Take a child that earlier jobs have not left too large for this one."""
        while True:
            child = await self._pool.take()
            if limits.max_memory is None or child.jobs == 1:
                return child
            memory = status_bytes(child.pid, b"VmRSS")
            if memory is None or memory - child.memory <= limits.max_memory * LEFT_BEHIND:
                return child
            child.worn = True
            self._pool.expect()
            self._pool.release(child)

    async def _watch(self, run: _Run, options: TaskOptions, lost: int, kills: int) -> Outcome:
        child, job = run.child, run.job
        late = stopped = False

        def on_timeout() -> None:
            nonlocal late
            late = True
            self._stop(run, options.terminate_grace)

        timer = None
        if options.timeout is not None:
            timer = asyncio.get_running_loop().call_later(options.timeout, on_timeout)
        while not run.over.done():
            try:
                await asyncio.shield(run.over)
            except asyncio.CancelledError:
                if not stopped:
                    stopped = True
                    self._stop(run, options.terminate_grace)
        if timer is not None:
            timer.cancel()
        outcome = run.over.result()
        if late or stopped or run.exceeded is not None:
            # Whatever it says, it was told to stop: what it left is not to go on, and its slot is free when it is dead.
            run.note_peak()
            child.kill()
            while not child.dead.done():
                try:
                    await asyncio.shield(child.dead)
                except asyncio.CancelledError:
                    stopped = True
        if isinstance(outcome, Succeeded):
            return outcome
        if stopped:
            raise Stopped(run.peak)
        if late:
            return _timed_out(options, job, outcome)
        if run.exceeded is not None or (outcome is None and run.killed_by_kernel()):
            return _exceeded(options, job, run.peak)
        return outcome if outcome is not None else self._lost(child, lost, kills)

    def _stop(self, run: _Run, grace: float) -> None:
        run.job.cancel_requested = True
        run.child.send({"do": "cancel", "lease": run.job.lease})
        if run.guard is not None:
            run.guard.note_peak()
            run.guard.release()  # it must not be stopped while it cleans up
        self._pool.terminate(run.child, grace)

    def _lost(self, child: ChildProcess, lost: int, kills: int) -> Lost:
        cause = how(child)
        if child.status == -signal.SIGKILL and self._oom.count() > kills:
            cause += ", by the kernel's OOM killer: there was no memory left"
        logger.error("a job's process died", extra={"pid": child.pid, "cause": cause})
        return Lost(record_error(ProcessDied(cause)), self._max_lost, final=lost + 1 >= self._max_lost)


class _Run:
    """What is said of one job while it runs in a child."""

    def __init__(self, child: ChildProcess, job: Job, control: JobControl) -> None:
        self.child = child
        self.job = job
        self.over: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        """Set to how it ended; None: the child was interrupted, or died."""
        self.guard: Guard | None = None
        self.exceeded: int | None = None
        """The memory for which it was killed, in bytes."""
        self._control = control
        self._flushes: set[asyncio.Task[None]] = set()

    @property
    def peak(self) -> int | None:
        """The most memory that it was seen to use, in bytes."""
        return self.guard.peak if self.guard is not None else None

    def note_peak(self) -> None:
        """See what it has used, while it still lives."""
        if self.guard is not None:
            self.guard.note_peak()

    def exceed(self, memory: int) -> None:
        """It uses more memory than it may: kill it."""
        self.exceeded = memory
        self.child.kill()

    def killed_by_kernel(self) -> bool:
        """Say whether the kernel killed it for its memory limit."""
        return self.guard is not None and self.guard.killed_by_kernel()

    def start(self) -> None:
        """Hand the job over."""
        self.child.heard = self._hear
        self.child.dead.add_done_callback(self._on_dead)
        self.child.send({"do": "run", "job": pack_job(self.job)})

    def _hear(self, message: dict[str, Any]) -> None:
        if message["lease"] != self.job.lease:
            return  # a job before this one left something running
        match message["say"]:
            case "ended":
                self.child.worn = message["worn"]
                self.child.dead.remove_done_callback(self._on_dead)
                self._end(unpack_outcome(message))
            case "progress":
                self._control.report_progress(self.job, message["fraction"], message["message"])
            case "transaction":
                self.job.transaction_state = TransactionState(**message["state"])
            case "flush":
                task = asyncio.get_running_loop().create_task(self._flush(message["number"]))
                self._flushes.add(task)
                task.add_done_callback(self._flushes.discard)
            case other:
                raise AssertionError(f"a child said {other!r}")

    async def _flush(self, number: int) -> None:
        await self._control.flush_progress(self.job)
        self.child.send({"do": "flushed", "number": number})

    def _on_dead(self, _: object) -> None:
        self._end(None)

    def _end(self, outcome: Outcome | None) -> None:
        if not self.over.done():
            self.over.set_result(outcome)


def _timed_out(options: TaskOptions, job: Job, interrupted: Outcome | None) -> Outcome:
    late = judge(TimeoutError(f"it took longer than its timeout of {options.timeout:g} s"), options, job.failures)
    if isinstance(late, Failed | Retried) and isinstance(interrupted, Failed | Retried):
        # Where it was when it was told to stop.
        return dataclasses.replace(late, error=_with_trace(late.error, interrupted.error))
    return late


def _exceeded(options: TaskOptions, job: Job, peak: int | None) -> Outcome:
    error = MemoryLimitExceeded("it used too much memory", limit=options.max_memory or 0, peak=peak)
    return judge(error, options, job.failures)


def _with_peak(outcome: Outcome, seen: int | None) -> Outcome:
    """Return an outcome with the larger of what the child says of its memory and what was seen from outside."""
    if seen is None or (outcome.peak_memory is not None and outcome.peak_memory >= seen):
        return outcome
    return dataclasses.replace(outcome, peak_memory=seen)


def _with_trace(late: ErrorRecord, interrupted: ErrorRecord) -> ErrorRecord:
    return dataclasses.replace(late, traceback=interrupted.traceback or late.traceback)
