"""The tasks that benchmarks run."""

from __future__ import annotations

import asyncio

from uno_jobs.tasks import task


@task
async def noop(i: int) -> None:
    """Do nothing."""


@task
async def echo(i: int) -> int:
    """Hand on what was given."""
    return i


@task
async def count(values: list[int]) -> int:
    """Say how many there are."""
    return len(values)


@task
async def endless() -> None:
    """Run until somebody ends it."""
    await asyncio.Event().wait()
