"""Handles: the status of a job, and waiting for its result."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from tests.queue.callers import calling
from tests.worker.conftest import running
from uno_jobs import Queue, SyncQueue, task
from uno_jobs.errors import (
    Cancel,
    DatabaseUnavailable,
    InvalidOption,
    JobCancelled,
    JobFailed,
    JobNotFound,
    NotCommitted,
    ResultTimeout,
)

if TYPE_CHECKING:
    from tests.queue.conftest import Database

Tasks = SimpleNamespace


class Report(BaseModel):
    day: datetime


WAITERS = "SELECT count(*) FROM uno_jobs.result_waiters"


async def test_results_come_as_their_annotation_says(queue: Queue, database: Database, tasks: Tasks) -> None:
    now = datetime.now(UTC)

    @task
    async def report(day: datetime) -> Report:
        return Report(day=day)

    async with running(database.url):
        assert await (await queue.enqueue(tasks.add, [1])).result() == 3
        assert await (await report.options(via=queue).enqueue(now)).result(timeout=timedelta(seconds=30)) == Report(
            day=now
        )
        handles = await queue.enqueue_many([tasks.add.s(n) for n in range(50)])
        assert await asyncio.gather(*(handle.result() for handle in handles)) == [n + 2 for n in range(50)]
        assert await queue.get(handles[0].id).result() == 2
        status = await handles[0].status()
    assert (status.state, status.is_finished, status.result, status.attempt) == ("succeeded", True, 2, 1)
    assert await database.connection.fetchval(WAITERS) == 0


async def test_waiting_is_ended_by_a_notification(
    queue: Queue, database: Database, monkeypatch: pytest.MonkeyPatch, tasks: Tasks
) -> None:
    monkeypatch.setattr("uno_jobs.queue.waiting.POLL_HEARD", 3600.0)
    handle = await queue.enqueue(tasks.add, [1])
    both = [asyncio.create_task(handle.result()), asyncio.create_task(queue.get(handle.id).result())]
    await database.wait_until(f"SELECT ({WAITERS}) = 1")
    async with running(database.url):
        assert await asyncio.gather(*both) == [3, 3]
    # One connection listens, for all who wait.
    assert (
        await database.connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'uno-jobs results' "
            "AND datname = current_database()"
        )
        == 1
    )


async def test_those_who_wait_hold_no_connection_of_the_pool(
    database: Database, monkeypatch: pytest.MonkeyPatch, tasks: Tasks
) -> None:
    """Fifty web requests wait for results; other requests find the pool free, and one session listens for all."""
    monkeypatch.setattr("uno_jobs.queue.waiting.POLL_HEARD", 3600.0)
    engine = create_async_engine(
        database.url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=1, max_overflow=0
    )
    sessions = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' "
        "AND pid <> pg_backend_pid()"
    )
    async with Queue(engine) as queue:
        handles = [await queue.enqueue(tasks.add, [n]) for n in range(50)]
        waiting = [asyncio.create_task(handle.result()) for handle in handles]
        await database.wait_until(f"SELECT ({WAITERS}) = 50")
        await database.wait_until(f"SELECT ({sessions}) = 2")
        pool = engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        async with asyncio.timeout(30):
            while pool.checkedout():
                await asyncio.sleep(0.001)
        # The one connection is free for the application.
        async with engine.connect() as connection:
            assert (await connection.exec_driver_sql("SELECT 1")).scalar() == 1
        with pytest.raises(ResultTimeout):
            await handles[0].result(timeout=0.2)
        assert await database.connection.fetchval(sessions) == 2
        async with running(database.url):
            assert await asyncio.gather(*waiting) == [n + 2 for n in range(50)]
    await engine.dispose()


async def test_asking_too_late_leaves_nothing_behind(
    queue: Queue, database: Database, monkeypatch: pytest.MonkeyPatch, tasks: Tasks
) -> None:
    handle = await queue.enqueue(tasks.add, [1])
    listen, listening, ended = queue._own.listen, asyncio.Event(), asyncio.Event()

    async def slowly() -> object:
        listening.set()
        await ended.wait()
        return await listen()

    monkeypatch.setattr(queue._own, "listen", slowly)
    waiting = asyncio.create_task(handle.result())
    await listening.wait()
    async with running(database.url):
        await database.wait_until("SELECT count(*) = 1 FROM uno_jobs.outcomes")
    ended.set()
    assert await waiting == 3
    assert await database.connection.fetchval(WAITERS) == 0


async def test_waiting_does_without_notifications(
    queue: Queue, database: Database, monkeypatch: pytest.MonkeyPatch, tasks: Tasks
) -> None:
    async def deaf() -> None:
        raise DatabaseUnavailable("no")

    monkeypatch.setattr(queue._own, "listen", deaf)
    handle = await queue.enqueue(tasks.add, [1])
    waiting = asyncio.create_task(handle.result())
    async with running(database.url):
        assert await waiting == 3


async def test_a_wait_survives_its_connections(queue: Queue, database: Database, tasks: Tasks) -> None:
    handle = await queue.enqueue(tasks.add, [1])
    waiting = asyncio.create_task(handle.result())
    await database.wait_until(f"SELECT ({WAITERS}) = 1")
    await database.connection.fetch(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with running(database.url):
        assert await waiting == 3


async def test_failures_are_raised_as_they_were_recorded(queue: Queue, database: Database) -> None:
    @task(max_retries=0)
    async def breaks() -> None:
        raise LookupError("no such thing")

    @task
    async def gives_up() -> None:
        raise Cancel("not today")

    async with running(database.url):
        with pytest.raises(JobFailed, match="LookupError: no such thing") as caught:
            await (await queue.enqueue(breaks)).result()
        with pytest.raises(JobCancelled, match="not today"):
            await (await queue.enqueue(gives_up)).result()
    assert caught.value.error_type == "LookupError"
    assert "raise LookupError" in (caught.value.traceback or "")


async def test_a_wait_has_an_end(queue: Queue, database: Database, tasks: Tasks) -> None:
    handle = await queue.enqueue(tasks.add, [1])
    for timeout in (0, 0.05):
        with pytest.raises(ResultTimeout, match=r"was ready when the wait began.*goes on"):
            await handle.result(timeout=timeout)
    waiting = asyncio.create_task(handle.result())
    await database.wait_until(f"SELECT ({WAITERS}) = 1")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    # Nobody waits any more, and no worker is told to notify anybody.
    assert await database.connection.fetchval(WAITERS) == 0
    with pytest.raises(InvalidOption, match="timeout must be seconds"):
        await handle.result(timeout=-1)


async def test_a_job_that_is_not_committed_is_not_waited_for(queue: Queue, database: Database, tasks: Tasks) -> None:
    async with calling("session-asyncpg", database.url) as caller:
        handle = await caller.enqueue(tasks.add, 1)
        with pytest.raises(NotCommitted, match="still open or was rolled back"):
            await handle.result()
        with pytest.raises(NotCommitted):
            await handle.status()
        await caller.commit()
        assert (await handle.status()).state == "ready"
    gone = uuid.uuid4()
    with pytest.raises(JobNotFound, match=str(gone)):
        await queue.get(gone).result()
    with pytest.raises(JobNotFound):
        await queue.job(str(gone))
    with pytest.raises(InvalidOption, match="a job's id is a UUID"):
        queue.get("abc")


async def test_a_status_is_all_that_is_known(queue: Queue, tasks: Tasks) -> None:
    handle = await queue.enqueue(tasks.add, [1], {"b": 10**30}, delay=60, metadata={"a": [1]}, unique_key="k")
    status = await queue.job(handle.id)
    assert (status.id, status.task, status.args, status.kwargs) == (handle.id, "add", [1], {"b": 10**30})
    assert (status.state, status.unique_key, status.metadata, status.result) == ("scheduled", "k", {"a": [1]}, None)
    assert status.next_attempt_at == status.scheduled_at == status.created_at + timedelta(seconds=60)
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.state = "ready"  # type: ignore[misc] - the point


async def test_handles_are_equal_by_job(queue: Queue, tasks: Tasks) -> None:
    first, again = await queue.enqueue(tasks.send, ["a"]), await queue.enqueue(tasks.send, ["a"])
    assert first == again == queue.get(first.id)
    assert len({first, again}) == 1
    assert repr(again) == f"<JobHandle {first.id} duplicate>"


async def test_synchronous_handles(database: Database, tasks: Tasks) -> None:
    def work() -> None:
        with SyncQueue(database.url) as queue:
            handle = tasks.add.options(via=queue).enqueue_sync(1)
            assert handle.result() == 3
            assert handle.status().state == "succeeded"
            assert queue.job(handle.id).result == 3
            assert queue.get(handle.id).result(timeout=timedelta(seconds=5)) == 3
            with pytest.raises(ResultTimeout):
                queue.enqueue(tasks.add, [1], delay=3600).result(timeout=0.05)

    async with running(database.url):
        await asyncio.to_thread(work)
