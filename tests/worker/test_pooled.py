"""Behind a transaction pooler, a real PgBouncer, everything works by polling, and nothing is left in a session."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tests.pgbouncer import needs_pgbouncer, pgbouncer
from tests.worker import app
from tests.worker.conftest import LIMIT, Database, running, until_empty
from tests.worker.processes import WORKER_PID, supervisor
from uno_jobs import Queue, SyncQueue, get_current_job
from uno_jobs.errors import ConfigurationError, JobNotFound, Retry, TaskNotFound
from uno_jobs.storage import migrations
from uno_jobs.storage.checking import differences
from uno_jobs.storage.inspection import inspect
from uno_jobs.storage.migrations import UNPREPARED
from uno_jobs.storage.session import connect
from uno_jobs.storage.urls import sqlalchemy_url
from uno_jobs.tasks import chain, group, task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_pgbouncer

LEFT = """
    SELECT 'prepared: ' || statement FROM pg_prepared_statements
    UNION ALL SELECT 'listens: ' || pg_listening_channels()
    UNION ALL SELECT 'lock: ' || locktype FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
    UNION ALL SELECT name || ' = ' || setting FROM pg_settings
    WHERE source = 'session' AND setting <> reset_val
      AND name NOT IN ('application_name', 'client_encoding', 'transaction_isolation')
"""
"""What is left in a session, but for what PgBouncer itself sets for each client."""


@pytest.fixture
def pooler(database_url: str, tmp_path: Path) -> Iterator[str]:
    # Fewer sessions than a worker alone has connections: they are shared, and whoever clings to one hangs.
    with pgbouncer(database_url, tmp_path, pool_size=2) as url:
        yield url


async def test_a_worker_drains_and_nothing_is_left_in_a_session(database: Database, pooler: str) -> None:
    failed: list[int] = []

    @task(max_retries=1, retry_delay=0)
    async def now_and_then(number: int) -> int:
        if number == 3 and not failed:
            failed.append(number)
            raise ValueError("once")
        return number

    ids = await database.put(now_and_then, 3) + await database.put(now_and_then, 4, times=200)
    ids += await database.put(now_and_then, 5, delay=0.2)
    async with running(pooler, pooled=True):
        for id_ in ids:
            await database.wait_for(id_, "succeeded")
    await until_empty(pooler, pooled=True)
    assert [one["outcome"] for one in await database.attempts(ids[0])] == ["retried", "succeeded"]
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.hungry") == 0
    assert await left_in_sessions(database, pooler) == []


async def test_a_jobs_own_transaction_works_and_leaves_nothing(database: Database, pooler: str) -> None:
    await database.connection.execute("CREATE TABLE counter AS SELECT 0 AS n")
    statement = "UPDATE counter SET n = n + 1"

    @task
    async def counts(kind: Any) -> None:
        async with get_current_job().transaction(kind) as tx:
            await (tx.session.execute(text(statement)) if kind == "session" else tx.connection.execute(statement))

    @task(runs_in="thread")
    def counts_sync(kind: Any) -> None:
        with get_current_job().transaction(kind) as tx:
            _ = tx.session.execute(text(statement)) if kind == "session" else tx.connection.execute(statement)

    for kind in ("session", "asyncpg", "psycopg"):
        await database.put(counts, kind, times=20)
    for kind in ("session", "psycopg"):
        await database.put(counts_sync, kind, times=20)
    await until_empty(pooler, pooled=True)
    assert await database.connection.fetchval("SELECT n FROM counter") == 100
    assert (
        await database.connection.fetchval("SELECT max(attempt) FROM uno_jobs.outcomes WHERE state = 'succeeded'") == 1
    )
    assert await left_in_sessions(database, pooler) == []


async def left_in_sessions(database: Database, pooler: str) -> list[str]:
    """Ask each of the pooler's sessions, by holding those that have been asked."""
    sessions = await database.connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert sessions > 0
    left: list[str] = []
    connections: list[asyncpg.Connection[asyncpg.Record]] = []
    for _ in range(sessions):
        connection = await asyncpg.connect(pooler, statement_cache_size=0)
        connections.append(connection)
        await connection.execute("BEGIN")
        left += [row[0] for row in await connection.fetch(LEFT)]
    for connection in connections:
        await connection.execute("ROLLBACK")
        await connection.close()
    return left


async def test_a_role_s_defaults_change_nothing(database: Database, pooler: str) -> None:
    @task
    async def noop() -> None: ...

    (id_,) = await database.put(noop)
    name = database.url.rpartition("/")[2]
    for setting in (
        "default_transaction_isolation = 'repeatable read'",
        "default_transaction_read_only = on",
        "statement_timeout = 1",
        "lock_timeout = 1",
        "search_path = pg_catalog",
    ):
        await database.connection.execute(f'ALTER DATABASE "{name}" SET {setting}')
    try:
        await until_empty(pooler, pooled=True)
        async with Queue(pooler, pooled=True) as queue:
            await queue.enqueue(noop)
    finally:
        await database.connection.execute(f'ALTER DATABASE "{name}" RESET ALL')
    assert (await database.job(id_))["state"] == "succeeded"
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 2


async def test_a_result_is_waited_for_by_polling(database: Database, pooler: str) -> None:
    @task
    async def add(a: int, b: int) -> int:
        return a + b

    async with Queue(pooler, pooled=True) as queue, running(pooler, pooled=True):
        handle = await queue.enqueue(add, [1, 2])
        assert await handle.result(LIMIT) == 3
        many = await queue.enqueue_many([add.s(1, number) for number in range(50)])
        assert [await one.result(LIMIT) for one in many] == list(range(1, 51))
        with pytest.raises(JobNotFound):
            await queue.job("01a20d7d-e6bf-77e7-ab11-00abda061ab6")
        with pytest.raises(TaskNotFound):
            await queue.enqueue("nobody_knows")
        assert await handle.result() == 3  # after errors, the connections serve on
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.result_waiters") == 0
    assert await left_in_sessions(database, pooler) == []


async def test_a_cancellation_is_found_by_polling(database: Database, pooler: str) -> None:
    started = asyncio.Event()

    @task
    async def for_ever() -> None:
        started.set()
        await asyncio.Event().wait()

    (id_,) = await database.put(for_ever)
    async with running(pooler, pooled=True):
        await asyncio.wait_for(started.wait(), LIMIT)
        await database.connection.execute(
            "INSERT INTO uno_jobs.cancel_requests (job_id, requested_at) VALUES ($1, now())", id_
        )
        await database.wait_for(id_, "cancelled")


async def test_steps_added_at_run_time_follow(database: Database, pooler: str) -> None:
    """With a transaction of the task's own and without one, and on a thread; a failed attempt adds nothing."""
    await database.connection.execute("CREATE TABLE counter AS SELECT 0 AS n")

    @task
    async def note(seen: list, word: str) -> list:
        return [*seen, word]

    @task(max_retries=1, retry_delay=0)
    async def adds(seen: list) -> list:
        job = get_current_job()
        job.then(group([note.s("left"), note.s("right")]))
        if job.attempt == 1:
            raise ValueError("after job.then")
        return [*seen, "adds"]

    @task
    async def adds_in_its_transaction(seen: list) -> None:
        job = get_current_job()
        async with job.transaction("asyncpg") as tx:
            await tx.connection.execute("UPDATE counter SET n = n + 1")
            job.then(note.s("added"))
            tx.set_result([*seen, "transaction"])

    @task(runs_in="thread")
    def adds_on_a_thread(seen: list) -> list:
        get_current_job().then(note.s("added"))
        return [*seen, "thread"]

    async with Queue(pooler, pooled=True) as queue, running(pooler, pooled=True):
        handle = await queue.enqueue(chain(adds_in_its_transaction, adds_on_a_thread, adds, note.s("end")), [[]])
        upto = ["transaction", "added", "thread", "added", "adds"]
        assert await handle.result(LIMIT) == [[*upto, "left"], [*upto, "right"], "end"]
    assert await database.connection.fetchval("SELECT n FROM counter") == 1
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 9
    assert await left_in_sessions(database, pooler) == []


async def test_control_by_exception_and_progress(database: Database, pooler: str) -> None:
    from uno_jobs import get_current_job

    @task
    async def twice() -> None:
        job = get_current_job()
        await job.set_progress(0.5, "half")
        if job.attempt == 1:
            raise Retry("again", delay=0)

    (id_,) = await database.put(twice)
    async with running(pooler, pooled=True):
        await database.wait_for(id_, "succeeded")
    assert len(await database.attempts(id_)) == 2


async def test_all_connections_are_cut_while_jobs_run(database: Database, pooler: str) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @task
    async def waits() -> None:
        started.set()
        await go_on.wait()

    (id_,) = await database.put(waits)
    async with running(pooler, pooled=True):
        await asyncio.wait_for(started.wait(), LIMIT)
        await database.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        go_on.set()
        await database.wait_for(id_, "succeeded")
    assert [one["outcome"] for one in await database.attempts(id_)] == ["succeeded"]


async def test_a_killed_supervisor_is_found_out_without_a_lock(database: Database, pooler: str, tmp_path: Path) -> None:
    there = tmp_path / "go"
    async with supervisor(pooler, pooled=True) as first:
        (id_,) = await database.put(app.until_there, str(there))
        await database.wait_for(id_, "running")
        pid = await database.connection.fetchval(WORKER_PID)
        async with supervisor(pooler, pooled=True):
            await database.wait_until("SELECT count(*) = 2 FROM uno_jobs.workers WHERE state = 'running'")
            assert not await database.connection.fetch("SELECT FROM uno_jobs.workers WHERE lock_key IS NOT NULL")
            os.kill(first.pid, signal.SIGKILL)
            await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE outcome = 'lost')", within=90)
            there.touch()
            job = await database.wait_for(id_, "succeeded")
    assert int(job["result"]) != pid
    lost, _ = await database.attempts(id_)
    assert "no beat for" in lost["error"]


async def test_a_killed_worker_is_noticed_at_once(database: Database, pooler: str, tmp_path: Path) -> None:
    there = tmp_path / "go"
    (id_,) = await database.put(app.until_there, str(there))
    async with supervisor(pooler, pooled=True):
        await database.wait_for(id_, "running")
        os.kill(await database.connection.fetchval(WORKER_PID), signal.SIGKILL)
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE outcome = 'lost')")
        there.touch()
        await database.wait_for(id_, "succeeded")


# --- callers' transactions --------------------------------------------------------------------------------------------


async def test_enqueue_in_an_asyncpg_transaction(database: Database, pooler: str) -> None:
    connection = await asyncpg.connect(pooler, statement_cache_size=0)
    async with Queue(pooler, pooled=True) as queue:
        async with connection.transaction():
            await queue.enqueue(app.noop, [1], connection=connection)
            assert await count(database) == 0
        assert await count(database) == 1
        transaction = connection.transaction()
        await transaction.start()
        await queue.enqueue(app.noop, [1], connection=connection)
        await transaction.rollback()
        assert await count(database) == 1
        await queue.enqueue_many([app.noop.s(1), app.noop.s(2)], connection=connection)  # in none: it gets one
        assert await count(database) == 3
    await connection.close()
    assert await left_in_sessions(database, pooler) == []


async def test_enqueue_in_a_session_on_asyncpg(database: Database, pooler: str) -> None:
    engine = create_async_engine(
        sqlalchemy_url(pooler, "asyncpg"), poolclass=NullPool, connect_args={"statement_cache_size": 0, **UNPREPARED}
    )
    async with Queue(engine, pooled=True) as queue:
        async with AsyncSession(engine) as session, session.begin():
            await queue.enqueue(app.noop, [1], connection=session)
            assert await count(database) == 0
        assert await count(database) == 1
        handle = await queue.enqueue(app.noop, [5])
        assert (await handle.status()).state == "ready"
    await engine.dispose()
    assert await left_in_sessions(database, pooler) == []


async def test_enqueue_with_psycopg(database: Database, pooler: str) -> None:
    def work() -> None:
        with (
            SyncQueue(pooler, pooled=True) as queue,
            psycopg.connect(pooler, prepare_threshold=None) as connection,
        ):
            for number in range(20):  # psycopg prepares what is asked for the sixth time, unless it is told not to
                queue.enqueue(app.noop, [number], connection=connection)

    await asyncio.to_thread(work)
    assert await count(database) == 20
    assert await left_in_sessions(database, pooler) == []


async def test_enqueue_in_a_session_on_psycopg(database: Database, pooler: str) -> None:
    engine = create_engine(
        sqlalchemy_url(pooler, "psycopg"), poolclass=NullPool, connect_args={"prepare_threshold": None}
    )

    def work() -> None:
        with SyncQueue(engine, pooled=True) as queue:
            with Session(engine) as session, session.begin():
                queue.enqueue(app.noop, [1], connection=session)
            assert queue.enqueue(app.noop, [2]).status().state == "ready"

    await asyncio.to_thread(work)
    engine.dispose()
    assert await count(database) == 2
    assert await left_in_sessions(database, pooler) == []


async def count(database: Database) -> int:
    return await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs")


# --- commands ---------------------------------------------------------------------------------------------------------


async def test_a_pooler_that_was_not_declared_is_named(pooler: str) -> None:
    with pytest.raises(ConfigurationError, match="UNO_JOBS_POOLED=true"):
        await connect(pooler)
    async with Queue(pooler, pooled=False) as queue:
        with pytest.raises(ConfigurationError, match="pooler"):
            await queue.enqueue(app.noop, [1])


async def test_looking(database: Database, pooler: str) -> None:
    (id_,) = await database.put(app.noop, 1)
    async with inspect(pooler, pooled=True) as inspector:
        found: Any = await inspector.job(id_)
        assert found["args"] == [1]
    assert await left_in_sessions(database, pooler) == []


async def test_the_schema_can_be_installed_and_checked(empty_database_url: str, tmp_path: Path) -> None:
    with pgbouncer(empty_database_url, tmp_path) as pooler:
        await asyncio.to_thread(migrations.upgrade, pooler, pooled=True)
        await asyncio.to_thread(migrations.upgrade, pooler, pooled=True)  # nothing left to do
        assert await differences(pooler, pooled=True) == []
        found = await asyncio.to_thread(migrations.current_revision, pooler, pooled=True)
        assert found == migrations.newest_revision()
        connection = await asyncpg.connect(empty_database_url)
        assert await left_in_sessions(Database(connection, empty_database_url), pooler) == []
        await connection.close()
