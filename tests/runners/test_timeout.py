"""Timeouts of asynchronous tasks, told apart from everything that looks like one."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from uno_jobs.context import get_current_job
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.outcomes import Failed, Retried, Succeeded
from uno_jobs.runners.invocation import Plan, perform
from uno_jobs.tasks import task

from .jobs import a_job

AT_ONCE = 0.001


async def run(made: Any, *args: Any) -> Any:
    return await perform(Plan(made), a_job(made, *args))


async def test_a_task_that_takes_too_long_fails_with_timeout_error() -> None:
    seen: list[BaseException] = []

    @task(timeout=AT_ONCE)
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            seen.append(error)
            assert get_current_job().is_cancelled()
            raise

    outcome = await run(work)
    assert isinstance(outcome, Retried)
    assert outcome.error.type == "TimeoutError"
    assert outcome.error.message == "it took longer than its timeout of 0.001 s"
    assert len(seen) == 1


async def test_in_time() -> None:
    @task(timeout=600)
    async def work(n: int) -> int:
        await asyncio.sleep(0)
        return n

    assert await run(work, 3) == Succeeded("3")


async def test_a_timeout_is_retried_by_the_usual_rules() -> None:
    @task(timeout=AT_ONCE, retry_for_exceptions=[KeyError])
    async def work() -> None:
        await asyncio.Event().wait()

    assert isinstance(await run(work), Failed)


async def test_the_tasks_own_timeout_error_is_its_own() -> None:
    @task(timeout=600)
    async def work() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    outcome = await run(work)
    assert outcome.error.type == "TimeoutError"
    assert outcome.error.message == ""


async def test_the_tasks_own_cancellation_is_its_failure() -> None:
    @task(timeout=600)
    async def work() -> None:
        raise asyncio.CancelledError

    outcome = await run(work)
    assert isinstance(outcome, Retried)
    assert outcome.error.type == "asyncio.exceptions.CancelledError"


async def test_what_is_raised_while_being_cancelled_is_the_cause() -> None:
    @task(timeout=AT_ONCE)
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("while cleaning up")

    outcome = await run(work)
    assert outcome.error.type == "TimeoutError"
    assert "KeyError: 'while cleaning up'" in outcome.error.traceback


async def test_a_result_after_the_time_does_not_count() -> None:
    @task(timeout=AT_ONCE)
    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "late"
        return "never"

    outcome = await run(work)
    assert outcome.error.type == "TimeoutError"


async def test_a_task_that_swallows_its_cancellation_does_not_hold_up_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = asyncio.Event()
    ended = asyncio.Event()

    @task(timeout=AT_ONCE, terminate_grace=AT_ONCE)
    async def work() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        raise RuntimeError("nobody hears this")

    with caplog.at_level(logging.WARNING, "uno_jobs.runners"):
        outcome = await run(work)
    assert outcome.error.type == "TimeoutError"
    assert "goes on after it was cancelled" in caplog.text
    assert not ended.is_set()
    release.set()
    await ended.wait()


async def test_the_workers_cancellation_is_not_a_timeout() -> None:
    started = asyncio.Event()

    @task(timeout=600)
    async def work(how: str) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if how == "fail":
                raise ConnectionError("while stopping") from None
            if how == "go along":
                raise
        return "succeeded all the same"

    outcomes: dict[str, Any] = {}
    for how in ("go along", "fail", "succeed"):
        started.clear()
        running = asyncio.create_task(perform(Plan(work), a_job(work, how)))
        await started.wait()
        running.cancel()
        try:
            outcomes[how] = await running
        except asyncio.CancelledError as error:
            outcomes[how] = type(error)
    assert outcomes["go along"] is asyncio.CancelledError
    assert outcomes["succeed"] == Succeeded('"succeeded all the same"')
    assert outcomes["fail"].error.type == "ConnectionError"


async def test_a_second_cancellation_ends_the_waiting_for_a_task_that_swallows_the_first() -> None:
    started, swallowed, release, ended = (asyncio.Event() for _ in range(4))

    @task(timeout=600)
    async def work() -> None:
        started.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                swallowed.set()
        ended.set()

    running = asyncio.create_task(perform(Plan(work), a_job(work)))
    await started.wait()
    running.cancel()
    await swallowed.wait()
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    release.set()
    await ended.wait()


async def test_middleware_sees_the_timeout_and_is_not_bound_by_it() -> None:
    seen: list[str] = []

    class Slow(TaskMiddleware):
        async def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Any) -> Any:
            await asyncio.sleep(20 * AT_ONCE)
            return args, kwargs

        async def on_error(self, task_func: Any, args: Any, kwargs: Any, error: Any, job: Any) -> Any:
            seen.append(type(error).__name__)
            return error

    @task(timeout=AT_ONCE, middleware=[Slow()])
    async def work(wait: bool) -> None:
        if wait:
            await asyncio.Event().wait()

    assert await run(work, False) == Succeeded("null")
    assert (await run(work, True)).error.type == "TimeoutError"
    assert seen == ["TimeoutError"]


async def test_where_somebody_else_watches_the_timeout_it_is_not_watched_here() -> None:
    @task(timeout=AT_ONCE)
    async def work() -> None:
        await asyncio.sleep(20 * AT_ONCE)

    assert await Plan(work, own_timeout=False).perform(a_job(work)) == Succeeded("null")
