"""One job in a child process: handed over, watched, stopped by force when its time is up, and how it ended."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
from typing import TYPE_CHECKING, Any

from uno_jobs.errors import ProcessDied
from uno_jobs.outcomes import ErrorRecord, Failed, HandedBack, Lost, Retried, Succeeded
from uno_jobs.runners.child.oom import OomKills
from uno_jobs.runners.child.pool import NoChild, Pool, how
from uno_jobs.runners.child.protocol import pack_job, unpack_outcome
from uno_jobs.runners.records import record_error
from uno_jobs.runners.verdict import judge
from uno_jobs.transactions.state import TransactionState

if TYPE_CHECKING:
    from uno_jobs.context import Job, JobControl
    from uno_jobs.outcomes import Outcome
    from uno_jobs.runners.child.process import ChildProcess
    from uno_jobs.tasks.options import TaskOptions

logger = logging.getLogger("uno_jobs.worker")


class ChildRunner:
    """Runs jobs in the children of a pool.

    Args:
        pool: The children.
        control: Told of the jobs' progress.
        max_lost: A job whose process dies so often fails.
    """

    def __init__(self, pool: Pool, control: JobControl, max_lost: int) -> None:
        self._pool = pool
        self._control = control
        self._max_lost = max_lost
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
            asyncio.CancelledError: It was cancelled, and the child is dead; a success in spite of that is returned.
        """
        try:
            child = await self._pool.take()
        except NoChild as error:
            return HandedBack(str(error))
        run = _Run(child, job, self._control)
        kills = self._oom.count()
        try:
            run.start()
            return await self._watch(run, options, lost, kills)
        finally:
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
        if late or stopped:
            # Whatever it says, it was told to stop: what it left is not to go on, and its slot is free when it is dead.
            child.kill()
            while not child.dead.done():
                try:
                    await asyncio.shield(child.dead)
                except asyncio.CancelledError:
                    stopped = True
        if isinstance(outcome, Succeeded):
            return outcome
        if stopped:
            raise asyncio.CancelledError
        if late:
            return _timed_out(options, job, outcome)
        return outcome if outcome is not None else self._lost(child, lost, kills)

    def _stop(self, run: _Run, grace: float) -> None:
        run.job.cancel_requested = True
        run.child.send({"do": "cancel", "lease": run.job.lease})
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
        self._control = control
        self._flushes: set[asyncio.Task[None]] = set()

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


def _with_trace(late: ErrorRecord, interrupted: ErrorRecord) -> ErrorRecord:
    return dataclasses.replace(late, traceback=interrupted.traceback or late.traceback)
