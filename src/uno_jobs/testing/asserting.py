"""``assert_enqueued``: was a job enqueued, as seen by the caller's own, perhaps still open, transaction?"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from uno_jobs.errors import WrongColour
from uno_jobs.queue import Queue, SyncQueue
from uno_jobs.queue.background import wait_for
from uno_jobs.queue.default import get_default_queue, get_default_sync_queue
from uno_jobs.storage.connections.adapt import adapt, adapt_sync
from uno_jobs.storage.connections.failures import Translating
from uno_jobs.storage.connections.own import AsyncEngineConnections, EngineConnections, UrlConnections
from uno_jobs.storage.connections.running import run, run_sync
from uno_jobs.storage.schema import DEFAULT_SCHEMA
from uno_jobs.testing.enqueued import Description, find_jobs, judge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from uno_jobs.queue.status import JobState
    from uno_jobs.storage.connections.link import AsyncLink
    from uno_jobs.storage.connections.own import Own
    from uno_jobs.tasks.definition import Task
    from uno_jobs.tasks.signature import Signature
    from uno_jobs.testing.enqueued import EnqueuedJob, Found


async def assert_enqueued(
    task: Task[..., Any, Any] | Signature[Any] | str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    version: str | None = None,
    state: JobState | None = None,
    count: int | None = None,
    connection: Any = None,
    schema: str | None = None,
) -> list[EnqueuedJob]:
    """Assert that a job was enqueued.

    Args:
        task: A task, a signature (whose arguments come first) or a task's name.
        args: Positional arguments. The same call is found however it was written: by position, by name,
            with a default given or left out. Without ``args`` and ``kwargs``, any arguments will do.
        kwargs: Keyword arguments.
        queue: The queue that it must be in; None: any.
        version: The version that it must have; None: any.
        state: The state that it must be in; None: any, finished ones too.
        count: How many such jobs there must be, 0 for none; None: at least one.
        connection: Whose view counts: the AsyncSession, AsyncConnection, asyncpg connection or psycopg
            AsyncConnection whose transaction is still open. A Queue, an engine or a URL: what is committed.
            None: what is committed, in the database of the process's default queue.
        schema: The schema of uno-jobs; None: the queue's, else ``uno_jobs``.

    Returns:
        The jobs found, in the order of their enqueueing.

    Raises:
        AssertionError: It was not; the message shows what was.
        InvalidArguments, NotSerializable: The arguments do not fit the task, so no job can have them.
        WrongColour: The connection is synchronous: use ``assert_enqueued_sync``.
        UnsupportedConnection, ConnectionClosed, TransactionFailed: The connection cannot be used.
    """
    __tracebackhide__ = True
    description = Description(task, args, kwargs, {"queue": queue, "version": version, "state": state})
    target, schema = _target(get_default_queue() if connection is None else connection, schema)
    return judge(description, await _find(target, schema, description.name), count)


def assert_enqueued_sync(
    task: Task[..., Any, Any] | Signature[Any] | str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    queue: str | None = None,
    version: str | None = None,
    state: JobState | None = None,
    count: int | None = None,
    connection: Any = None,
    schema: str | None = None,
) -> list[EnqueuedJob]:
    """Assert that a job was enqueued, as ``assert_enqueued`` does, on a Session, a Connection or psycopg's."""
    __tracebackhide__ = True
    description = Description(task, args, kwargs, {"queue": queue, "version": version, "state": state})
    target, schema = _target(get_default_sync_queue() if connection is None else connection, schema)
    return judge(description, _find_sync(target, schema, description.name), count)


def _target(connection: Any, schema: str | None) -> tuple[Any, str]:
    """Return whose view counts, and the schema."""
    if isinstance(connection, Queue | SyncQueue):
        return connection.database, schema or connection.schema
    return connection, schema or DEFAULT_SCHEMA


async def _find(target: Any, schema: str, task: str) -> Found:
    with Translating(schema):
        async with _link(target, schema) as link:
            return await run(link, find_jobs(schema, task), whole=False)


@contextlib.asynccontextmanager
async def _link(target: Any, schema: str) -> AsyncGenerator[AsyncLink]:
    own = _own(target, schema)
    if own is None:
        try:
            link = adapt(target)
        except WrongColour as error:
            raise WrongColour(f"{error}; in a test, use assert_enqueued_sync") from None
        await link.open()
        yield link
        return
    try:
        async with own.link() as link:
            yield link
    finally:
        await own.close()


def _find_sync(target: Any, schema: str, task: str) -> Found:
    own = _own(target, schema)
    if own is not None:
        # Without the caller's transaction it does not matter who looks.
        return wait_for(_find(_apart(target), schema, task))
    try:
        link = adapt_sync(target)
    except WrongColour as error:
        raise WrongColour(f"{error}; in a test, await assert_enqueued") from None
    with Translating(schema):
        link.open()
        return run_sync(link, find_jobs(schema, task), whole=False)


def _own(target: Any, schema: str) -> Own | None:
    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    if isinstance(target, str):
        return UrlConnections(target, schema)
    if isinstance(target, AsyncEngine):
        return AsyncEngineConnections(target, schema)
    return EngineConnections(target, schema) if isinstance(target, Engine) else None


def _apart(target: Any) -> Any:
    """An async engine's connections belong to their own event loop: go by its URL."""
    from sqlalchemy.ext.asyncio import AsyncEngine

    if not isinstance(target, AsyncEngine):
        return target
    return target.url.set(drivername="postgresql").render_as_string(hide_password=False)
