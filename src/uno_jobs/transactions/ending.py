"""The end of an attempt that has added steps (``job.then``): one transaction for its success and for them."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from uno_jobs.errors import DatabaseUnavailable
from uno_jobs.storage.connections.failures import sqlstate_of
from uno_jobs.storage.session import TROUBLE
from uno_jobs.transactions.block import JobTransaction

if TYPE_CHECKING:
    from uno_jobs.context import Job

logger = logging.getLogger("uno_jobs.transactions")

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0

_PASSING: Final = ("40001", "40P01", "55P03")
"""SQLSTATEs of races that are lost once: serialization, deadlock, a lock that was not to be had in time."""


async def succeed_with_additions(job: Job, result: str) -> None:
    """Commit the success of a job whose run has ended, with all that it has added.

    As any outcome, it is kept for as long as the database is away.

    Args:
        job: The job.
        result: Its result, JSON text.

    Raises:
        DuplicateJob: A step's unique key is held by another job.
        LeaseLost: The attempt is over; nothing was committed.
    """
    wait = FIRST_WAIT
    while True:
        try:
            # The driver that is always there; nobody else gets to see the connection.
            await JobTransaction(job, "asyncpg", None).commit_success(result)
        except (*TROUBLE, DatabaseUnavailable) as error:
            reason = error
        except Exception as error:
            if sqlstate_of(error) not in _PASSING:
                raise
            reason = error
        else:
            return
        logger.warning(
            "a job's success and what it has added could not be committed; trying again",
            extra={"job_id": str(job.id), "task": job.task, "error": str(reason), "wait_s": wait},
        )
        await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the tries
        wait = min(wait * 2, LONGEST_WAIT)
