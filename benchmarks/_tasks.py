"""The tasks that benchmarks run."""

from __future__ import annotations

from uno_jobs.tasks import task


@task
async def noop(i: int) -> None:
    """Do nothing."""
