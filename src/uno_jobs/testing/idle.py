"""``run_until_idle``: run what is enqueued, here and now, until nothing is left to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from uno_jobs.errors import ConfigurationError
from uno_jobs.queue import Queue, SyncQueue
from uno_jobs.queue.default import get_default_queue
from uno_jobs.storage.schema import DEFAULT_SCHEMA, quote_schema
from uno_jobs.storage.session import connect
from uno_jobs.storage.urls import plain_url
from uno_jobs.tasks.registry import TaskRegistry
from uno_jobs.worker.config import WorkerConfig
from uno_jobs.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from uno_jobs.tasks.registry import Registry

POLL: Final = 0.05
GRACE: Final = 1.0


async def run_until_idle(
    database: object = None,
    *,
    queues: Sequence[str] | None = None,
    scheduled: bool = False,
    concurrency: int = 100,
    timeout: float = 30.0,
    schema: str | None = None,
    registry: Registry | None = None,
) -> dict[str, int]:
    """Run committed jobs in this process, by a real worker, until there is none left that could run.

    What the jobs enqueue runs as well. Jobs of tasks that are not registered here stay where they are.

    Args:
        database: A Queue or SyncQueue, an SQLAlchemy engine or a URL; None: the process's default queue.
        queues: The queues to serve; None: all that have jobs.
        scheduled: Also run jobs that wait for their time, delayed ones and retries, as if it had come.
        concurrency: Jobs at once, at most; 1 runs them one after the other.
        timeout: Seconds after which to give up.
        schema: The schema of uno-jobs; None: the queue's, else ``uno_jobs``.
        registry: The tasks to run; None: those of the process.

    Returns:
        How many jobs have ended in each state: ``{"succeeded": 2, "failed": 1}``.

    Raises:
        TimeoutError: There was still something to do; the message says what.
        ConfigurationError: ``database`` is none of these, or there is none.
        SchemaNotInstalled, SchemaTooOld, CodeTooOld, UnsupportedServer: This database is not for this code.
    """
    url, schema = _locate(get_default_queue() if database is None else database, schema)
    registry = registry or TaskRegistry.current()
    connection = await connect(url, schema, name="uno-jobs run_until_idle")
    try:
        backlog = _Backlog(connection, quote_schema(schema), registry, queues)
        began = await connection.fetchval("SELECT clock_timestamp()")
        try:
            async with asyncio.timeout(timeout):
                while waiting := await backlog.queues(scheduled=scheduled):
                    config = WorkerConfig(
                        url=url,
                        schema=schema,
                        queues=tuple((queue, None) for queue in waiting),
                        concurrency=concurrency,
                        poll_interval=POLL,
                        grace=GRACE,
                        child_processes=0,
                        allow_unlimited=True,
                        until_empty=True,
                    )
                    await Worker(config, registry=registry).run()
        except TimeoutError:
            left = await backlog.describe()
            raise TimeoutError(f"run_until_idle: after {timeout:g} s there is still something to do: {left}") from None
        return await backlog.ended(began)
    finally:
        await connection.close()


def run_until_idle_sync(
    database: object = None,
    *,
    queues: Sequence[str] | None = None,
    scheduled: bool = False,
    concurrency: int = 100,
    timeout: float = 30.0,
    schema: str | None = None,
    registry: Registry | None = None,
) -> dict[str, int]:
    """Run jobs as ``run_until_idle`` does, in an event loop of its own: for tests that have none."""
    return asyncio.run(
        run_until_idle(
            database,
            queues=queues,
            scheduled=scheduled,
            concurrency=concurrency,
            timeout=timeout,
            schema=schema,
            registry=registry,
        )
    )


class _Backlog:
    """What is left to do, as far as this process can do it."""

    def __init__(
        self,
        connection: asyncpg.Connection[asyncpg.Record],
        sql: str,
        registry: Registry,
        queues: Sequence[str] | None,
    ) -> None:
        self._connection = connection
        self._sql = sql
        self._registry = registry
        self._queues = None if queues is None else list(queues)

    async def queues(self, *, scheduled: bool) -> list[str]:
        """Return the queues that have something to do; with ``scheduled``, make it due first."""
        if scheduled:
            await self._connection.execute(
                f"""
                UPDATE {self._sql}.live_jobs SET run_at = {self._sql}.clock()
                WHERE state = 'scheduled' AND {self._ours} AND run_at > {self._sql}.clock()
                """,
                *self._which(),
            )
            while await self._connection.fetchval(f"SELECT promoted FROM {self._sql}.promote(1000, '-infinity')"):
                pass
        # No worker takes what has expired, and it is no chore of one that stops at once.
        while await self._connection.fetchval(f"SELECT {self._sql}.expire(1000)"):
            pass
        rows = await self._connection.fetch(
            f"SELECT DISTINCT queue FROM {self._sql}.live_jobs WHERE state = 'ready' AND {self._ours} "
            f"AND queue NOT IN (SELECT name FROM {self._sql}.queues WHERE paused_at IS NOT NULL) ORDER BY queue",
            *self._which(),
        )
        return [cast("str", row[0]) for row in rows]

    async def describe(self) -> str:
        """Say what is left, in words."""
        rows = await self._connection.fetch(
            f"SELECT task, state::text, count(*) FROM {self._sql}.live_jobs WHERE {self._ours} "
            "GROUP BY task, state ORDER BY task, state",
            *self._which(),
        )
        return ", ".join(f"{task!r}: {count} {state}" for task, state, count in rows) or "nothing that is committed"

    async def ended(self, since: Any) -> dict[str, int]:
        """Count the jobs that have ended since then, by state."""
        rows = await self._connection.fetch(
            f"SELECT state::text, count(*) FROM {self._sql}.outcomes WHERE finished_at >= $1 GROUP BY state", since
        )
        return {cast("str", state): cast("int", count) for state, count in rows}

    _ours = "task || '@' || version = ANY ($1::text[]) AND ($2::text[] IS NULL OR queue = ANY ($2))"

    def _which(self) -> tuple[list[str], list[str] | None]:
        return [f"{name}@{version}" for name, version in self._registry.known()], self._queues


def _locate(database: object, schema: str | None) -> tuple[str, str]:
    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    if isinstance(database, Queue | SyncQueue):
        schema, database = schema or database.schema, database.database
    if isinstance(database, Engine | AsyncEngine):
        database = database.url.render_as_string(hide_password=False)
    if not isinstance(database, str):
        raise ConfigurationError(f"run_until_idle takes a queue, an SQLAlchemy engine or a URL, not {database!r}")
    return plain_url(database), schema or DEFAULT_SCHEMA
