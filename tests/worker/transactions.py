"""What the tests of ``job.transaction()`` write in a job's own transaction, and what they look up afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from tests.worker.conftest import until_empty
from uno_jobs.tasks import task

if TYPE_CHECKING:
    import asyncpg

    from tests.worker.conftest import Database

INSERT = "INSERT INTO effects VALUES ('done')"


async def write(tx: Any, kind: str) -> None:
    if kind == "session":
        await tx.session.execute(text(INSERT))
    else:
        await tx.connection.execute(INSERT)


def write_sync(tx: Any, kind: str) -> None:
    if kind == "session":
        tx.session.execute(text(INSERT))
    else:
        tx.connection.execute(INSERT)


def define_follower() -> Any:
    @task(queue="elsewhere")
    async def follower() -> None: ...

    return follower


async def count(database: Database) -> int:
    return await database.connection.fetchval("SELECT count(*) FROM effects")


async def followers(database: Database) -> int:
    return await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs WHERE task = 'follower'")


async def run_one(database: Database, one: Any, *args: Any) -> asyncpg.Record:
    """Run one job to its first end, by a worker that serves the default queue; returns its status."""
    (id_,) = await database.put(one, *args)
    await until_empty(database.url)
    return await database.job(id_)
