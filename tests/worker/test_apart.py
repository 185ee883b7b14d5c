"""Jobs that run side by side in one process, or one after the other, know nothing of each other."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest

from tests.worker.conftest import running
from uno_jobs.context import get_current_job
from uno_jobs.tasks import task

if TYPE_CHECKING:
    from tests.worker.conftest import Database

mark: ContextVar[str] = ContextVar("mark", default="none")


@pytest.mark.parametrize("waits", [False, True], ids=["never waits", "waits"])
async def test_each_job_has_an_asyncio_task_and_a_context_of_its_own(database: Database, waits: bool) -> None:
    tasks: list[asyncio.Task[object] | None] = []
    found: list[tuple[str, str]] = []

    @task
    async def looks(name: str) -> str:
        async with asyncio.timeout(30):  # is about the asyncio task that enters it
            tasks.append(asyncio.current_task())
            before = mark.get()
            mark.set(name)
            if waits:
                await asyncio.sleep(0)
            found.append((before, mark.get()))
            return str(get_current_job().id)

    ids = [id_ for n in range(20) for id_ in await database.put(looks, f"job {n}")]
    async with running(database.url, concurrency=10):
        for id_ in ids:
            await database.wait_for(id_, "succeeded")
    assert None not in tasks
    assert len(set(tasks)) == 20
    assert sorted(found) == sorted(("none", f"job {n}") for n in range(20))
    assert [(await database.job(id_))["result"] for id_ in ids] == [f'"{id_}"' for id_ in ids]
