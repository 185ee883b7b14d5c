"""A worker and the queues that are paused, resumed and weighed under its eyes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tests.worker.conftest import LIMIT, Database, running, until_empty
from uno_jobs.context import get_current_job
from uno_jobs.queue import Queue
from uno_jobs.tasks import task

if TYPE_CHECKING:
    import pytest

SLEEPS = "SELECT EXISTS (SELECT FROM uno_jobs.hungry WHERE queue = 'a' AND until > now() + interval '60 seconds')"


async def test_a_paused_queue_gives_nothing_more_and_what_runs_goes_on(database: Database) -> None:
    release = asyncio.Event()

    @task
    async def waits() -> None:
        await release.wait()

    @task
    async def quick() -> None: ...

    (runs,) = await database.put(waits, queue="a")
    # It looks on its own once in half an hour, so what it does in time it was told to do.
    async with (
        Queue(database.url) as queue,
        running(database.url, queues=(("a", None), ("b", None)), poll_interval=1800) as worker,
    ):
        await database.wait_for(runs, "running")
        # Who enqueues while a worker is about to sleep does not tell it; it finds that at its next look.
        await asyncio.wait_for(worker.listener.listening.wait(), LIMIT)
        await database.wait_until(SLEEPS)
        assert await queue.pause_queue("a")
        (held,) = await database.put(quick, queue="a")
        (other,) = await database.put(quick, queue="b")
        await database.wait_for(other, "succeeded")
        assert (await database.job(held))["state"] == "ready"
        release.set()
        await database.wait_for(runs, "succeeded")
        await database.wait_until(SLEEPS)
        assert (await database.job(held))["state"] == "ready"
        assert await queue.resume_queue("a")
        async with asyncio.timeout(LIMIT):
            await database.wait_for(held, "succeeded")


async def test_a_worker_that_was_to_run_until_empty_does_not_wait_for_a_paused_queue(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    async def quick() -> None: ...

    (held,) = await database.put(quick, queue="a")
    (done,) = await database.put(quick, queue="b")
    await database.connection.execute("SELECT uno_jobs.pause_queue('a')")
    with caplog.at_level(logging.WARNING, "uno_jobs.worker"):
        await until_empty(database.url, queues=(("a", None), ("b", None)))
    assert (await database.job(done))["state"] == "succeeded"
    assert (await database.job(held))["state"] == "ready"
    (said,) = [record for record in caplog.records if "paused queue" in record.message]
    assert said.__dict__["queue"] == "a"


async def test_a_new_weight_is_heeded_by_a_worker_that_runs(database: Database) -> None:
    seen: list[str] = []
    release = asyncio.Event()

    @task
    async def noted() -> None:
        await release.wait()
        seen.append(get_current_job().queue)

    async with Queue(database.url) as queue, running(database.url, queues=(("a", None), ("b", None)), concurrency=10):
        await queue.pause_queue("a", create=True)
        await queue.pause_queue("b", create=True)
        await database.put(noted, times=400, queue="a")
        await database.put(noted, times=400, queue="b")
        await queue.set_queue_weight("b", 9)
        async with database.connection.transaction():
            for name in ("a", "b"):
                await queue.resume_queue(name, connection=database.connection)
        release.set()
        await database.wait_until("SELECT count(*) = 800 FROM uno_jobs.outcomes")
    # Nine in ten while both have work: 360 of the first 400, and seven standard deviations below are 318.
    assert seen[:400].count("b") > 318
    # Nothing starves: the light queue had its share all the same.
    assert seen[:100].count("a") > 0
