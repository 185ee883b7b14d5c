"""Commits in doubt: what an error at the end of a transaction says about it, and how to find out the rest."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from uno_jobs.storage.connections.failures import sqlstate_of
from uno_jobs.worker.line import Line

if TYPE_CHECKING:
    from uno_jobs.context import Job
    from uno_jobs.transactions.source import Transactions

LEASE_OVER: Final = "UJ001"
NOT_THE_TRANSACTION: Final = "UJ002"

_DOUBTFUL: Final = ("08", "53", "57", "58", "F0", "XX")
"""SQLSTATE classes after which a commit may have happened: the connection, resources, the operator, the system."""


def is_refused(error: BaseException) -> bool:
    """Say whether the database answered that it did not commit; otherwise it may have."""
    state = sqlstate_of(error)
    return state is not None and not state.startswith(_DOUBTFUL) and state != "40003"


async def look_up(source: Transactions, job: Job) -> str | None:
    """Return what became of an attempt, on a new connection, waiting until the database answers.

    Returns:
        ``running``, how it ended (``succeeded``, …), or None where the database knows nothing of it.
    """
    line = Line(source.url, source.schema, "commit in doubt", pooled=source.pooled)
    try:
        return await line.call(lambda gateway: gateway.attempt_fate(job.id, job.lease))
    finally:
        await line.close()


def look_up_sync(source: Transactions, job: Job) -> str | None:
    """Do the same, blocking; this thread may have an event loop already."""
    with ThreadPoolExecutor(1, thread_name_prefix="uno-jobs-doubt") as apart:
        return apart.submit(asyncio.run, look_up(source, job)).result()
