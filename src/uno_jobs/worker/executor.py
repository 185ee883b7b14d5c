"""The executor: makes a job of a claimed row, runs it, and passes on how it ended."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.context import Job
from uno_jobs.errors import UnoJobsError
from uno_jobs.outcomes import Cancelled, ErrorRecord, Failed, HandedBack
from uno_jobs.runners.child.modules import can_be_imported
from uno_jobs.runners.child.runner import ChildRunner, Stopped
from uno_jobs.runners.records import record_error
from uno_jobs.worker.holdings import Holding

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import asyncpg

    from uno_jobs.context import JobControl
    from uno_jobs.outcomes import Outcome
    from uno_jobs.runners.invocation import Plan, Plans
    from uno_jobs.worker.holdings import Holdings

    Run = Callable[[Job], Coroutine[Any, Any, Outcome]]

logger = logging.getLogger("uno_jobs.worker")

_ROW_MISSING: Final = Failed(
    ErrorRecord("JobRowMissing", "the row in jobs is gone: somebody deleted it while the job was unfinished")
)


class Executor:
    """Runs jobs, each in an asyncio task of its own, and calls ``ended`` for each.

    With ``children``, those of tasks that want a process run there, and so do suspects: jobs that ran, among others,
    when a process died. Whether it was their doing shows where they are alone.
    """

    def __init__(
        self,
        holdings: Holdings,
        plans: Plans,
        control: JobControl,
        ended: Callable[[Holding], None],
        children: ChildRunner | None,
    ) -> None:
        self._holdings = holdings
        self._plans = plans
        self._control = control
        self._ended = ended
        self._children = children
        self._loop = asyncio.get_running_loop()

    def dispatch(self, rows: list[asyncpg.Record], lease: int) -> None:
        """Start claimed jobs; the columns are those of the SQL function ``claim``.

        All are held before the first one runs: whatever it raises, the others are known here, and handed back.
        """
        runs: list[tuple[Holding, Run]] = []
        started = self._holdings.started
        plans = self._plans
        control = self._control
        children = self._children
        kind: tuple[Any, Any] = (None, None)
        plan: Plan | None = None
        for row in rows:
            (id_, queue, priority, _, _, task, version, args, kwargs, metadata, attempt, failures, lost, suspect,
             created_at, run_at, started_at, workflow_id, before) = row  # fmt: skip
            wrong: Outcome | None = None
            if task is None:
                plan, wrong = None, _ROW_MISSING
                kind = (None, None)
            elif kind != (task, version) or plan is None:
                kind = (task, version)
                try:
                    plan = plans.get(task, version)
                except UnoJobsError as error:
                    plan, wrong = None, Failed(record_error(error))
            job = Job(
                id_, task or "?", version or "?", queue or "?", priority or 0, attempt, failures,
                plan.options.max_retries + 1 if plan is not None else 0,
                args or "[]", kwargs or "{}", metadata or "{}",
                created_at, run_at, started_at, workflow_id, lease, control, before,
            )  # fmt: skip
            holding = Holding(job, plan)
            started(holding)
            if plan is None:
                holding.outcome = wrong
                self._ended(holding)
            elif children is not None and (
                plan.options.runs_in == "process" or (suspect and can_be_imported(plan.task))
            ):
                children.expect()
                runs.append((holding, functools.partial(children.run, options=plan.options, lost=lost)))
            else:
                runs.append((holding, plan.perform))
        start = self._starter()
        for holding, run in runs:
            holding.runner = start(self._run(holding, run))

    def _starter(self) -> Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]:
        """Return what makes an asyncio task: one that runs at once where Python can, unless the application makes them.

        Many jobs never wait for anything; those then cost no turn of the event loop.
        """
        if sys.version_info >= (3, 12) and self._loop.get_task_factory() is None:
            return functools.partial(asyncio.Task, loop=self._loop, eager_start=True)
        return self._loop.create_task

    async def _run(self, holding: Holding, run: Run) -> None:
        try:
            holding.outcome = await run(holding.job)
        except asyncio.CancelledError as stop:
            holding.outcome = _stopped(holding, stop.peak_memory if isinstance(stop, Stopped) else None)
        except BaseException as error:
            # KeyboardInterrupt and the like: the process ends, but not without saying what became of the job.
            holding.outcome = Failed(record_error(error))
            self._ended(holding)
            raise
        self._ended(holding)

    def stop_job(self, holding: Holding) -> None:
        """Ask a running job to stop; why is in the holding."""
        holding.job.cancel_requested = True
        if holding.runner is not None:
            # In its turn: an asyncio task that is cancelled before it has begun would not say how the job ended.
            self._loop.call_soon(holding.runner.cancel)


def _stopped(holding: Holding, peak_memory: int | None) -> Outcome:
    if holding.cancel_reason is not None:
        return Cancelled(holding.cancel_reason, peak_memory)
    return HandedBack(holding.hand_back_reason or "its worker gave it up", peak_memory)
