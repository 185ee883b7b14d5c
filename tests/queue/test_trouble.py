"""What a database can do to an enqueue, on every kind of connection: the caller gets an error that names it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tests.queue.callers import calling
from tests.queue.conftest import LIMIT, Database
from uno_jobs import Queue, SyncQueue
from uno_jobs.errors import (
    ConnectionBusy,
    ConnectionClosed,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnavailable,
    EnqueueConflict,
    PermissionDenied,
    StatementTimedOut,
    TransactionFailed,
    TransactionNotBegun,
    UnoJobsError,
)
from uno_jobs.storage.urls import sqlalchemy_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import SimpleNamespace as Tasks

KINDS = [
    "asyncpg",
    "psycopg-async",
    "session-asyncpg",
    "session-psycopg-async",
    "psycopg",
    "session-psycopg",
]

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
async def holder(database: Database, tasks: Tasks, queue: Queue) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A transaction that holds the unique key of ``send("ada")``."""
    connection = await asyncpg.connect(database.url)
    await connection.execute("BEGIN")
    await queue.enqueue(tasks.send, ["ada"], connection=connection)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.contextmanager
def fails(error: type[UnoJobsError], match: str = ".") -> Iterator[None]:
    """Expect exactly this class of error, with the driver's as its cause."""
    with pytest.raises(error, match=match) as caught:
        yield
    assert type(caught.value) is error
    assert caught.value.__cause__ is not None


@every_kind
async def test_a_transaction_that_is_read_only(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        await caller.raw("SET TRANSACTION READ ONLY")
        with fails(DatabaseReadOnly, "read-only"):
            await caller.enqueue(tasks.add, 1)
        await caller.rollback()


@every_kind
async def test_a_role_without_rights(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        await caller.raw("SET LOCAL ROLE pg_read_all_settings")
        with fails(PermissionDenied, "permission denied"):
            await caller.enqueue(tasks.add, 1)
        await caller.rollback()


@every_kind
@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
async def test_a_timeout_of_the_server_s(
    kind: str, setting: str, database: Database, tasks: Tasks, holder: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        await caller.raw(f"SET LOCAL {setting} = '50ms'")
        with fails(StatementTimedOut, setting.replace("_", " ")):
            await caller.enqueue(tasks.send, "ada")
        with pytest.raises(TransactionFailed):
            await caller.enqueue(tasks.add, 1)
        await caller.rollback()
        await caller.begin()
        await caller.enqueue(tasks.add, 1)
        await caller.commit()
    assert await database.count() == 1


@every_kind
async def test_a_deadlock(
    kind: str, database: Database, tasks: Tasks, queue: Queue, holder: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        # Whoever looks first ends its own statement: the caller, not the other.
        await caller.raw("SET LOCAL deadlock_timeout = '20ms'")
        await holder.execute("SET LOCAL deadlock_timeout = '1h'")
        await caller.enqueue(tasks.send, "grace")
        other = asyncio.create_task(queue.enqueue(tasks.send, ["grace"], connection=holder))
        await database.wait_for_waiting()
        with fails(EnqueueConflict, "retry the transaction"):
            await caller.enqueue(tasks.send, "ada")
        await caller.rollback()
        await asyncio.wait_for(other, LIMIT)


@every_kind
async def test_no_room(kind: str, database: Database, tasks: Tasks) -> None:
    # The server's own word for it; a disk that is really full is for the tests of workers.
    await database.connection.execute("""
        CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$;
        CREATE TRIGGER no_room BEFORE INSERT ON uno_jobs.jobs EXECUTE FUNCTION no_room();
    """)
    async with calling(kind, database.url) as caller:
        await caller.begin()
        with fails(DatabaseFull):
            await caller.enqueue(tasks.add, 1)
        await caller.rollback()


@every_kind
async def test_the_connection_is_lost_between_two_statements(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        ((pid,),) = await caller.raw("SELECT pg_backend_pid()")
        await database.connection.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
        with pytest.raises((DatabaseUnavailable, ConnectionClosed)):
            await caller.enqueue(tasks.add, 1)
        await caller.close()


@every_kind
async def test_the_connection_is_lost_in_the_middle(
    kind: str, database: Database, tasks: Tasks, holder: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        ((pid,),) = await caller.raw("SELECT pg_backend_pid()")
        enqueue = asyncio.create_task(caller.enqueue(tasks.send, "ada"))
        await database.wait_for_waiting()
        await database.connection.fetchval("SELECT pg_terminate_backend($1)", pid)
        with fails(DatabaseUnavailable):
            await asyncio.wait_for(enqueue, LIMIT)
        await caller.close()
    assert await database.count() == 0


@pytest.mark.parametrize("kind", ["asyncpg", "session-asyncpg", "connection-asyncpg"])
async def test_a_connection_that_is_in_use(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        connection = caller.connection
        if kind.startswith("session"):
            connection = await connection.connection()
        raw = connection if kind == "asyncpg" else (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        busy = asyncio.create_task(raw.execute("SELECT pg_sleep(600)"))
        await database.wait_until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
                                  "AND datname = current_database())")  # fmt: skip
        with fails(ConnectionBusy, "in use"):
            await caller.enqueue(tasks.add, 1)
        await database.connection.execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
            "WHERE wait_event = 'PgSleep' AND datname = current_database()"
        )
        with pytest.raises(asyncpg.QueryCanceledError):
            await busy
        await caller.rollback()


async def test_a_session_that_does_not_begin_by_itself(database: Database, tasks: Tasks) -> None:
    engine = create_async_engine(sqlalchemy_url(database.url, "asyncpg"), poolclass=NullPool)
    async with Queue(engine) as queue, AsyncSession(engine, autobegin=False) as session:
        with fails(TransactionNotBegun, r"begin\(\)"):
            await queue.enqueue(tasks.add, [1], connection=session)
        async with session.begin():
            await queue.enqueue(tasks.add, [1], connection=session)
    await engine.dispose()
    assert await database.count() == 1


async def test_a_sync_session_that_does_not_begin_by_itself(database: Database, tasks: Tasks) -> None:
    engine = create_engine(sqlalchemy_url(database.url, "psycopg"), poolclass=NullPool)

    def work() -> None:
        with (
            SyncQueue(engine) as queue,
            Session(engine, autobegin=False) as session,
            fails(TransactionNotBegun, r"begin\(\)"),
        ):
            queue.enqueue(tasks.add, [1], connection=session)

    await asyncio.to_thread(work)
    engine.dispose()


@contextlib.asynccontextmanager
async def crowded(database: Database) -> AsyncIterator[str]:
    """A role that may have one connection, and has it; its URL."""
    role = database.url.rpartition("/")[2] + "_role"
    _, _, place = database.url.partition("@")
    await database.connection.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD 'crowded'")
    url = f"postgresql://{role}:crowded@{place}"
    connection = await asyncpg.connect(url)
    try:
        yield url
    finally:
        await connection.close()
        await database.connection.execute(f"DROP ROLE {role}")


async def test_too_many_connections(database: Database, tasks: Tasks) -> None:
    async with crowded(database) as url:
        async with Queue(url) as queue:
            with pytest.raises(DatabaseUnavailable, match="too many connections"):
                await queue.enqueue(tasks.add, [1])
        for driver in ("asyncpg", "psycopg"):
            engine = create_async_engine(sqlalchemy_url(url, driver), poolclass=NullPool)
            async with Queue(engine) as queue, AsyncSession(engine) as session:
                with pytest.raises(DatabaseUnavailable, match="too many connections"):
                    await queue.enqueue(tasks.add, [1])
                with pytest.raises(DatabaseUnavailable, match="too many connections"):
                    await queue.enqueue(tasks.add, [1], connection=session)
            await engine.dispose()


async def test_a_database_that_is_set_read_only(database: Database, tasks: Tasks) -> None:
    name = database.url.rpartition("/")[2]
    await database.connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    engine = create_async_engine(sqlalchemy_url(database.url, "psycopg"), poolclass=NullPool)
    try:
        async with Queue(engine) as queue:
            with fails(DatabaseReadOnly):
                await queue.enqueue(tasks.add, [1])
        async with Queue(database.url) as queue:  # our own sessions write all the same
            await queue.enqueue(tasks.add, [1])
    finally:
        await engine.dispose()
        await database.connection.execute("BEGIN READ WRITE")
        await database.connection.execute(f'ALTER DATABASE "{name}" RESET ALL')
        await database.connection.execute("COMMIT")
    assert await database.count() == 1
