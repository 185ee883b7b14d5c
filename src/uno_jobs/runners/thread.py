"""Threads for synchronous tasks: a bounded pool, each run in a copy of the job's context."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from uno_jobs.context import Job

logger = logging.getLogger("uno_jobs.runners")

Answered = tuple[Any, BaseException | None]


class Threads:
    """Runs functions on at most ``limit`` threads; what comes beyond waits.

    Belongs to the event loop in which it is first used.
    """

    def __init__(self, limit: int = 32) -> None:
        self._pool = ThreadPoolExecutor(max_workers=limit, thread_name_prefix="uno-jobs-task")
        self._free = asyncio.Semaphore(limit)
        self.busy = 0
        """How many threads are at work, those of abandoned runs included."""

    async def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        job: Job | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Run a function on a thread and return what it returns.

        A thread cannot be stopped. When the time is up the run is given up (the thread goes on, and keeps its
        place in the pool until it ends); when the caller is cancelled, the thread is told by
        ``job.is_cancelled()`` and waited for, until the caller is cancelled once more.

        Args:
            function: What to run, in a copy of the current context.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            job: The job whose ``cancel_requested`` is set when it should stop.
            timeout: Seconds, counted from when a thread is free.

        Raises:
            TimeoutError: The time was up.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answered] = loop.create_future()
        context = contextvars.copy_context()
        self.busy += 1

        def work() -> None:
            answered = context.run(_answer, function, args, kwargs)
            try:
                loop.call_soon_threadsafe(self._ended, answer, answered)
            except RuntimeError:
                logger.debug("a thread ended after its event loop was closed")

        try:
            self._pool.submit(work)
        except BaseException:
            self.busy -= 1
            self._free.release()
            raise
        in_time = await self._wait(answer, job, timeout)
        if not in_time:
            if job is not None:
                job.cancel_requested = True
            raise TimeoutError(f"it took longer than its timeout of {timeout:g} s (its thread goes on)")
        result, error = answer.result()
        if error is not None:
            raise error
        return result

    def close(self, *, wait: bool = True) -> None:
        """End the pool; with ``wait=False``, without waiting for the threads at work."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    @staticmethod
    async def _wait(answer: asyncio.Future[Answered], job: Job | None, timeout: float | None) -> bool:
        try:
            done, _ = await asyncio.wait({answer}, timeout=timeout)
        except asyncio.CancelledError:
            if job is None:
                raise
            job.cancel_requested = True
            # Its success, should it come, stands; a second cancellation ends the waiting.
            done, _ = await asyncio.wait({answer})
        return bool(done)

    def _ended(self, answer: asyncio.Future[Answered], answered: Answered) -> None:
        self.busy -= 1
        self._free.release()
        answer.set_result(answered)


def _answer(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Answered:
    """Call a function and return result or error: a future would not take a ``StopIteration``."""
    try:
        return function(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001 - raised again where the run is awaited
        return None, error
