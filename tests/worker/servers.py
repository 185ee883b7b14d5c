"""Databases on servers of a test's own, jobs that leave a mark for each run, and how often each has run."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import asyncpg

from tests.worker import app
from tests.worker.conftest import LIMIT, Database
from uno_jobs.storage.migrations import upgrade

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from tests.postgres import Postgres

RUNNING = "SELECT count(*) = $1 FROM uno_jobs.live_jobs WHERE state = 'running'"


@contextlib.asynccontextmanager
async def looking(url: str) -> AsyncIterator[Database]:
    """Look at a database that has come back."""
    connection = await asyncpg.connect(url)
    try:
        yield Database(connection, url)
    finally:
        await connection.close()


async def migrated(server: Postgres, name: str, *, create: bool = True) -> str:
    """The URL of a database with the schema in it."""
    if create:
        connection = await asyncpg.connect(server.url)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
    url = server.url_of(name)
    await asyncio.to_thread(upgrade, url)
    return url


async def put_marking(database: Database, numbers: range, folder: Path, go: str) -> list[UUID]:
    """Put jobs that leave their number's mark when they run, and end when the file ``go`` is there."""
    jobs = [await database.put(app.marks_and_waits, str(folder), number, go) for number in numbers]
    return [id_ for ids in jobs for id_ in ids]


def runs(folder: Path) -> Counter[int]:
    """How often each number has been run."""
    marks = folder / "marks"
    return Counter(int(line) for line in (marks.read_text().split() if marks.exists() else ()))


async def marked(folder: Path, number: int) -> None:
    """Wait until a job has left its mark: what the database calls running may not yet have reached its first line."""
    async with asyncio.timeout(LIMIT):
        while not runs(folder)[number]:
            await asyncio.sleep(0.005)
