"""Callers of every kind: each has a connection to hand in, and the same few commands, whatever its colour."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from uno_jobs import Queue, SyncQueue
from uno_jobs.storage.urls import plain_url, sqlalchemy_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ASYNC = [
    "asyncpg",
    "asyncpg-pool",
    "psycopg-async",
    "session-asyncpg",
    "session-psycopg-async",
    "scoped-asyncpg",
    "connection-asyncpg",
    "connection-psycopg-async",
]
SYNC = ["psycopg", "session-psycopg", "scoped-psycopg", "connection-psycopg"]
KINDS = [*ASYNC, *SYNC]

READ_COMMITTED = "READ COMMITTED"
LEVELS = [READ_COMMITTED, "REPEATABLE READ", "SERIALIZABLE"]
AUTOCOMMIT = "AUTOCOMMIT"


class Caller:
    """An asynchronous caller; ``raw`` runs SQL in its transaction."""

    queue: Any

    def __init__(self, kind: str, connection: Any, level: str) -> None:
        self.kind = kind
        self.connection = connection
        self.level = level

    async def enqueue(self, task: Any, *args: Any, **options: Any) -> Any:
        return await self.queue.enqueue(task, list(args), connection=self.connection, **options)

    async def enqueue_many(self, jobs: Any, **options: Any) -> Any:
        return await self.queue.enqueue_many(jobs, connection=self.connection, **options)

    async def cancel(self, job_id: Any, reason: str | None = None) -> Any:
        return await self.queue.cancel(job_id, reason, connection=self.connection)

    async def retry(self, job_id: Any) -> None:
        await self.queue.retry(job_id, connection=self.connection)

    async def begin(self) -> None:
        if self.kind.startswith("asyncpg") and self.level != AUTOCOMMIT:
            await self.connection.execute(f"BEGIN ISOLATION LEVEL {self.level}")

    async def raw(self, sql: str) -> list[Any]:
        if self.kind.startswith("asyncpg"):
            return [tuple(row) for row in await self.connection.fetch(sql)]
        if self.kind == "psycopg-async":
            cursor = psycopg.AsyncCursor(self.connection)
            await cursor.execute(sql.encode())
            return await cursor.fetchall() if cursor.description else []
        connection = self.connection
        if self.kind.startswith(("session", "scoped")):
            connection = await connection.connection()
        result = await connection.exec_driver_sql(sql)
        return [tuple(row) for row in result] if result.returns_rows else []

    async def commit(self) -> None:
        await self._end("commit")

    async def rollback(self) -> None:
        await self._end("rollback")

    async def close(self) -> None:
        await self.connection.close()

    async def _end(self, how: str) -> None:
        if self.kind.startswith("asyncpg"):
            await self.connection.execute(how)
        else:
            await getattr(self.connection, how)()


class SyncCaller(Caller):
    """A synchronous caller, used on threads."""

    async def enqueue(self, task: Any, *args: Any, **options: Any) -> Any:
        return await asyncio.to_thread(self.queue.enqueue, task, list(args), connection=self.connection, **options)

    async def enqueue_many(self, jobs: Any, **options: Any) -> Any:
        return await asyncio.to_thread(self.queue.enqueue_many, jobs, connection=self.connection, **options)

    async def cancel(self, job_id: Any, reason: str | None = None) -> Any:
        return await asyncio.to_thread(self.queue.cancel, job_id, reason, connection=self.connection)

    async def retry(self, job_id: Any) -> None:
        await asyncio.to_thread(self.queue.retry, job_id, connection=self.connection)

    async def raw(self, sql: str) -> list[Any]:
        return await asyncio.to_thread(self._raw, sql)

    def _raw(self, sql: str) -> list[Any]:
        if self.kind == "psycopg":
            cursor = psycopg.Cursor(self.connection)
            cursor.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []
        connection = self.connection
        if self.kind.startswith(("session", "scoped")):
            connection = connection.connection()
        result = connection.exec_driver_sql(sql)
        return [tuple(row) for row in result] if result.returns_rows else []

    async def close(self) -> None:
        await asyncio.to_thread(self.connection.close)

    async def _end(self, how: str) -> None:
        await asyncio.to_thread(getattr(self.connection, how))


@contextlib.asynccontextmanager
async def calling(kind: str, url: str, level: str = READ_COMMITTED, **engine_options: Any) -> AsyncGenerator[Caller]:
    """A caller of a kind, with a queue of its colour."""
    url = plain_url(url)
    async with contextlib.AsyncExitStack() as stack:
        family, _, driver = kind.partition("-")
        caller: Caller
        if kind in SYNC:
            connection = _sync_connection(stack, family, url, level, engine_options)
            caller = SyncCaller(kind, connection, level)
            caller.queue = SyncQueue(url)
            stack.push_async_callback(asyncio.to_thread, caller.queue.close)
        else:
            connection = await _async_connection(stack, kind, family, driver, url, level, engine_options)
            caller = Caller(kind, connection, level)
            caller.queue = await stack.enter_async_context(Queue(url))
        yield caller


async def _async_connection(
    stack: contextlib.AsyncExitStack, kind: str, family: str, driver: str, url: str, level: str, options: Any
) -> Any:
    if kind == "asyncpg":
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        return connection
    if kind == "asyncpg-pool":
        pool = await stack.enter_async_context(asyncpg.create_pool(url, min_size=0, max_size=1))
        return await stack.enter_async_context(pool.acquire())
    if kind == "psycopg-async":
        connection = await psycopg.AsyncConnection.connect(url, autocommit=level == AUTOCOMMIT)
        stack.push_async_callback(connection.close)
        if level != AUTOCOMMIT:
            await connection.set_isolation_level(psycopg.IsolationLevel[level.replace(" ", "_")])
        return connection
    engine = create_async_engine(
        sqlalchemy_url(url, driver.replace("-async", "")), isolation_level=level, poolclass=NullPool, **options
    )
    stack.push_async_callback(engine.dispose)
    if family == "connection":
        connection = await engine.connect()
        stack.push_async_callback(connection.close)
        return connection
    if family == "scoped":
        scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
        stack.push_async_callback(scoped.remove)
        return scoped
    return await stack.enter_async_context(AsyncSession(engine))


def _sync_connection(stack: contextlib.AsyncExitStack, family: str, url: str, level: str, options: Any) -> Any:
    if family == "psycopg":
        connection = psycopg.connect(url, autocommit=level == AUTOCOMMIT)
        stack.callback(connection.close)
        if level != AUTOCOMMIT:
            connection.isolation_level = psycopg.IsolationLevel[level.replace(" ", "_")]
        return connection
    engine = create_engine(sqlalchemy_url(url, "psycopg"), isolation_level=level, poolclass=NullPool, **options)
    stack.callback(engine.dispose)
    if family == "connection":
        return stack.enter_context(engine.connect())
    if family == "scoped":
        scoped = scoped_session(sessionmaker(engine), scopefunc=lambda: 1)
        stack.callback(scoped.remove)
        return scoped
    return stack.enter_context(Session(engine))
