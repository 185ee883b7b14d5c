"""The check: reads all unfinished jobs of a database, page by page, and has each judged by the code at hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from uno_jobs.deploy.judge import Judge
from uno_jobs.deploy.report import Report
from uno_jobs.storage.schema import DEFAULT_SCHEMA, quote_schema
from uno_jobs.storage.session import check_schema, connect
from uno_jobs.tasks.registry import TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from uno_jobs.tasks.registry import Registry

PAGE: Final = 1_000
"""Jobs in a page, at most."""
PAGE_BYTES: Final = 4_000_000
"""A page ends with the job that fills it."""

_ZERO: Final = UUID(int=0)


async def check_jobs(
    url: str,
    schema: str = DEFAULT_SCHEMA,
    *,
    registry: Registry | None = None,
    queues: Collection[str] | None = None,
    known_only: bool = False,
    limit: int | None = None,
    pooled: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Report:
    """Load the arguments of all unfinished jobs as a worker with the code at hand would, and say which would not run.

    It only reads, in the order of ids, and holds neither a lock nor a snapshot for longer than a page takes. A job that
    is enqueued meanwhile may be missed.

    Args:
        url: Any spelling of a PostgreSQL URL.
        schema: The schema of uno-jobs.
        registry: The tasks; those of this process unless given.
        queues: Only jobs in these; in all unless given.
        known_only: Leave out jobs of tasks that the registry does not have: they may be another application's.
        limit: Stop after so many jobs, the oldest.
        pooled: The URL is a transaction pooler's.
        progress: Called after each page with the jobs checked and failing so far.

    Raises:
        DatabaseUnavailable, SchemaNotInstalled, SchemaTooOld, CodeTooOld, UnsupportedServer: Each says what to do.
        ConfigurationError: The URL cannot be read, or is a pooler's although ``pooled`` is false.
    """
    judge = Judge(TaskRegistry.current() if registry is None else registry, known_only=known_only)
    connection = await connect(url, schema, name="uno-jobs check", pooled=pooled)
    try:
        await check_schema(connection, schema)
        complete = await _walk(_Pages(connection, schema, queues), judge, limit, progress)
    finally:
        connection.terminate()
    return Report(checked=judge.checked, left_out=judge.left_out, complete=complete, problems=judge.problems())


class _Pages:
    """The unfinished jobs, a page at a time."""

    def __init__(self, connection: Any, schema: str, queues: Collection[str] | None) -> None:
        self._connection = connection
        self._query = f"SELECT * FROM {quote_schema(schema)}.jobs_to_check($1, $2, $3, $4)"
        self._queues = None if queues is None else list(queues)

    async def after(self, id_: UUID) -> list[Any]:
        """Return the jobs after this one, as many as a page holds; none when there are none left."""
        return await self._connection.fetch(self._query, id_, PAGE, PAGE_BYTES, self._queues)


async def _walk(pages: _Pages, judge: Judge, limit: int | None, progress: Callable[[int, int], object] | None) -> bool:
    """Judge page after page, and say whether the last one was reached."""
    page = await pages.after(_ZERO)
    while page:
        # The server makes the next page while this one is judged.
        following = asyncio.ensure_future(pages.after(page[-1]["id"]))
        await asyncio.sleep(0)
        try:
            for row in page:
                if limit is not None and judge.checked >= limit:
                    await following
                    return False
                judge.judge(row)
            if progress is not None:
                progress(judge.checked, judge.failing)
        except BaseException:
            following.cancel()
            raise
        page = await following
    return True
