"""A worker that logs in as the worker role: all that workers do, and no right on a table."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import text

from tests.worker import app
from tests.worker.conftest import LIMIT, running
from tests.worker.processes import WORKER_PID, kill, outcomes, supervisor, workers
from uno_jobs import Queue, chain, get_current_job, group
from uno_jobs.errors import JobFailed
from uno_jobs.queue.default import configure
from uno_jobs.tasks import task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.roles import Roles
    from tests.worker.conftest import Database


@pytest.fixture
async def queue(roles: Roles) -> AsyncIterator[Queue]:
    """A queue of the worker role, which is the default one, too."""
    async with Queue(roles.worker) as queue:
        configure(queue)
        yield queue
        configure(None)


async def test_tasks_do_all_that_tasks_do(effects: Database, roles: Roles, queue: Queue) -> None:
    # The application's tables are the application's to grant.
    await effects.connection.execute(f'GRANT INSERT ON effects TO "{roles.names["worker"]}"')
    seen: list[Any] = []

    @task
    async def add(a: int, b: int) -> int:
        return a + b

    @task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    @task(max_retries=1, retry_delay=0)
    async def second_time() -> int:
        if get_current_job().attempt == 1:
            raise ConnectionError("not yet")
        return get_current_job().attempt

    @task(max_retries=0)
    async def fails() -> None:
        raise ValueError("no")

    @task
    async def never() -> None: ...

    @task
    async def busy() -> int:
        job = get_current_job()
        await job.set_progress(0.5, "half")
        async with job.transaction() as tx:
            await tx.session.execute(text("INSERT INTO effects VALUES ('done')"))
            await add.options(connection=tx).enqueue(1, 1)
            job.then(add.si(2, 2))
            tx.set_result(7)
        later = await never.options(delay=3600).enqueue()
        seen.append(await later.cancel())
        seen.append((await later.status()).state)
        await later.retry()
        return 7

    async with running(roles.worker) as worker:
        assert await (await queue.enqueue(add, [1, 2])).result(LIMIT) == 3
        flow = await queue.enqueue(chain(group([add.s(1, 2), add.s(3, 4)]), total))
        assert await flow.result(LIMIT) == 10
        assert await (await queue.enqueue(second_time)).result(LIMIT) == 2
        with pytest.raises(JobFailed, match="no") as failed:
            await (await queue.enqueue(fails)).result(LIMIT)
        assert "ValueError" in (failed.value.traceback or "")
        with pytest.raises(JobFailed, match="step of the workflow"):
            await (await queue.enqueue(chain(fails, never))).result(LIMIT)
        busy_one = await queue.enqueue(busy)
        assert await busy_one.result(LIMIT) == 7
        assert await (await queue.enqueue(add, [5, 5], delay=0.1)).result(LIMIT) == 10
        await effects.wait_until("SELECT NOT EXISTS (SELECT FROM uno_jobs.live_jobs)")
        assert worker.started.is_set()
    assert seen == ["cancelled", "cancelled"]
    assert await effects.connection.fetchval("SELECT string_agg(what, ' ') FROM effects") == "done"


async def test_a_supervisor_rescues_and_shuts_down(database: Database, roles: Roles, tmp_path: Path) -> None:
    (waits,) = await database.put(app.until_there, str(tmp_path / "go"))
    async with supervisor(roles.worker) as process:
        await database.wait_for(waits, "running")
        first = await database.connection.fetchval(WORKER_PID)
        kill([first])
        await database.wait_until("SELECT count(*) = 1 FROM uno_jobs.attempts")
        assert await outcomes(database, waits) == ["lost"]
        await database.wait_for(waits, "running")
        await workers(database, 1)
        # What is left when it has to stop is handed back.
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGTERM)
        async with asyncio.timeout(LIMIT):
            assert await process.wait() == 0
    assert await outcomes(database, waits) == ["lost", "handed_back"]
    assert (await database.job(waits))["state"] == "ready"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM uno_jobs.live_jobs",
        "UPDATE uno_jobs.live_jobs SET priority = 0",
        "DELETE FROM uno_jobs.outcomes",
        "INSERT INTO uno_jobs.queues VALUES ('default', now(), 'me')",
        "TRUNCATE uno_jobs.jobs",
        "CREATE TABLE uno_jobs.mine (a int)",
        "DROP VIEW uno_jobs.job_status",
        "ALTER FUNCTION uno_jobs.clock() COST 1",
        "CREATE INDEX ON uno_jobs.jobs (queue)",
        "SELECT uno_jobs.set_retention('succeeded', '0')",
        "SELECT uno_jobs.remove_jobs('{}')",
    ],
)
async def test_a_worker_changes_nothing_by_hand(roles: Roles, sql: str) -> None:
    session = await asyncpg.connect(roles.worker)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await session.execute(sql)
    finally:
        await session.close()
