"""The tasks that a benchmark's workers run."""

from __future__ import annotations

import time

from uno_jobs.tasks.decorator import task


@task(name="uno_jobs.bench.noop")
async def noop(number: int) -> None:
    """Do nothing."""


@task(name="uno_jobs.bench.stamp")
async def stamp() -> float:
    """Say when it started, by the clock that all processes of a machine share."""
    return time.monotonic()
