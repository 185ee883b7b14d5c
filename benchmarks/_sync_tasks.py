"""The synchronous no-op of child.py, where a child process can import it; and the same on the event loop."""

from __future__ import annotations

from uno_jobs.tasks import task


@task
def noop_in_child(number: int) -> None:
    """Do nothing, in a child process."""


@task
async def noop_on_loop(number: int) -> None:
    """Do nothing, on the event loop."""
