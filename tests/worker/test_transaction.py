"""``job.transaction()``: a task's writes, its enqueues and its success, all or nothing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import text

from tests.worker.conftest import Database, running, until_empty
from uno_jobs import get_current_job
from uno_jobs.errors import (
    InvalidOption,
    JobAlreadyFinished,
    TransactionAlreadyOpen,
    TransactionEnded,
    WrongColour,
)
from uno_jobs.queue import Queue, SyncQueue
from uno_jobs.queue.default import configure
from uno_jobs.tasks import task

if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "INSERT INTO effects VALUES ('done')"


@pytest.fixture
async def effects(database: Database) -> Database:
    await database.connection.execute("CREATE TABLE effects (what text NOT NULL)")
    return database


@pytest.fixture(autouse=True)
def queue(database_url: str) -> Iterator[None]:
    configure(Queue(database_url))
    yield
    configure(None)


async def count(database: Database) -> int:
    return await database.connection.fetchval("SELECT count(*) FROM effects")


async def followers(database: Database) -> int:
    return await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs WHERE task = 'follower'")


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


async def run_one(database: Database, one: Any, *args: Any) -> asyncpg.Record:
    """Run one job to its first end, by a worker that serves the default queue; returns its status."""
    (id_,) = await database.put(one, *args)
    await until_empty(database.url)
    return await database.job(id_)


@pytest.mark.parametrize("kind", ["session", "asyncpg", "psycopg"])
@pytest.mark.parametrize("how", ["handle", "tx"])
async def test_writes_enqueues_and_success_are_one_commit(effects: Database, kind: Any, how: str) -> None:
    follower = define_follower()
    seen: list[Any] = []

    @task
    async def works() -> dict[str, int]:
        async with get_current_job().transaction(kind) as tx:
            await write(tx, kind)
            await follower.options(connection=tx if how == "tx" else tx.handle).enqueue()
            tx.set_result({"n": 1})
            # Until the end of the block nobody sees anything, and the job's row is free for everybody.
            seen.append((await count(effects), await followers(effects)))
            seen.append(await effects.connection.fetch("SELECT state FROM uno_jobs.live_jobs FOR UPDATE NOWAIT"))
        seen.append((await count(effects), await followers(effects)))
        seen.append((await effects.job(get_current_job().id))["state"])
        return {"n": 1}

    job = await run_one(effects, works)
    assert seen == [(0, 0), [("running",)], (1, 1), "succeeded"]
    assert (job["state"], json.loads(job["result"]), job["attempt"]) == ("succeeded", {"n": 1}, 1)
    xmins = "SELECT xmin::text FROM {} "
    written = await effects.connection.fetchval(xmins.format("effects"))
    assert written == await effects.connection.fetchval(xmins.format("uno_jobs.outcomes"))
    assert written == await effects.connection.fetchval(xmins.format("uno_jobs.jobs WHERE task = 'follower'"))


@pytest.mark.parametrize("kind", ["session", "psycopg"])
@pytest.mark.parametrize("how", ["handle", "tx"])
async def test_writes_enqueues_and_success_are_one_commit_in_a_synchronous_task(
    effects: Database, kind: Any, how: str
) -> None:
    follower = define_follower()
    sync_queue = SyncQueue(effects.url)

    @task(runs_in="thread")
    def works() -> None:
        with get_current_job().transaction(kind, result=7) as tx:
            write_sync(tx, kind)
            follower.options(connection=tx if how == "tx" else tx.handle, via=sync_queue).enqueue_sync()

    job = await run_one(effects, works)
    assert (job["state"], job["result"], job["attempt"]) == ("succeeded", "7", 1)
    assert (await count(effects), await followers(effects)) == (1, 1)
    xmins = "SELECT xmin::text FROM {} "
    written = await effects.connection.fetchval(xmins.format("effects"))
    assert written == await effects.connection.fetchval(xmins.format("uno_jobs.outcomes"))
