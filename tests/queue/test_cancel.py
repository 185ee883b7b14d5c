"""Cancelling and retrying by a queue or a handle: on every kind of connection, in the caller's transaction."""

from __future__ import annotations

import asyncio
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tests.queue.callers import AUTOCOMMIT, KINDS, calling
from uno_jobs import CancelResult, Queue, SyncQueue
from uno_jobs.errors import (
    DuplicateJob,
    EnqueueConflict,
    InvalidOption,
    JobCancelled,
    JobNotFound,
    NotCommitted,
    RetryRefused,
    WrongColour,
)
from uno_jobs.storage.urls import sqlalchemy_url

if TYPE_CHECKING:
    from uuid import UUID

    from tests.queue.conftest import Database

Tasks = SimpleNamespace


async def start(database: Database, id_: UUID) -> None:
    """Let some worker claim a job."""
    await database.connection.execute(
        "UPDATE uno_jobs.live_jobs SET state = 'running', worker_id = gen_random_uuid(), lease = 7, started_at = now(),"
        " attempt = attempt + 1 WHERE id = $1",
        id_,
    )


async def states(database: Database) -> dict[UUID, str]:
    return {job["id"]: job["state"] for job in await database.jobs()}


async def requests(database: Database) -> list[Any]:
    return [
        tuple(row) for row in await database.connection.fetch("SELECT job_id, reason FROM uno_jobs.cancel_requests")
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancellation_stands_or_falls_with_the_callers_transaction(
    kind: str, queue: Queue, database: Database, tasks: Tasks
) -> None:
    ready, runs = (handle.id for handle in await queue.enqueue_many([tasks.add.s(1), tasks.add.s(2)]))
    await start(database, runs)
    async with calling(kind, database.url) as caller:
        for commits in (False, True):
            await caller.begin()
            assert await caller.cancel(ready, "enough") is CancelResult.CANCELLED
            assert await caller.cancel(str(ready)) is CancelResult.FINISHED
            assert await caller.cancel(runs, "é") is CancelResult.REQUESTED
            # What cannot be done leaves the transaction whole.
            with pytest.raises(JobNotFound, match="there is no job"):
                await caller.cancel(uuid.uuid4())
            assert await states(database) == {ready: "ready", runs: "running"}
            await (caller.commit() if commits else caller.rollback())
    assert await states(database) == {ready: "cancelled", runs: "running"}
    assert await requests(database) == [(runs, "é")]
    status = await queue.job(ready)
    assert (status.error, status.cancel_requested_at) == ("enough", None)
    asked_at = await database.connection.fetchval("SELECT requested_at FROM uno_jobs.cancel_requests")
    assert (await queue.job(runs)).cancel_requested_at == asked_at


@pytest.mark.parametrize("kind", KINDS)
async def test_a_retry_stands_or_falls_with_the_callers_transaction(
    kind: str, queue: Queue, database: Database, tasks: Tasks
) -> None:
    first = await queue.enqueue(tasks.send, ["a"])
    await first.cancel()
    holder = await queue.enqueue(tasks.send, ["a"])
    other = await queue.enqueue(tasks.add, [1])
    await other.cancel()
    async with calling(kind, database.url) as caller:
        for commits in (False, True):
            await caller.begin()
            await caller.retry(other.id)
            # What cannot be done leaves the transaction whole.
            with pytest.raises(RetryRefused, match=f"job {other.id} is ready: only what failed, was cancelled or"):
                await caller.retry(str(other.id))
            with pytest.raises(DuplicateJob, match=f"job {holder.id} is unfinished and holds the unique key") as caught:
                await caller.retry(first.id)
            assert caught.value.job_id == str(holder.id)
            with pytest.raises(JobNotFound, match="there is no job"):
                await caller.retry(uuid.uuid4())
            assert (await states(database))[other.id] == "cancelled"
            await (caller.commit() if commits else caller.rollback())
    assert await states(database) == {first.id: "cancelled", holder.id: "ready", other.id: "ready"}


@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_transaction_each_is_its_own(kind: str, queue: Queue, database: Database, tasks: Tasks) -> None:
    handle = await queue.enqueue(tasks.add, [1])
    async with calling(kind, database.url, AUTOCOMMIT) as caller:
        assert await caller.cancel(handle.id) is CancelResult.CANCELLED
        assert await states(database) == {handle.id: "cancelled"}
        await caller.retry(handle.id)
        assert await states(database) == {handle.id: "ready"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_race_lost_on_an_old_snapshot_is_named(
    kind: str, queue: Queue, database: Database, tasks: Tasks
) -> None:
    handle = await queue.enqueue(tasks.add, [1])
    async with calling(kind, database.url, "REPEATABLE READ") as caller:
        await caller.begin()
        await caller.raw("SELECT 1 FROM uno_jobs.jobs")
        await start(database, handle.id)
        with pytest.raises(EnqueueConflict, match="retry the transaction"):
            await caller.cancel(handle.id)
        await caller.rollback()


async def test_by_the_handle(queue: Queue, database: Database, tasks: Tasks) -> None:
    handle = await queue.enqueue(tasks.add, [1])
    assert await handle.cancel("not wanted") is CancelResult.CANCELLED
    assert await handle.cancel() is CancelResult.FINISHED
    with pytest.raises(JobCancelled, match="not wanted"):
        await handle.result()
    await handle.retry()
    assert (await handle.status()).state == "ready"
    assert await queue.cancel(handle.id, "by the queue") == "cancelled"
    await queue.retry(str(handle.id))
    await start(database, handle.id)
    assert await handle.cancel() is CancelResult.REQUESTED
    with pytest.raises(RetryRefused, match="is running"):
        await handle.retry()


async def test_by_handles_and_queues_of_the_other_colour(database: Database, tasks: Tasks) -> None:
    def work() -> None:
        with SyncQueue(database.url) as queue:
            handle = queue.enqueue(tasks.add, [1])
            assert handle.cancel("not wanted") is CancelResult.CANCELLED
            with pytest.raises(JobCancelled, match="not wanted"):
                handle.result()
            handle.retry()
            assert queue.cancel(handle.id) is CancelResult.CANCELLED
            queue.retry(handle.id)
            assert handle.status().state == "ready"
            with pytest.raises(JobNotFound):
                queue.cancel(uuid.uuid4())
            with pytest.raises(RetryRefused):
                handle.retry()

    await asyncio.to_thread(work)


async def test_a_blocking_call_in_an_event_loop_is_refused(database: Database, tasks: Tasks) -> None:
    queue = SyncQueue(database.url)
    for call in (queue.cancel, queue.retry):
        with pytest.raises(WrongColour, match="inside a running event loop"):
            call(uuid.uuid4())


async def test_a_job_that_is_not_yet_committed(queue: Queue, database: Database, tasks: Tasks) -> None:
    async with calling("asyncpg", database.url) as caller:
        await caller.begin()
        handle = await caller.enqueue(tasks.add, 1)
        for call in (handle.cancel, handle.retry):
            with pytest.raises(NotCommitted, match="still open"):
                await call()
        # The transaction itself sees it.
        assert await handle.cancel(connection=caller.connection) is CancelResult.CANCELLED
        await handle.retry(connection=caller.connection)
        assert await handle.cancel("again", connection=caller.connection) is CancelResult.CANCELLED
        await caller.commit()
    assert (await queue.job(handle.id)).error == "again"


@pytest.mark.parametrize("reason", [7, b"no", "a\x00b", "\ud800", "x" * 4001])
async def test_a_reason_that_will_not_do(queue: Queue, database: Database, tasks: Tasks, reason: Any) -> None:
    async with calling("asyncpg", database.url) as caller:
        await caller.begin()
        handle = await caller.enqueue(tasks.add, 1)
        with pytest.raises(InvalidOption, match="reason"):
            await handle.cancel(reason, connection=caller.connection)
        with pytest.raises(InvalidOption, match="reason"):
            await handle.cancel(reason)
        await caller.commit()
    assert await states(database) == {handle.id: "ready"}


@pytest.mark.parametrize("wrong", ["no uuid", 7, None])
async def test_what_is_no_id_is_refused(queue: Queue, wrong: Any) -> None:
    for call in (queue.cancel, queue.retry):
        with pytest.raises(InvalidOption, match="a job's id is a UUID"):
            await call(wrong)


async def test_those_who_wait_for_the_result_are_told(
    queue: Queue, database: Database, monkeypatch: pytest.MonkeyPatch, tasks: Tasks
) -> None:
    monkeypatch.setattr("uno_jobs.queue.waiting.POLL_HEARD", 3600.0)
    handle = await queue.enqueue(tasks.add, [1])
    waiting = asyncio.create_task(handle.result())
    await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.result_waiters)")
    await queue.cancel(handle.id, "not wanted")
    with pytest.raises(JobCancelled, match="not wanted"):
        await waiting


async def test_the_queues_word_on_notifying_holds(database: Database, tasks: Tasks) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    ear = await asyncpg.connect(database.url)
    channel = await ear.fetchval("SELECT channel FROM uno_jobs.schema_info")
    await ear.add_listener(channel, lambda *said: heard.put_nowait(said[3]))
    async with Queue(database.url, notify=False) as quiet, Queue(database.url) as loud:
        handle = await quiet.enqueue(tasks.add, [1])
        await start(database, handle.id)
        await quiet.cancel(handle.id)
        await database.connection.execute("SELECT pg_notify($1, 'between')", channel)
        await loud.cancel(handle.id)
        async with asyncio.timeout(30):
            assert [await heard.get(), await heard.get()] == ["between", f"cancel {handle.id}"]
    await ear.close()


async def test_two_phase_commit_goes_without_a_notification(queue: Queue, database: Database, tasks: Tasks) -> None:
    handle = await queue.enqueue(tasks.add, [1])
    await start(database, handle.id)
    engine = create_engine(sqlalchemy_url(database.url, "psycopg"), poolclass=NullPool)
    said: list[Any] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "try_" in statement:
            said.append(parameters[-1])

    def work() -> None:
        with SyncQueue(database.url) as sync:
            for two_phase in (True, False):
                with Session(engine, twophase=two_phase) as session:
                    sync.cancel(handle.id, connection=session)
                    with pytest.raises(RetryRefused):
                        sync.retry(handle.id, connection=session)
                    session.rollback()

    await asyncio.to_thread(work)
    assert said == ["false", "false", "true", "true"]
