"""``job.transaction()``: what a task may do inside, what is refused by name, and how many there are at a time."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import pytest
from sqlalchemy import text

from tests.worker.conftest import Database, until_empty
from tests.worker.transactions import INSERT, count, run_one, write, write_sync
from uno_jobs import get_current_job
from uno_jobs.errors import InvalidOption, TransactionEnded, TransactionNotAvailable, WrongColour
from uno_jobs.tasks import task
from uno_jobs.testing import run_until_idle, test_task
from uno_jobs.transactions.source import MAX_CONNECTIONS

pytestmark = pytest.mark.usefixtures("default_queue")


async def test_the_sessions_own_commit_waits_for_the_blocks_end(effects: Database) -> None:
    @task(max_retries=1, retry_delay=0)
    async def works() -> None:
        job = get_current_job()
        async with job.transaction() as tx:
            async with tx.session.begin():
                await tx.session.execute(text(INSERT))
            await tx.session.execute(text(INSERT))
            await tx.session.commit()
            assert await count(effects) == 0
            if job.attempt == 1:
                raise ValueError("after all")

    assert (await run_one(effects, works))["attempt"] == 2
    assert await count(effects) == 2


@pytest.mark.parametrize("kind", ["session", "asyncpg", "psycopg"])
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"])
async def test_a_transaction_that_was_ended_inside_is_found_out(effects: Database, kind: Any, end: str) -> None:
    @task(max_retries=0)
    async def works() -> None:
        async with get_current_job().transaction(kind) as tx:
            if kind == "session":
                raw = await (await tx.session.connection()).get_raw_connection()
                await raw.driver_connection.execute(end)
            else:
                await tx.connection.execute(end)

    job = await run_one(effects, works)
    assert (job["state"], job["error_type"]) == ("failed", f"{TransactionEnded.__module__}.TransactionEnded")


async def test_savepoints_are_the_tasks_own(effects: Database) -> None:
    @task
    async def works(kind: Any) -> None:
        async with get_current_job().transaction(kind) as tx:
            for place in range(2):
                with contextlib.suppress(ZeroDivisionError):
                    async with tx.session.begin_nested() if kind == "session" else tx.connection.transaction():
                        await write(tx, kind)
                        _ = 1 // place

    for kind in ("session", "asyncpg", "psycopg"):
        assert (await run_one(effects, works, kind))["state"] == "succeeded"
    assert await count(effects) == 3


async def test_the_roles_defaults_matter_where_they_are_the_tasks_and_not_where_they_break_the_promise(
    effects: Database,
) -> None:
    name = await effects.connection.fetchval("SELECT current_database()")
    for setting in (
        "default_transaction_isolation = 'repeatable read'",
        "default_transaction_read_only = on",
        "search_path = app, public",
    ):
        await effects.connection.execute(f'ALTER DATABASE "{name}" SET {setting}')
    seen: list[Any] = []
    go_on = asyncio.Event()

    @task
    async def works(kind: Any) -> None:
        async with get_current_job().transaction(kind) as tx:
            if kind == "session":
                await tx.session.execute(text("SELECT count(*) FROM effects"))
            else:
                await tx.connection.execute("SELECT count(*) FROM effects")
            # By now a repeatable read would have its snapshot, and the row that the commit locks changes after it.
            await effects.connection.execute(
                "UPDATE uno_jobs.live_jobs SET failures = failures WHERE id = $1", get_current_job().id
            )
            await write(tx, kind)
            for setting in ("transaction_isolation", "search_path"):
                query = f"SELECT current_setting('{setting}')"
                match kind:
                    case "session":
                        seen.append(await tx.session.scalar(text(query)))
                    case "asyncpg":
                        seen.append(await tx.connection.fetchval(query))
                    case _:
                        seen.extend(await (await tx.connection.execute(query)).fetchone())
        go_on.set()

    for kind in ("session", "asyncpg", "psycopg"):
        assert (await run_one(effects, works, kind))["state"] == "succeeded"
    assert seen == ["read committed", "app, public"] * 3
    assert await count(effects) == 3


async def test_the_wrong_colour_or_kind_is_refused_by_name(effects: Database) -> None:
    @task
    async def asynchronous() -> None:
        job = get_current_job()
        with pytest.raises(WrongColour, match="async with job"), job.transaction():
            pass
        with pytest.raises(InvalidOption, match="session, asyncpg, psycopg"):
            job.transaction("sqlite")  # type: ignore[arg-type]
        async with job.transaction("asyncpg") as tx:
            with pytest.raises(InvalidOption, match="leave kind out"):
                _ = tx.session

    @task(runs_in="thread")
    def synchronous() -> None:
        job = get_current_job()

        async def wrongly() -> None:
            async with job.transaction():
                pass

        with pytest.raises(WrongColour, match="'with job"):
            asyncio.run(wrongly())
        with pytest.raises(InvalidOption, match="asynchronous tasks"), job.transaction("asyncpg"):
            pass
        with job.transaction() as tx, pytest.raises(InvalidOption, match="kind="):
            _ = tx.connection

    for one in (asynchronous, synchronous):
        job = await run_one(effects, one)
        (attempt,) = await effects.attempts(job["id"])
        assert (job["state"], job["error"], attempt["error_after_commit"]) == ("succeeded", None, None)


async def test_without_psycopg_the_error_names_what_to_install(
    effects: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    @task(runs_in="thread", max_retries=0)
    def works() -> None:
        with get_current_job().transaction():
            pass

    job = await run_one(effects, works)
    assert job["error_type"] == "uno_jobs.errors.TransactionNotAvailable"
    assert "pip install 'uno-jobs[psycopg]'" in job["error"]


@pytest.mark.parametrize("kind", ["session", "asyncpg", "psycopg"])
async def test_more_jobs_than_connections_wait_their_turn(effects: Database, kind: Any) -> None:
    @task
    async def works() -> None:
        async with get_current_job().transaction(kind) as tx:
            await write(tx, kind)

    await effects.put(works, times=5 * MAX_CONNECTIONS)
    await until_empty(effects.url)
    assert await count(effects) == 5 * MAX_CONNECTIONS
    await effects.wait_until(
        "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'uno-jobs transaction'"
        " AND datname = current_database())"
    )


async def test_a_job_that_gives_up_its_place_leaves_no_connection(effects: Database) -> None:
    @task(timeout=0.2, max_retries=0)
    async def works(kind: Any) -> None:
        async with get_current_job().transaction(kind) as tx:
            await write(tx, kind)
            await asyncio.Event().wait()

    for kind in ("session", "asyncpg", "psycopg"):
        await effects.put(works, kind, times=2 * MAX_CONNECTIONS)
    await until_empty(effects.url)
    assert await effects.connection.fetchval("SELECT count(*) FROM uno_jobs.outcomes WHERE state = 'failed'") == 60
    await effects.wait_until(
        "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'uno-jobs transaction'"
        " AND datname = current_database())"
    )
    assert await count(effects) == 0


async def test_test_task_says_how_to_test_such_a_task() -> None:
    @task
    async def works() -> None:
        async with get_current_job().transaction():
            pass

    with pytest.raises(TransactionNotAvailable, match="run_until_idle"):
        await test_task(works)


async def test_run_until_idle_runs_such_a_task(effects: Database) -> None:
    @task
    async def works() -> None:
        async with get_current_job().transaction() as tx:
            await tx.session.execute(text(INSERT))

    await works.enqueue()
    assert await run_until_idle() == {"succeeded": 1}
    assert await count(effects) == 1


@pytest.mark.parametrize("kind", ["session", "asyncpg"])
async def test_one_job_after_another_uses_the_same_connection(effects: Database, kind: Any) -> None:
    @task
    async def works() -> int:
        async with get_current_job().transaction(kind) as tx:
            query = "SELECT pg_backend_pid()"
            pid = await (tx.session.scalar(text(query)) if kind == "session" else tx.connection.fetchval(query))
            if kind == "asyncpg":
                # What a job sets in its session is not there for the next.
                assert await tx.connection.fetchval("SHOW work_mem") != "77MB"
                await tx.connection.execute("SET work_mem = '77MB'")
            tx.set_result(pid)
        return pid

    ids = await effects.put(works, times=3)
    await until_empty(effects.url, concurrency=1)
    jobs = [await effects.job(id_) for id_ in ids]
    assert [job["state"] for job in jobs] == ["succeeded"] * 3
    assert len({job["result"] for job in jobs}) == 1


@pytest.mark.parametrize("kind", ["session", "psycopg"])
async def test_a_synchronous_session_ends_without_a_warning(
    effects: Database, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @task(runs_in="thread")
    def works() -> None:
        with get_current_job().transaction(kind) as tx:
            write_sync(tx, kind)

    with caplog.at_level("DEBUG", logger="uno_jobs.transactions"):
        job = await run_one(effects, works)
    assert job["state"] == "succeeded"
    assert "did not end in order" not in caplog.text
