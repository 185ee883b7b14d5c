"""Hooks: what a task's author wants done once an outcome is durable."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from uno_jobs.context import enter_job, leave_job
from uno_jobs.errors import JobFailed
from uno_jobs.outcomes import Failed, Lost, Retried, Succeeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from uno_jobs.context import Job
    from uno_jobs.outcomes import ErrorRecord, Outcome
    from uno_jobs.runners.thread import Threads
    from uno_jobs.tasks.definition import Task

logger = logging.getLogger("uno_jobs.runners")


def wants_hooks(task: Task[..., Any, Any], outcome: Outcome) -> bool:
    """Say whether the task has hooks for such an outcome."""
    return bool(_hooks(task, outcome))


async def run_hooks(task: Task[..., Any, Any], job: Job, outcome: Outcome, *, threads: Threads | None = None) -> None:
    """Run a task's hooks for an outcome that is durable; at most once each.

    What a hook raises is logged and changes nothing. ``job`` is the current job meanwhile.

    Args:
        task: The task.
        job: The job; ``job.error`` is the error, where it is at hand, else a ``JobFailed`` takes its place.
        outcome: How the attempt ended.
        threads: Where synchronous hooks run; without it, here and now.
    """
    hooks = _hooks(task, outcome)
    if not hooks:
        return
    args: tuple[Any, ...]
    match outcome:
        case Succeeded(result=text):
            args = (job, task.load_result(text))
        case Retried(error=record):
            args = (job, _error(job, record), job.failures + 1)
        case Failed(error=record) | Lost(error=record):
            args = (job, _error(job, record))
        case _:
            return
    job.over = True
    token = enter_job(job)
    try:
        for hook in hooks:
            await _run_one(hook, args, job, threads)
    finally:
        leave_job(token)


def _hooks(task: Task[..., Any, Any], outcome: Outcome) -> Sequence[Callable[..., Any]]:
    if type(outcome) is Succeeded:
        return task.success_hooks
    match outcome:
        case Failed() | Lost(final=True):
            return task.failure_hooks
        case Retried():
            return task.retry_hooks
        case _:
            return ()


async def _run_one(hook: Callable[..., Any], args: tuple[Any, ...], job: Job, threads: Threads | None) -> None:
    try:
        if threads is not None and not inspect.iscoroutinefunction(hook):
            done = await threads.run(hook, args, {})
        else:
            done = hook(*args)
        if inspect.isawaitable(done):
            await done
    except (Exception, SystemExit):
        logger.exception(
            "hook %s of task %s raised; the job's outcome stands",
            getattr(hook, "__qualname__", repr(hook)),
            job.task,
            extra={"job_id": str(job.id), "task": job.task, "attempt": job.attempt},
        )


def _error(job: Job, record: ErrorRecord) -> BaseException:
    if job.error is not None:
        return job.error
    return JobFailed(
        f"{record.type}: {record.message}",
        job_id=str(job.id),
        error_type=record.type,
        traceback=record.traceback,
    )
