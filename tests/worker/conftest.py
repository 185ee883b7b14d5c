"""A worker inside the test, its tasks, and jobs put straight into the database."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import uuid_utils.compat as uuids

from tests.storage import invariants
from uno_jobs.queue import Queue
from uno_jobs.queue.default import configure
from uno_jobs.tasks import TaskRegistry
from uno_jobs.worker import watcher
from uno_jobs.worker.config import WorkerConfig
from uno_jobs.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from uuid import UUID

    from uno_jobs.tasks.registry import Registry

LIMIT = 30.0
"""Seconds after which a wait has failed: many times what it takes."""


@pytest.fixture
async def sound(database: Database) -> AsyncIterator[None]:
    """The invariants hold at the end."""
    yield
    await invariants.check(database.connection, retried_by_hand=True)


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    with TaskRegistry.isolated():
        yield


class Database:
    """What the tests put in and look up."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], url: str) -> None:
        self.connection = connection
        self.url = url

    async def put(
        self,
        task: Any,
        *args: Any,
        times: int = 1,
        queue: str | None = None,
        priority: int = 5,
        delay: float | None = None,
    ) -> list[UUID]:
        ids = [uuids.uuid7() for _ in range(times)]
        config = task.config
        await self.connection.execute(
            "SELECT uno_jobs.enqueue_plain($1, $2, $3, $4, $5, $6, $7, NULL, $8, NULL, NULL, true)",
            ids,
            [config.name] * times,
            [config.version] * times,
            [queue or config.queue] * times,
            [priority] * times,
            [json.dumps(args)] * times,
            ["{}"] * times,
            None if delay is None else [delay] * times,
        )
        return ids

    async def job(self, id_: UUID) -> asyncpg.Record:
        row = await self.connection.fetchrow("SELECT * FROM uno_jobs.job_status WHERE id = $1", id_)
        assert row is not None
        return row

    async def attempts(self, id_: UUID) -> list[asyncpg.Record]:
        return await self.connection.fetch("SELECT * FROM uno_jobs.attempts WHERE job_id = $1 ORDER BY attempt", id_)

    async def wait_for(self, id_: UUID, *states: str) -> asyncpg.Record:
        """Wait until a job is in one of these states."""
        async with asyncio.timeout(LIMIT):
            while (row := await self.job(id_))["state"] not in states:
                await asyncio.sleep(0.005)
        return row

    async def wait_until(self, query: str, *args: Any, within: float = LIMIT) -> None:
        """Wait until a query answers true."""
        async with asyncio.timeout(within):
            while not await self.connection.fetchval(query, *args):
                await asyncio.sleep(0.005)

    async def check(self) -> None:
        """Each job is in live_jobs or in outcomes, and in one of them only."""
        wrong = await self.connection.fetch("""
            SELECT j.id FROM uno_jobs.jobs j
            LEFT JOIN uno_jobs.live_jobs l ON l.id = j.id LEFT JOIN uno_jobs.outcomes o ON o.id = j.id
            WHERE (l.id IS NULL) = (o.id IS NULL)
            UNION ALL
            SELECT l.id FROM uno_jobs.live_jobs l WHERE NOT EXISTS (SELECT FROM uno_jobs.jobs j WHERE j.id = l.id)
            UNION ALL
            SELECT o.id FROM uno_jobs.outcomes o WHERE NOT EXISTS (SELECT FROM uno_jobs.jobs j WHERE j.id = o.id)
            """)
        assert not wrong


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(database_url)
    database = Database(connection, database_url)
    try:
        yield database
        await database.check()
    finally:
        await connection.close()


@pytest.fixture
async def effects(database: Database) -> Database:
    """A database with a table for what tasks write in transactions of their own."""
    await database.connection.execute("CREATE TABLE effects (what text NOT NULL)")
    return database


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection for what happens elsewhere while a task is inside its block."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def default_queue(database_url: str) -> AsyncIterator[None]:
    """Tasks enqueue into the database of the test."""
    async with Queue(database_url) as queue:
        configure(queue)
        yield
        configure(None)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Observers in this process wait for a beat for 4 seconds instead of 15."""
    monkeypatch.setattr(watcher, "WITH_LOCK", 4.0)


def use_a_task_factory() -> None:
    """Let the event loop make its tasks as an application may want them."""

    def make(loop: Any, coroutine: Any, **more: Any) -> Any:
        return asyncio.Task(coroutine, loop=loop, **more)

    asyncio.get_running_loop().set_task_factory(make)


@contextlib.asynccontextmanager
async def running(url: str, *, registry: Registry | None = None, **options: Any) -> AsyncIterator[Worker]:
    """A worker that is drained at the end of the block."""
    config = WorkerConfig(url=url, **{"grace": 10.0, "poll_interval": 0.2, **options})
    worker = Worker(config, registry=registry)
    task = asyncio.create_task(worker.run())
    started = asyncio.create_task(worker.started.wait())
    try:
        async with asyncio.timeout(LIMIT):
            await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield worker
    finally:
        started.cancel()
        if not worker._drain.is_set():
            worker.drain()
        async with asyncio.timeout(LIMIT):
            await task


async def until_empty(url: str, **options: Any) -> None:
    """Run a worker until there is nothing left to do."""
    async with asyncio.timeout(LIMIT):
        await Worker(WorkerConfig(url=url, until_empty=True, **{"poll_interval": 0.2, **options})).run()
