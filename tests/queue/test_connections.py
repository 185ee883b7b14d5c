"""A job stands or falls with the caller's transaction, on every kind of connection."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from tests.queue.callers import ASYNC, AUTOCOMMIT, KINDS, LEVELS, SYNC, calling
from uno_jobs import Queue, SyncQueue
from uno_jobs.errors import (
    ConnectionClosed,
    DatabaseUnavailable,
    DuplicateJob,
    TransactionFailed,
    UnsupportedConnection,
    WrongColour,
)
from uno_jobs.storage.connections.failures import translate
from uno_jobs.storage.urls import sqlalchemy_url

if TYPE_CHECKING:
    from tests.queue.conftest import Database

Tasks = SimpleNamespace

TOP_LEVEL = "SELECT count(*), bool_and(xmin::text::bigint = pg_current_xact_id()::text::bigint) FROM uno_jobs.jobs"


async def enqueue_some(caller: Any, tasks: Tasks) -> list[Any]:
    one = await caller.enqueue(tasks.add, 1, metadata={"é": None}, priority=0)
    later = await caller.enqueue(tasks.add, 2, delay=3600)
    first = await caller.enqueue(tasks.send, "a@b.c")
    again = await caller.enqueue(tasks.send, to="x") if False else await caller.enqueue(tasks.send, "a@b.c")
    many = await caller.enqueue_many(
        [tasks.add.s(3), (tasks.send, ["a@b.c"]), (tasks.send, ["d@e.f"], {}), tasks.add.s(b=1, a=4)]
    )
    assert (first.is_duplicate, again.is_duplicate) == (False, True)
    assert again.id == first.id == many[1].id
    assert [handle.is_duplicate for handle in many] == [False, True, False, False]
    return [one, later, first, many[0], many[2], many[3]]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_committed_stands(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        handles = await enqueue_some(caller, tasks)
        assert await database.count() == 0
        # A savepoint's rows would bear an id of their own.
        assert await caller.raw(TOP_LEVEL) == [(6, True)]
        await caller.commit()
    jobs = {job["id"]: job for job in await database.jobs()}
    assert jobs.keys() == {handle.id for handle in handles}
    one, later, first, *_, last = (jobs[handle.id] for handle in handles)
    assert (one["state"], one["priority"], json.loads(one["metadata"])) == ("ready", 0, {"é": None})
    assert (later["state"], (later["scheduled_at"] - later["created_at"]).total_seconds()) == ("scheduled", 3600)
    assert (first["queue"], first["priority"], json.loads(first["args"])) == ("mails", 3, ["a@b.c"])
    assert first["unique_key"].startswith("args:")
    assert json.loads(last["kwargs"]) == {"b": 1, "a": 4}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_rolled_back_never_was(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        await enqueue_some(caller, tasks)
        await caller.rollback()
    assert await database.count() == 0
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.live_jobs") == 0


@pytest.mark.parametrize("level", LEVELS[1:])
@pytest.mark.parametrize("kind", KINDS)
async def test_other_isolation_levels(kind: str, level: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url, level) as caller:
        await caller.begin()
        assert await caller.raw("SELECT upper(current_setting('transaction_isolation'))") == [(level,)]
        await enqueue_some(caller, tasks)
        await caller.commit()
    assert await database.count() == 6


@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_transaction_a_call_gets_one_of_its_own(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url, AUTOCOMMIT) as caller:
        await caller.enqueue(tasks.add, 1)
        assert await database.count() == 1
        await caller.enqueue(tasks.send, "a@b.c")
        await caller.enqueue_many([tasks.add.s(n) for n in range(1001)])
        assert await database.count() == 1003
        # What cannot be stored whole is not stored at all.
        with pytest.raises(DuplicateJob, match="holds this key"):
            await caller.enqueue_many([(tasks.send, ["new"]), tasks.send.options(on_duplicate="raise").s("a@b.c")])
        assert await database.count() == 1003
        # A transaction that the caller began in its own words is the caller's.
        await caller.raw("BEGIN")
        await caller.enqueue(tasks.send, "d@e.f")
        await caller.raw("ROLLBACK")
        assert await database.count() == 1003


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failed_transaction_is_named(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        with pytest.raises(Exception, match="division by zero"):
            await caller.raw("SELECT 1/0")
        with pytest.raises(TransactionFailed, match="roll it back first"):
            await caller.enqueue(tasks.add, 1)
        await caller.rollback()
        await caller.begin()
        await caller.enqueue(tasks.add, 1)
        await caller.commit()
    assert await database.count() == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith(("scoped", "session", "asyncpg-pool"))])
async def test_a_closed_connection_is_named(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        await caller.close()
        with pytest.raises(ConnectionClosed, match="closed"):
            await caller.enqueue(tasks.add, 1)


async def test_a_closed_session_that_may_not_be_used_again_is_named(database: Database, tasks: Tasks) -> None:
    engine = create_async_engine(sqlalchemy_url(database.url, "asyncpg"), poolclass=NullPool)
    async with AsyncSession(engine, close_resets_only=False) as session:
        pass
    async with Queue(database.url) as queue:
        with pytest.raises(ConnectionClosed, match="closed"):
            await queue.enqueue(tasks.add, [1], connection=session)


async def test_a_connection_that_went_back_to_its_pool_is_named(queue: Queue, database: Database, tasks: Tasks) -> None:
    async with asyncpg.create_pool(database.url, min_size=1, max_size=1) as pool:
        async with pool.acquire() as connection:
            pass
        with pytest.raises(ConnectionClosed, match="released"):
            await queue.enqueue(tasks.add, [1], connection=connection)


async def test_a_connection_lost_is_named(database: Database, tasks: Tasks) -> None:
    for kind in KINDS:
        async with calling(kind, database.url) as caller:
            await caller.begin()
            ((pid,),) = await caller.raw("SELECT pg_backend_pid()")
            await database.connection.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
            with pytest.raises((DatabaseUnavailable, ConnectionClosed)):
                await caller.enqueue(tasks.add, 1)
            if kind.startswith(("session", "scoped", "connection")):
                await caller.rollback()


def test_a_farewell_between_two_steps_of_the_driver_is_a_lost_connection() -> None:
    error = asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress")
    assert isinstance(translate(error, "uno_jobs"), DatabaseUnavailable)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_other_colour_is_named(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        if kind in SYNC:
            async with Queue(database.url) as queue:
                with pytest.raises(WrongColour, match="use SyncQueue"):
                    await queue.enqueue(tasks.add, [1], connection=caller.connection)
        else:
            queue = SyncQueue(database.url)
            with pytest.raises(WrongColour, match="use Queue"):
                await asyncio.to_thread(queue.enqueue, tasks.add, [1], connection=caller.connection)


@pytest.mark.parametrize("kind", ["asyncpg", "asyncpg-pool", "session-asyncpg", "connection-asyncpg"])
async def test_codecs_of_the_application_do_not_matter(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        raw = caller.connection
        if kind.startswith("session"):
            raw = await raw.connection()
        if not kind.startswith("asyncpg"):
            raw = (await raw.get_raw_connection()).driver_connection
        for name in ("json", "jsonb"):
            await raw.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        for name in ("uuid", "timestamptz", "bool", "int4", "float8"):
            await raw.set_type_codec(name, encoder=lambda _: "?", decoder=lambda _: "?", schema="pg_catalog")
        handles = await enqueue_some(caller, tasks)
        await caller.commit()
    jobs = await database.jobs()
    assert {job["id"] for job in jobs} == {handle.id for handle in handles}
    assert {
        await database.connection.fetchval("SELECT string_agg(DISTINCT jsonb_typeof(args), '') FROM uno_jobs.jobs")
    } == {"array"}


@pytest.mark.parametrize("kind", ["psycopg", "psycopg-async"])
async def test_row_and_cursor_factories_of_the_application_do_not_matter(
    kind: str, database: Database, tasks: Tasks
) -> None:
    async with calling(kind, database.url) as caller:
        caller.connection.row_factory = dict_row
        caller.connection.cursor_factory = psycopg.ClientCursor if kind == "psycopg" else psycopg.AsyncClientCursor
        handles = await enqueue_some(caller, tasks)
        await caller.commit()
    assert {job["id"] for job in await database.jobs()} == {handle.id for handle in handles}


@pytest.mark.parametrize("kind", ["session-psycopg", "connection-psycopg", "session-asyncpg", "connection-asyncpg"])
async def test_json_of_the_engine_does_not_matter(kind: str, database: Database, tasks: Tasks) -> None:
    def never(_: object) -> Any:
        raise AssertionError("used")

    async with calling(kind, database.url, json_serializer=never, json_deserializer=never) as caller:
        await enqueue_some(caller, tasks)
        await caller.commit()
    assert await database.count() == 6


async def test_a_session_shares_the_transaction_of_its_own_rows(queue: Queue, database: Database, tasks: Tasks) -> None:
    class Base(DeclarativeBase): ...

    class Upload(Base):
        __tablename__ = "uploads"
        id: Mapped[int] = mapped_column(primary_key=True)

    engine = create_async_engine(sqlalchemy_url(database.url, "asyncpg"), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    for commit in (True, False):
        async with AsyncSession(engine) as session:
            session.add(Upload(id=1 if commit else 2))
            await session.flush()
            await tasks.add.options(via=queue, connection=session).enqueue(1)
            await (session.commit() if commit else session.rollback())
    assert await database.count() == 1
    assert await database.connection.fetchval("SELECT count(*) FROM uploads") == 1
    # After a failed flush SQLAlchemy itself refuses the session.
    async with AsyncSession(engine) as session:
        session.add(Upload(id=1))
        with pytest.raises(Exception, match="duplicate key"):
            await session.flush()
        with pytest.raises(TransactionFailed):
            await queue.enqueue(tasks.add, [1], connection=session)


async def test_blocks_of_the_callers_libraries(queue: Queue, database: Database, tasks: Tasks) -> None:
    """Their begin and their savepoints are theirs: a job stands or falls with the block that it was made in."""
    engine = create_async_engine(sqlalchemy_url(database.url, "asyncpg"), poolclass=NullPool)
    async with AsyncSession(engine) as session, session.begin():
        nested = await session.begin_nested()
        await queue.enqueue(tasks.add, [1], connection=session)
        await nested.rollback()
        await queue.enqueue(tasks.add, [2], connection=session)
    async with calling("asyncpg", database.url) as caller, caller.connection.transaction():
        nested = caller.connection.transaction()
        await nested.start()
        await caller.enqueue(tasks.add, 3)
        await nested.rollback()
        await caller.enqueue(tasks.add, 4)
        assert await database.count() == 1
    async with calling("psycopg-async", database.url, AUTOCOMMIT) as caller, caller.connection.transaction():
        await caller.enqueue(tasks.add, 5)
        await caller.enqueue(tasks.send, "a")
        assert await database.count() == 2
    assert [json.loads(job["args"])[0] for job in await database.jobs()] == [2, 4, 5, "a"]


async def test_a_session_of_several_databases_must_say_which(database: Database, tasks: Tasks) -> None:
    class Base(DeclarativeBase): ...

    class Row(Base):
        __tablename__ = "rows"
        id: Mapped[int] = mapped_column(primary_key=True)

    engine = create_engine(sqlalchemy_url(database.url, "psycopg"), poolclass=NullPool)

    def work() -> None:
        with SyncQueue(database.url) as queue, Session(binds={Row: engine}) as session:
            with pytest.raises(UnsupportedConnection, match=r"session\.connection\("):
                queue.enqueue(tasks.add, [1], connection=session)
            queue.enqueue(tasks.add, [1], connection=session.connection(bind_arguments={"mapper": Row}))
            session.commit()

    await asyncio.to_thread(work)
    assert await database.count() == 1


@pytest.mark.parametrize("kind", ["session", "connection"])
async def test_two_phase_commit_goes_without_a_notification(kind: str, database: Database, tasks: Tasks) -> None:
    engine = create_engine(sqlalchemy_url(database.url, "psycopg"), poolclass=NullPool)
    said: list[Any] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "enqueue" in statement:
            said.append(parameters[-1])

    def work() -> None:
        with SyncQueue(database.url) as queue:
            if kind == "session":
                with Session(engine, twophase=True) as session:
                    queue.enqueue(tasks.add, [1], connection=session)
                    queue.enqueue(tasks.send, ["a"], connection=session)
                    session.rollback()
            else:
                with engine.connect() as connection, connection.begin_twophase() as transaction:
                    queue.enqueue(tasks.add, [1], connection=connection)
                    queue.enqueue(tasks.send, ["a"], connection=connection)
                    transaction.rollback()
            with Session(engine) as session:
                queue.enqueue(tasks.add, [1], connection=session)
                queue.enqueue(tasks.add, [1], connection=session, notify=False)

    await asyncio.to_thread(work)
    assert said == ["false", "false", "true", "false"]


async def test_delay_counts_from_the_call_not_from_the_transactions_start(
    queue: Queue, database: Database, tasks: Tasks
) -> None:
    async with calling("asyncpg", database.url) as caller:
        await caller.begin()
        await caller.raw("SELECT pg_sleep(0.05)")
        await caller.enqueue(tasks.add, 1, delay=10, expires=20)
        ((begun, before),) = await caller.raw("SELECT transaction_timestamp(), statement_timestamp()")
        await caller.commit()
    (job,) = await database.jobs()
    assert (job["created_at"] - begun).total_seconds() >= 0.05
    assert job["created_at"] <= before
    assert (job["scheduled_at"] - job["created_at"]).total_seconds() == 10
    assert (job["expires_at"] - job["created_at"]).total_seconds() == 20


async def test_what_cannot_be_used_is_refused_with_what_can(queue: Queue, database: Database, tasks: Tasks) -> None:
    engine = create_async_engine(sqlalchemy_url(database.url, "asyncpg"), poolclass=NullPool)
    sqlite = create_engine("sqlite://")
    for wrong, hint in (
        (engine, "constructor"),
        (database.url, "constructor"),
        (object(), "AsyncSession"),
        (AsyncSession, "the class"),
    ):
        with pytest.raises(UnsupportedConnection, match=hint):
            await queue.enqueue(tasks.add, [1], connection=wrong)

    async def connect() -> None: ...

    coroutine = connect()
    with pytest.raises(UnsupportedConnection, match="await it first"):
        await queue.enqueue(tasks.add, [1], connection=coroutine)
    coroutine.close()

    def work() -> None:
        with (
            SyncQueue(database.url) as sync,
            sqlite.connect() as lite,
            pytest.raises(UnsupportedConnection, match="lite"),
        ):
            sync.enqueue(tasks.add, [1], connection=lite)

    await asyncio.to_thread(work)
    started = engine.connect()
    with pytest.raises(ConnectionClosed, match="not been started"):
        await queue.enqueue(tasks.add, [1], connection=started)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    with pytest.raises(ConnectionClosed):
        await queue.enqueue(tasks.add, [1], connection=connection)


assert set(ASYNC).isdisjoint(SYNC)
