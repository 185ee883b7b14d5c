"""Tasks to enqueue, in a registry of their own, and what the database shows of the jobs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from uno_jobs import Queue, TaskRegistry, configure, task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LIMIT = 30.0
"""Seconds after which a wait has failed: many times what it takes."""


@pytest.fixture(autouse=True)
def tasks() -> Iterator[SimpleNamespace]:
    with TaskRegistry.isolated():

        @task
        async def add(a: int, b: int = 2) -> int:
            return a + b

        @task(unique=True, queue="mails", priority="high")
        async def send(to: str, subject: str = "hello") -> None: ...

        @task(unique=True, unique_key=lambda user: f"user:{user}", on_duplicate="replace", unique_until="started")
        async def sync_user(user: str, full: bool = False) -> None: ...

        yield SimpleNamespace(add=add, send=send, sync_user=sync_user)
    configure(None)


@pytest.fixture
async def queue(database_url: str) -> AsyncIterator[Queue]:
    async with Queue(database_url) as queue:
        yield queue


class Database:
    """What another session sees."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], url: str) -> None:
        self.connection = connection
        self.url = url

    async def jobs(self) -> list[asyncpg.Record]:
        return await self.connection.fetch("SELECT * FROM uno_jobs.job_status ORDER BY created_at, id")

    async def count(self) -> int:
        return await self.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs")

    async def wait_until(self, query: str, *args: Any) -> None:
        """Wait until a query answers true."""
        async with asyncio.timeout(LIMIT):
            while not await self.connection.fetchval(query, *args):
                await asyncio.sleep(0.005)

    async def wait_for_waiting(self, sessions: int = 1) -> None:
        """Wait until so many sessions of this database wait for a lock of another."""
        await self.wait_until(
            "SELECT count(*) >= $1 FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock'",
            sessions,
        )

    async def check(self) -> None:
        """Each job is in live_jobs or in outcomes, and in one of them only."""
        wrong = await self.connection.fetchval("""
            SELECT count(*) FROM uno_jobs.jobs j
            FULL JOIN (SELECT id FROM uno_jobs.live_jobs UNION ALL SELECT id FROM uno_jobs.outcomes) s USING (id)
            WHERE j.id IS NULL OR s.id IS NULL
            """)
        assert wrong == 0


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(database_url)
    database = Database(connection, database_url)
    try:
        yield database
        await database.check()
    finally:
        await connection.close()
