"""``assert_enqueued``: over open transactions of every kind, and what it says when it fails."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from uno_jobs.errors import InvalidArguments, TransactionFailed, UnsupportedConnection, WrongColour
from uno_jobs.queue import Queue, SyncQueue
from uno_jobs.tasks import Task, TaskRegistry, task
from uno_jobs.testing import assert_enqueued, assert_enqueued_sync, run_until_idle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(autouse=True)
def registry() -> Iterator[Any]:
    with TaskRegistry.isolated() as inner:
        yield inner


@pytest.fixture
def remind() -> Task[..., Any, Any]:
    @task(queue="mail")
    async def remind(user_id: int, day: date, *, subject: str = "Do not forget") -> None: ...

    return remind


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with Queue(database_url) as queue:
        yield queue


DAY = date(2030, 1, 31)


async def test_in_the_transaction_of_a_session(queue: Queue, remind: Task[..., Any, Any], database_url: str) -> None:
    engine = create_async_engine(make_url(database_url).set(drivername="postgresql+asyncpg"))
    try:
        async with AsyncSession(engine) as session:
            job = await queue.enqueue(remind, args=[7, DAY], connection=session)
            (found,) = await assert_enqueued(remind, args=[7, DAY], connection=session)
            assert (found.id, found.queue, found.state) == (job.id, "mail", "ready")
            assert found.args == [7, "2030-01-31"]
            # Nobody else sees it, before the commit or after the rollback.
            await assert_enqueued(remind, count=0, connection=queue)
            await session.rollback()
            await assert_enqueued(remind, count=0, connection=session)
        async with engine.begin() as connection:
            await queue.enqueue(remind, args=[8, DAY], connection=connection)
            await assert_enqueued("remind", args=[8, DAY], connection=connection)
        await assert_enqueued(remind, args=[8, DAY], connection=engine, count=1)
    finally:
        await engine.dispose()


async def test_in_the_transaction_of_a_raw_connection(
    queue: Queue, remind: Task[..., Any, Any], database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await queue.enqueue(remind, args=[1, DAY], connection=connection)
        await assert_enqueued(remind, args=[1, DAY], connection=connection)
        await transaction.rollback()
        await assert_enqueued(remind, connection=connection, count=0)
    finally:
        await connection.close()
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await queue.enqueue(remind, args=[2, DAY], connection=other)
        await assert_enqueued(remind, args=[2, DAY], connection=other)
        await other.rollback()


def test_in_synchronous_transactions(remind: Task[..., Any, Any], database_url: str) -> None:
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    with SyncQueue(engine) as queue:
        with Session(engine) as session:
            queue.enqueue(remind, args=[1, DAY], connection=session)
            assert_enqueued_sync(remind, args=[1, DAY], connection=session)
            assert_enqueued_sync(remind, count=0, connection=queue)
        with engine.begin() as connection:
            queue.enqueue(remind, args=[2, DAY], connection=connection)
            assert_enqueued_sync(remind, args=[2, DAY], connection=connection)
        with psycopg.connect(database_url) as raw:
            queue.enqueue(remind, args=[3, DAY], connection=raw)
            assert_enqueued_sync(remind, count=2, connection=raw)
            raw.rollback()
        for committed in (queue, engine, database_url):
            assert_enqueued_sync(remind, args=[2, DAY], count=1, connection=committed)
    engine.dispose()


async def test_a_call_is_the_same_however_it_is_written(queue: Queue, remind: Task[..., Any, Any]) -> None:
    await queue.enqueue(remind, args=[7], kwargs={"day": DAY})
    for args, kwargs in [
        ([7, DAY], {}),
        ([7, "2030-01-31"], {}),
        ([], {"user_id": 7, "day": DAY}),
        ([7, DAY], {"subject": "Do not forget"}),
    ]:
        await assert_enqueued(remind, args=args, kwargs=kwargs, connection=queue)
        await assert_enqueued("remind", args=args, kwargs=kwargs, connection=queue)
    await assert_enqueued(remind.s(7, DAY), connection=queue)
    await assert_enqueued(remind.s(), connection=queue)
    await assert_enqueued(remind, args=[8, DAY], count=0, connection=queue)
    await assert_enqueued(remind, args=[7, DAY], kwargs={"subject": "Other"}, count=0, connection=queue)


async def test_a_task_that_is_not_registered_here_is_compared_as_it_is_stored(
    queue: Queue, remind: Task[..., Any, Any]
) -> None:
    await queue.enqueue(remind, args=[7, DAY])
    with TaskRegistry.isolated():
        await assert_enqueued("remind", args=[7, "2030-01-31"], connection=queue)
        await assert_enqueued("remind", args=[7], kwargs={"day": "2030-01-31"}, count=0, connection=queue)


async def test_where_and_in_which_state(queue: Queue, remind: Task[..., Any, Any]) -> None:
    await queue.enqueue(remind, args=[1, DAY])
    await queue.enqueue(remind, args=[2, DAY], queue="slow", delay=60)
    await assert_enqueued(remind, queue="mail", count=1, connection=queue)
    (later,) = await assert_enqueued(remind, queue="slow", state="scheduled", version="1.0", connection=queue)
    assert later.args[0] == 2
    await assert_enqueued(remind, version="2.0", count=0, connection=queue)
    await run_until_idle(queue)
    await assert_enqueued(remind, state="succeeded", count=1, connection=queue)
    # Jobs of another version of the task need not fit this one's parameters.
    await assert_enqueued(remind, args=[1, DAY], connection=queue)


async def test_it_says_what_there_is(queue: Queue, remind: Task[..., Any, Any]) -> None:
    with pytest.raises(AssertionError, match="no job at all is in sight"):
        await assert_enqueued(remind, connection=queue)
    await queue.enqueue(remind, args=[7, DAY])
    with pytest.raises(AssertionError) as caught:
        await assert_enqueued(remind, args=[8, DAY], queue="mail", connection=queue)
    text = str(caught.value)
    assert "a job of task 'remind' with args=[8, datetime.date(2030, 1, 31)], kwargs={}, queue 'mail'" in text
    assert "remind(7, '2030-01-31'), version 1.0, queue mail, ready" in text
    with pytest.raises(AssertionError, match=r"2 jobs of task 'remind' should have been enqueued; 1 was found"):
        await assert_enqueued(remind, count=2, connection=queue)
    with pytest.raises(AssertionError, match=r"in sight are jobs of 'remind' \(1\)"):
        await assert_enqueued("remnid", connection=queue)


async def test_what_cannot_be_asked(queue: Queue, remind: Task[..., Any, Any], database_url: str) -> None:
    with pytest.raises(InvalidArguments, match="user_id"):
        await assert_enqueued(remind, args=["seven", DAY], connection=queue)
    with pytest.raises(TypeError, match="a task, a signature or a task's name"):
        await assert_enqueued(len, connection=queue)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedConnection):
        await assert_enqueued(remind, connection=object())
    connection = await asyncpg.connect(database_url)
    try:
        with pytest.raises(WrongColour, match="await assert_enqueued"):
            assert_enqueued_sync(remind, connection=connection)
        transaction = connection.transaction()
        await transaction.start()
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")
        with pytest.raises(TransactionFailed):
            await assert_enqueued(remind, connection=connection)
    finally:
        await connection.close()
    with psycopg.connect(database_url) as raw, pytest.raises(WrongColour, match="assert_enqueued_sync"):
        await assert_enqueued(remind, connection=raw)
