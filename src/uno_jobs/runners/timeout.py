"""A time limit for asynchronous functions that tells its own timeout from every other cancellation."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from uno_jobs.context import Job

logger = logging.getLogger("uno_jobs.runners")


async def call_within(
    seconds: float,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    job: Job,
    grace: float,
) -> Any:
    """Call an asynchronous function and return its result, if it comes in time.

    It runs in an asyncio task of its own: what it raises, its own ``TimeoutError`` or ``CancelledError``
    included, stays distinct, and one that swallows its cancellation does not hold up the worker.

    Args:
        seconds: The limit.
        function: The asynchronous function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        job: The job that runs; ``is_cancelled()`` becomes true when the time is up.
        grace: Seconds that a cancelled function has to clean up before it is left to itself.

    Raises:
        TimeoutError: The time was up; caused by what the function raised while it was cancelled, if it did.
        asyncio.CancelledError: The caller was cancelled, and the function with it.
    """
    loop = asyncio.get_running_loop()
    inner = loop.create_task(_call(function, args, kwargs))
    woken: asyncio.Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    inner.add_done_callback(wake)
    timer = loop.call_later(seconds, wake)
    try:
        await woken
    except asyncio.CancelledError as stop:
        inner.cancel(*stop.args)
        await _until_done(inner, job, None)
        return inner.result()  # a success stands, a failure is one, a cancellation is raised again
    finally:
        timer.cancel()
    if inner.done():
        return inner.result()
    job.cancel_requested = True
    inner.cancel()
    late = TimeoutError(f"it took longer than its timeout of {seconds:g} s")
    if await _until_done(inner, job, grace):
        if not inner.cancelled() and (raised := inner.exception()) is not None:
            raise late from raised
    else:
        _abandon(inner, job)
    raise late


async def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return await function(*args, **kwargs)


async def _until_done(inner: asyncio.Task[Any], job: Job, seconds: float | None) -> bool:
    try:
        done, _ = await asyncio.wait({inner}, timeout=seconds)
    except asyncio.CancelledError:
        _abandon(inner, job)
        raise
    return bool(done)


def _abandon(inner: asyncio.Task[Any], job: Job) -> None:
    """Leave a function to itself that goes on after its cancellation, and say so."""
    inner.cancel()
    inner.add_done_callback(_forget)
    logger.warning(
        "task %s goes on after it was cancelled: it swallows CancelledError, or cleans up for too long. "
        "timeout_action='terminate' would end it",
        job.task,
        extra={"job_id": str(job.id), "task": job.task, "attempt": job.attempt},
    )


def _forget(inner: asyncio.Task[Any]) -> None:
    if not inner.cancelled():
        _ = inner.exception()  # retrieved, so that asyncio does not report it as lost
