"""The rest of a run whose own transaction has committed its success: looked at, recorded, and without consequence."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from uno_jobs.errors import ResultNotStorable
from uno_jobs.outcomes import Cancelled, Failed, HandedBack, Lost, Retried
from uno_jobs.runners.records import error_line
from uno_jobs.storable import from_json

if TYPE_CHECKING:
    from uno_jobs.context import Job
    from uno_jobs.outcomes import Outcome
    from uno_jobs.runners.invocation import Plan

logger = logging.getLogger("uno_jobs.runners")


def result_that_stands(plan: Plan, job: Job, committed: str, returned: Any) -> Any:
    """Return the committed result as a value, and warn of a task that returned another."""
    if returned is not None:
        try:
            if from_json(plan.dump_result(returned)) == from_json(committed):
                return returned
        except ResultNotStorable:
            pass
        logger.warning(
            "task %s returned something else than what its transaction has committed; the committed result stands "
            "(give it by tx.set_result)",
            job.task,
            extra={"job_id": str(job.id), "task": job.task, "attempt": job.attempt},
        )
    return plan.task.load_result(committed)


def late_end(outcome: Outcome | None) -> str | None:
    """Return what ended a run after its commit, if it did not end by itself."""
    match outcome:
        case HandedBack(reason=reason) | Cancelled(reason=reason):
            return f"asyncio.CancelledError: {reason}"
        case Failed(error=error) | Retried(error=error) | Lost(error=error):
            return f"{error.type}: {error.message}"
        case _:
            return None


def note_late_error(job: Job, error: BaseException) -> None:
    """Take note of what a task raised after its commit."""
    if job.transaction_state is not None:
        job.transaction_state.error_after_commit = error_line(error)
    logger.error(
        "task %s raised after its transaction was committed; the job has succeeded",
        job.task,
        exc_info=error,
        extra={"job_id": str(job.id), "task": job.task, "attempt": job.attempt},
    )
