"""Synchronous tasks on threads."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from uno_jobs.context import get_current_job
from uno_jobs.outcomes import Retried, Succeeded
from uno_jobs.runners.invocation import Plan, perform
from uno_jobs.runners.thread import Threads
from uno_jobs.tasks import task

from .jobs import a_job

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def threads() -> Iterator[Threads]:
    pool = Threads(2)
    yield pool
    pool.close()


async def test_results_and_errors(threads: Threads) -> None:
    @task(runs_in="thread")
    def work(n: int) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        if n < 0:
            raise ValueError(n)
        return n

    plan = Plan(work, threads=threads)
    assert await perform(plan, a_job(work, 3)) == Succeeded("3")
    outcome = await perform(plan, a_job(work, -1))
    assert isinstance(outcome, Retried)
    assert outcome.error.type == "ValueError"
    assert "in work" in (outcome.error.traceback or "")
    assert threads.busy == 0


@pytest.mark.parametrize("error", [StopIteration("s"), SystemExit(3), GeneratorExit()])
async def test_errors_that_futures_do_not_take(threads: Threads, error: BaseException) -> None:
    def work() -> None:
        raise error

    with pytest.raises((RuntimeError, type(error))):
        await threads.run(work, (), {})
    assert threads.busy == 0


async def test_stop_iteration_in_a_thread_fails_the_attempt(threads: Threads) -> None:
    @task(runs_in="thread")
    def work() -> None:
        raise StopIteration

    outcome = await perform(Plan(work, threads=threads), a_job(work))
    assert isinstance(outcome, Retried)


async def test_the_loop_goes_on_meanwhile_and_no_more_run_than_there_are_threads(threads: Threads) -> None:
    running = 0
    most = 0
    lock = threading.Lock()
    release = threading.Event()
    two_started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 2:
                loop.call_soon_threadsafe(two_started.set)
        release.wait()
        with lock:
            running -= 1

    jobs = [asyncio.create_task(threads.run(work, (), {})) for _ in range(6)]
    await two_started.wait()
    assert threads.busy == 2
    release.set()
    await asyncio.gather(*jobs)
    assert most == 2
    assert threads.busy == 0


async def test_a_thread_past_its_time_is_given_up_and_told(threads: Threads) -> None:
    told = threading.Event()
    release = threading.Event()

    @task(runs_in="thread", timeout=0.001)
    def work() -> None:
        job = get_current_job()
        while not job.is_cancelled():
            pass
        told.set()
        release.wait()

    outcome = await perform(Plan(work, threads=threads), a_job(work))
    assert isinstance(outcome, Retried)
    assert outcome.error.type == "TimeoutError"
    assert threads.busy == 1, "its thread keeps its place"
    await asyncio.to_thread(told.wait)
    release.set()
    while threads.busy:
        await asyncio.sleep(0)


async def test_the_time_counts_from_when_a_thread_is_free() -> None:
    pool = Threads(1)
    release = threading.Event()
    first = asyncio.create_task(pool.run(release.wait, (), {}))
    second = asyncio.create_task(pool.run(lambda: "ran", (), {}, timeout=0.5))
    third = asyncio.create_task(pool.run(lambda: "never", (), {}))
    await asyncio.sleep(0)
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    done, _ = await asyncio.wait({second}, timeout=0.6)
    assert not done
    release.set()
    assert await first
    assert await second == "ran"
    pool.close()


async def test_a_cancelled_run_tells_its_thread_and_takes_its_result(threads: Threads) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    @task(runs_in="thread")
    def work() -> str:
        loop.call_soon_threadsafe(started.set)
        job = get_current_job()
        while not job.is_cancelled():
            pass
        return "stopped in order"

    running = asyncio.create_task(perform(Plan(work, threads=threads), a_job(work)))
    await started.wait()
    running.cancel()
    assert await running == Succeeded('"stopped in order"')


async def test_a_second_cancellation_leaves_the_thread_behind(threads: Threads) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    release = threading.Event()

    @task(runs_in="thread")
    def work() -> None:
        loop.call_soon_threadsafe(started.set)
        release.wait()

    job = a_job(work)
    running = asyncio.create_task(perform(Plan(work, threads=threads), job))
    await started.wait()
    running.cancel()
    while not job.cancel_requested:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert threads.busy == 1
    release.set()
    while threads.busy:
        await asyncio.sleep(0)


async def test_a_closed_pool_says_so_and_frees_its_place() -> None:
    pool = Threads(1)
    pool.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shutdown"):
            await pool.run(print, (), {})
    assert pool.busy == 0
