"""A worker stops without losing anything or using up a retry."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.worker.conftest import Database, running
from uno_jobs.tasks import task
from uno_jobs.worker.config import WorkerConfig
from uno_jobs.worker.worker import Worker


async def test_draining_lets_running_jobs_finish_and_claims_no_more(database: Database) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @task
    async def slow() -> str:
        started.set()
        await go_on.wait()
        return "done"

    (first,) = await database.put(slow)
    async with running(database.url) as worker:
        await asyncio.wait_for(started.wait(), 20)
        worker.drain()
        await database.wait_until("SELECT state = 'draining' FROM uno_jobs.workers")
        (second,) = await database.put(slow)
        go_on.set()
    assert (await database.job(first))["state"] == "succeeded"
    assert (await database.job(second))["state"] == "ready"
    assert await database.connection.fetchval("SELECT state FROM uno_jobs.workers") == "stopped"


async def test_what_does_not_end_in_time_is_handed_back_at_its_old_place(database: Database) -> None:
    started = asyncio.Event()

    @task(max_retries=0)
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    (id_,) = await database.put(endless)
    async with running(database.url, grace=0.1) as worker:
        await asyncio.wait_for(started.wait(), 20)
        seq = await database.connection.fetchval("SELECT seq FROM uno_jobs.live_jobs")
        worker.drain()
    job = await database.job(id_)
    assert (job["state"], job["attempt"], job["failures"]) == ("ready", 1, 0)
    assert await database.connection.fetchval("SELECT seq FROM uno_jobs.live_jobs") == seq
    assert [one["outcome"] for one in await database.attempts(id_)] == ["handed_back"]


async def test_a_second_signal_hands_back_at_once(database: Database) -> None:
    started = asyncio.Event()

    @task
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    (id_,) = await database.put(endless)
    async with running(database.url, grace=3600.0) as worker:
        await asyncio.wait_for(started.wait(), 20)
        worker.drain()
        worker.drain()
    assert (await database.job(id_))["state"] == "ready"


async def test_a_worker_that_is_cancelled_hands_back_what_it_runs(database: Database) -> None:
    started = asyncio.Event()

    @task
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    (id_,) = await database.put(endless)
    run = asyncio.create_task(Worker(WorkerConfig(url=database.url)).run())
    await asyncio.wait_for(started.wait(), 20)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run, 20)
    job = await database.job(id_)
    assert (job["state"], job["failures"]) == ("ready", 0)
    assert await database.connection.fetchval("SELECT state FROM uno_jobs.workers") == "stopped"


async def test_a_thread_that_does_not_stop_is_handed_back_as_the_last_thing(database: Database) -> None:
    started, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @task(runs_in="thread")
    def stubborn() -> None:
        loop.call_soon_threadsafe(started.set)
        release.wait(60)

    (id_,) = await database.put(stubborn)
    try:
        async with running(database.url, grace=0.1) as worker:
            await asyncio.wait_for(started.wait(), 20)
            worker.drain()
        job = await database.job(id_)
        assert (job["state"], job["failures"]) == ("ready", 0)
    finally:
        release.set()


async def test_a_thread_that_ends_while_hooks_run_is_still_recorded(database: Database) -> None:
    hook_runs, release = asyncio.Event(), threading.Event()
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    @task(runs_in="thread")
    def late() -> str:
        loop.call_soon_threadsafe(started.set)
        release.wait(60)
        return "in the end"

    @task
    async def hooked() -> None: ...

    @hooked.on_success
    async def slowly(job, result) -> None:
        await started.wait()
        hook_runs.set()
        release.set()
        while worker.holdings.running:  # the rest of the shutdown waits for this hook
            await asyncio.sleep(0.005)

    (id_,) = await database.put(late)
    async with running(database.url, grace=0.1) as worker:
        await asyncio.wait_for(started.wait(), 20)
        started.clear()
        (other,) = await database.put(hooked)
        await database.wait_for(other, "succeeded")
        worker.drain()
        loop.call_later(1.5, started.set)  # after the grace: what runs has been told to stop
    assert hook_runs.is_set()
    job = await database.job(id_)
    assert (job["state"], job["result"]) == ("succeeded", '"in the end"')
