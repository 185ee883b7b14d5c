"""What the tests of ``job.then`` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.worker.conftest import LIMIT, until_empty
from uno_jobs import Queue

if TYPE_CHECKING:
    from tests.worker.conftest import Database


async def result_of(database: Database, workflow: Any, **options: Any) -> Any:
    async with Queue(database.url) as queue:
        handle = await queue.enqueue(workflow)
        await until_empty(database.url, **options)
        return await handle.result(timeout=LIMIT)
