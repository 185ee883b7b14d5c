"""Queues: how they are made, what they refuse, and the loops, threads and processes that they are used in."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

import uno_jobs
from tests.queue.callers import KINDS, calling
from uno_jobs import Queue, SyncQueue, configure
from uno_jobs.errors import (
    CodeTooOld,
    ConfigurationError,
    DatabaseUnavailable,
    DuplicateJob,
    InvalidOption,
    SchemaNotInstalled,
    SchemaTooOld,
    UnsupportedServer,
    WrongColour,
)
from uno_jobs.queue.default import get_default_queue, get_default_sync_queue
from uno_jobs.storage.migrations import upgrade
from uno_jobs.storage.urls import sqlalchemy_url

if TYPE_CHECKING:
    from tests.queue.conftest import Database

Tasks = SimpleNamespace


# --- how they are made --------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "psycopg2", "psycopg_async"])
async def test_any_spelling_of_a_url(driver: str, database: Database, tasks: Tasks) -> None:
    async with Queue(sqlalchemy_url(database.url, driver)) as queue:
        await queue.enqueue(tasks.add, [1])
    assert await database.count() == 1


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "sync"])
async def test_engines(driver: str, database: Database, tasks: Tasks) -> None:
    engine: Any
    if driver == "sync":
        engine = create_engine(sqlalchemy_url(database.url, "psycopg"), isolation_level="AUTOCOMMIT")
        end = engine.dispose
    else:
        engine = create_async_engine(sqlalchemy_url(database.url, driver), isolation_level="SERIALIZABLE")
        end = None
    async with Queue(engine) as queue:
        await queue.enqueue(tasks.add, [1])
        await queue.enqueue_many([tasks.add.s(n) for n in range(1500)])
        handle = await queue.enqueue(tasks.send, ["a"])
        with pytest.raises(DuplicateJob):
            await queue.enqueue_many([tasks.send.s("b"), tasks.send.options(on_duplicate="raise").s("a")])
        assert (await handle.status()).state == "ready"
        with pytest.raises(uno_jobs.errors.ResultTimeout):
            await handle.result(timeout=0.05)

    def work() -> None:
        with SyncQueue(engine) as sync:
            assert sync.enqueue(tasks.send, ["a"]).id == handle.id

    await asyncio.to_thread(work)
    assert await database.count() == 1502
    if end is None:
        await engine.dispose()
    else:
        end()


async def test_what_no_queue_is_made_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("UNO_JOBS_DATABASE_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for cls in (Queue, SyncQueue):
        with pytest.raises(ConfigurationError, match=r"UNO_JOBS_DATABASE_URL or DATABASE_URL.*uno-jobs dev"):
            cls()
        with pytest.raises(ConfigurationError, match="postgresql://"):
            cls("mysql://x")
        with pytest.raises(ConfigurationError, match="URL or an SQLAlchemy engine"):
            cls(object())
        with pytest.raises(ConfigurationError, match="max_payload_size"):
            cls("postgresql://x", max_payload_size=0)
        with pytest.raises(ConfigurationError, match="schema's name"):
            cls("postgresql://x", schema="a'b")


async def test_settings_and_the_default_queue(
    database: Database, monkeypatch: pytest.MonkeyPatch, tasks: Tasks
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/x")
    monkeypatch.setenv("UNO_JOBS_DATABASE_URL", database.url)
    monkeypatch.setenv("UNO_JOBS_NOTIFY", "false")
    upgrade_to = "other_jobs"
    await asyncio.to_thread(upgrade, database.url, upgrade_to)
    monkeypatch.setenv("UNO_JOBS_SCHEMA", upgrade_to)
    configure(None)
    assert get_default_queue() is get_default_queue()
    assert (get_default_queue().schema, get_default_queue().notify) == (upgrade_to, False)
    handle = await tasks.add.enqueue(1)
    await asyncio.to_thread(lambda: tasks.add.enqueue_sync(2))
    assert (await handle.status()).state == "ready"
    assert await database.connection.fetchval("SELECT count(*) FROM other_jobs.jobs") == 2
    assert await database.count() == 0
    await get_default_queue().close()
    await asyncio.to_thread(get_default_sync_queue().close)
    # One colour serves for both.
    async with Queue(database.url, schema="uno_jobs", max_payload_size=50) as queue:
        configure(queue)
        assert get_default_queue() is queue
        twin = get_default_sync_queue()
        assert (twin.database, twin.schema, twin.max_payload_size) == (database.url, "uno_jobs", 50)
        await tasks.add.enqueue(1)
        assert await database.count() == 1
    with pytest.raises(ConfigurationError, match="takes a Queue"):
        configure(database.url)  # type: ignore[arg-type] - the point


async def test_another_schema(database: Database, tasks: Tasks) -> None:
    name = "My Jobs é"
    await asyncio.to_thread(upgrade, database.url, name)
    async with Queue(database.url, schema=name) as queue:
        await queue.enqueue(tasks.add, [1])
        await queue.enqueue(tasks.send, ["a"])
        with pytest.raises(uno_jobs.errors.ResultTimeout):
            await (await queue.enqueue(tasks.send, ["a"])).result(timeout=0.05)
    assert await database.connection.fetchval(f'SELECT count(*) FROM "{name}".jobs') == 2
    assert await database.count() == 0


# --- databases that will not do -----------------------------------------------------------------------------


async def test_a_database_that_is_down(tasks: Tasks) -> None:
    url = "postgresql://someone:secret@127.0.0.1:1/x"
    async with Queue(url) as queue:
        with pytest.raises(DatabaseUnavailable, match="cannot be reached") as caught:
            await queue.enqueue(tasks.add, [1])
    assert "secret" not in str(caught.value)
    for engine in (create_async_engine(sqlalchemy_url(url, "asyncpg")), create_engine(sqlalchemy_url(url, "psycopg"))):
        with pytest.raises(DatabaseUnavailable):
            await Queue(engine).enqueue(tasks.add, [1])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_database_that_is_not_migrated(kind: str, empty_database_url: str, tasks: Tasks) -> None:
    async with calling(kind, empty_database_url) as caller:
        await caller.begin()
        with pytest.raises(SchemaNotInstalled, match="run 'uno-jobs db upgrade'"):
            await caller.enqueue(tasks.add, 1)
        # The caller's transaction is whole.
        assert await caller.raw("SELECT 1") == [(1,)]
        await caller.rollback()
    async with Queue(empty_database_url) as queue:
        with pytest.raises(SchemaNotInstalled):
            await queue.enqueue(tasks.add, [1])
        with pytest.raises(SchemaNotInstalled):
            await queue.job("00000000-0000-0000-0000-000000000000")


async def test_a_schema_or_code_of_the_wrong_age(
    database: Database, monkeypatch: pytest.MonkeyPatch, tasks: Tasks
) -> None:
    for values, error in (("revision = 0", SchemaTooOld), ("revision = 99, min_code = 99", CodeTooOld)):
        await database.connection.execute(f"UPDATE uno_jobs.schema_info SET {values}")
        async with Queue(database.url) as queue:
            with pytest.raises(error, match="upgrade"):
                await queue.enqueue(tasks.add, [1])
            with pytest.raises(error, match="upgrade"):
                await (queue.get("00000000-0000-0000-0000-000000000000")).result()
    monkeypatch.setattr("uno_jobs.storage.session.MIN_SERVER", 990000)
    async with Queue(database.url) as queue:
        with pytest.raises(UnsupportedServer, match="needs 99 or later"):
            await queue.enqueue(tasks.add, [1])


async def test_a_schema_that_vanished_is_named(database: Database, tasks: Tasks) -> None:
    async with Queue(database.url) as queue:
        await queue.enqueue(tasks.add, [1])
        await database.connection.execute("ALTER SCHEMA uno_jobs RENAME TO gone")
        try:
            with pytest.raises(SchemaNotInstalled):
                await queue.enqueue(tasks.add, [1])
        finally:
            await database.connection.execute("ALTER SCHEMA gone RENAME TO uno_jobs")


# --- loops, threads, processes ------------------------------------------------------------------------------


async def test_a_synchronous_call_in_an_event_loop_is_refused(database: Database, tasks: Tasks) -> None:
    queue = SyncQueue(database.url)
    for call in (
        lambda: queue.enqueue(tasks.add, [1]),
        lambda: queue.enqueue_many([tasks.add.s(1)]),
        lambda: queue.job("00000000-0000-0000-0000-000000000000"),
        lambda: queue.get("00000000-0000-0000-0000-000000000000").result(),
        lambda: tasks.add.options(via=queue).enqueue_sync(1),
        queue.close,
    ):
        with pytest.raises(WrongColour, match=r"inside a running event loop.*use Queue"):
            call()
    with pytest.raises(WrongColour, match="is synchronous"):
        await tasks.add.options(via=queue).enqueue(1)
    with pytest.raises(InvalidOption, match="via"):
        await Queue(database.url).enqueue(tasks.add.options(via=queue).s(1))


async def test_one_queue_in_several_loops_and_threads(database: Database, tasks: Tasks) -> None:
    queue = Queue(database.url)

    async def work() -> None:
        await asyncio.gather(*(queue.enqueue(tasks.add, [n]) for n in range(20)))
        await queue.close()

    await asyncio.gather(*(asyncio.to_thread(asyncio.run, work()) for _ in range(3)), work())
    assert await database.count() == 80
    # Closed is not over: the next use opens again.
    await work()
    sync = SyncQueue(database.url)
    await asyncio.gather(*(asyncio.to_thread(sync.enqueue, tasks.add, [n]) for n in range(20)))
    await asyncio.to_thread(sync.close)
    assert await database.count() == 120
    assert (
        await database.connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'uno-jobs queue' AND datname = current_database()"
        )
        == 0
    )


def run_python(code: str, url: str, *flags: str) -> str:
    process = subprocess.run(
        [sys.executable, "-W", "error", *flags, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "UNO_JOBS_DATABASE_URL": url},
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert not process.stderr
    return process.stdout


async def test_queues_made_before_a_fork_work_after_it(database: Database) -> None:
    out = await asyncio.to_thread(
        run_python,
        """
        import asyncio, gc, os
        from uno_jobs import Queue, SyncQueue, task
        @task
        async def job(n: int) -> None: ...
        queue, sync = Queue(), SyncQueue()
        async def both() -> None:
            try:
                await (await queue.enqueue(job, [1])).result(timeout=0.05)  # listens as well
            except TimeoutError:
                gc.collect()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(both())
        sync.enqueue(job, [1])
        for _ in range(2):
            child = os.fork()
            if not child:
                asyncio.run(both())
                sync.enqueue(job, [1])
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        # The parent's connections are as they were.
        loop.run_until_complete(both())
        sync.enqueue(job, [1])
        sync.close()
        loop.run_until_complete(queue.close())
        loop.close()
        print("done")
        """,
        database.url,
    )
    assert out == "done\n"
    assert await database.count() == 8


async def test_a_script_that_closes_nothing_ends_in_peace(database: Database) -> None:
    code = """
        from uno_jobs import SyncQueue, task
        @task
        def job(n: int) -> None: ...
        job.enqueue_sync(1)
        """
    await asyncio.to_thread(run_python, code, database.url)
    assert await database.count() == 1


async def test_a_synchronous_queue_needs_no_psycopg(database: Database) -> None:
    code = """
        import sys
        sys.modules["psycopg"] = sys.modules["psycopg2"] = None
        from uno_jobs import SyncQueue, task
        @task
        def job(n: int) -> None: ...
        with SyncQueue() as queue:
            assert queue.enqueue(job, [1]).status().state == "ready"
        assert "sqlalchemy" not in sys.modules
        """
    await asyncio.to_thread(run_python, code, database.url)
    assert await database.count() == 1


async def test_importing_is_cheap_and_names_are_there() -> None:
    code = """
        import sys
        import uno_jobs
        heavy = {"asyncpg", "sqlalchemy", "pydantic", "alembic", "psycopg", "orjson", "asyncio"}
        assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
        for name in uno_jobs.__all__:
            assert getattr(uno_jobs, name) is getattr(uno_jobs, name)
        assert set(uno_jobs.__all__) <= set(dir(uno_jobs))
        assert not {"sqlalchemy", "alembic", "psycopg"} & sys.modules.keys()
        try:
            uno_jobs.nothing
        except AttributeError as error:
            print(error)
        """
    assert "no attribute 'nothing'" in await asyncio.to_thread(run_python, code, "postgresql://x")


async def test_a_cancelled_enqueue_leaves_the_pool_whole(queue: Queue, database: Database, tasks: Tasks) -> None:
    async with calling("asyncpg", database.url) as caller:
        await caller.begin()
        await caller.enqueue(tasks.send, "a")
        waiting = asyncio.create_task(queue.enqueue(tasks.send, ["a"]))
        await database.wait_for_waiting()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await caller.rollback()
    assert not (await queue.enqueue(tasks.send, ["a"])).is_duplicate
    assert await database.count() == 1


async def test_a_roles_own_defaults_change_nothing(database: Database, tasks: Tasks) -> None:
    role = f"q_{os.getpid()}"
    await database.connection.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'p'")
    try:
        await database.connection.execute(f"ALTER ROLE {role} SET default_transaction_isolation = 'serializable'")
        await database.connection.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
        parts = urlsplit(database.url)
        other = parts._replace(netloc=f"{role}:p@{parts.hostname}:{parts.port}").geturl()
        async with Queue(other) as queue:
            await queue.enqueue(tasks.send, ["a"])
            assert (await queue.enqueue(tasks.send, ["a"])).is_duplicate
    finally:
        await database.connection.execute(f"DROP ROLE {role}")
