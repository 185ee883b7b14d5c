"""``run_until_idle``: what it runs, what it leaves, and that it ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from uno_jobs.errors import ConfigurationError, JobFailed, Snooze
from uno_jobs.queue import Queue, SyncQueue
from uno_jobs.tasks import TaskRegistry, task
from uno_jobs.testing import assert_enqueued, run_until_idle, run_until_idle_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(autouse=True)
def registry() -> Iterator[Any]:
    with TaskRegistry.isolated() as inner:
        yield inner


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with Queue(database_url) as queue:
        yield queue


async def test_all_queues_and_what_jobs_enqueue(queue: Queue, database_url: str) -> None:
    ran: list[str] = []

    @task(queue="first")
    async def parent(depth: int) -> None:
        ran.append(f"parent {depth}")
        if depth:
            await parent.options(via=queue, queue=f"queue {depth}").enqueue(depth - 1)

    @parent.on_success
    async def and_then(job: Any, result: Any) -> None:
        if not job.args[0]:
            await child.options(via=queue).enqueue()

    @task
    async def child() -> None:
        ran.append("child")

    await queue.enqueue(parent, args=[2])
    assert await run_until_idle(queue) == {"succeeded": 4}
    assert ran == ["parent 2", "parent 1", "parent 0", "child"]
    assert await run_until_idle(database_url) == {}


async def test_a_failure_is_counted_and_can_be_read(queue: Queue) -> None:
    @task(max_retries=0)
    async def breaks() -> None:
        raise LookupError("no such thing")

    handle = await queue.enqueue(breaks)
    assert await run_until_idle(queue) == {"failed": 1}
    with pytest.raises(JobFailed, match="no such thing"):
        await handle.result()


async def test_what_is_not_due_is_left_unless_asked_for(queue: Queue) -> None:
    attempts = 0

    @task(max_retries=2, retry_delay=3600)
    async def shaky() -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ConnectionError
        return "at last"

    retried = await queue.enqueue(shaky)
    assert await run_until_idle(queue) == {}
    assert (attempts, (await retried.status()).state) == (1, "scheduled")
    assert await run_until_idle(queue, scheduled=True) == {"succeeded": 1}
    assert await retried.result() == "at last"
    delayed = await queue.enqueue(shaky, delay=3600)
    await run_until_idle(queue)
    assert (await delayed.status()).attempt == 0
    await run_until_idle(queue, scheduled=True)
    assert (await delayed.status()).state == "succeeded"


async def test_jobs_of_unknown_tasks_of_other_queues_and_of_paused_ones_stay(queue: Queue) -> None:
    @task
    async def known() -> None: ...

    with TaskRegistry.isolated():

        @task
        async def unknown() -> None: ...

    await queue.enqueue_many([known.s(), known.options(queue="other").s(), unknown.s()])
    assert await run_until_idle(queue, queues=["default"]) == {"succeeded": 1}
    await assert_enqueued(unknown, state="ready", connection=queue)
    await assert_enqueued(known, queue="other", state="ready", connection=queue)
    assert await run_until_idle(queue) == {"succeeded": 1}


async def test_what_has_expired_is_cancelled(queue: Queue) -> None:
    @task
    async def late() -> None: ...

    handle = await queue.enqueue(late, expires=0.001)
    await asyncio.to_thread(time.sleep, 0.002)
    assert await run_until_idle(queue, timeout=3) == {"cancelled": 1}
    assert (await handle.status()).attempt == 0


async def test_it_gives_up_in_time(queue: Queue) -> None:
    @task
    async def again() -> None:
        raise Snooze(3600)

    await queue.enqueue(again)
    with pytest.raises(TimeoutError, match=r"after 0\.5 s .* 'again': 1"):
        await run_until_idle(queue, scheduled=True, timeout=0.5)


async def test_a_job_that_hangs_is_handed_back_when_the_time_is_up(queue: Queue) -> None:
    hang = True

    @task
    async def hangs() -> str:
        if hang:
            await asyncio.Event().wait()
        return "now"

    handle = await queue.enqueue(hangs)
    with pytest.raises(TimeoutError, match="'hangs': 1"):
        await run_until_idle(queue, timeout=1)
    assert (await handle.status()).state == "ready"
    hang = False
    assert await run_until_idle(queue) == {"succeeded": 1}


async def test_on_engines_and_the_default_queue(
    database_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uno_jobs.queue.default import configure

    @task
    async def known() -> None: ...

    engine = create_async_engine(make_url(database_url).set(drivername="postgresql+asyncpg"))
    await queue.enqueue(known)
    assert await run_until_idle(engine) == {"succeeded": 1}
    await engine.dispose()
    await queue.enqueue(known)
    configure(queue)
    try:
        assert await run_until_idle() == {"succeeded": 1}
    finally:
        configure(None)
    with pytest.raises(ConfigurationError, match="a queue, an SQLAlchemy engine or a URL"):
        await run_until_idle(object())


def test_without_an_event_loop(database_url: str) -> None:
    @task
    async def double(number: int) -> int:
        return 2 * number

    with SyncQueue(database_url) as queue:
        handle = queue.enqueue(double, args=[21])
        assert run_until_idle_sync(queue) == {"succeeded": 1}
        assert handle.result() == 42
