"""Queues of the roles: an enqueue-only one on every path, and what the others may and may not."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from tests.markdown import ROOT
from tests.queue.callers import KINDS, calling
from tests.queue.test_by_name import live
from tests.queue.test_connections import enqueue_some
from uno_jobs import Queue, SyncQueue, TaskRegistry, chain, group
from uno_jobs.errors import DuplicateJob, JobCancelled, PermissionDenied, TaskNotFound

if TYPE_CHECKING:
    from types import SimpleNamespace as Tasks

    from tests.queue.conftest import Database
    from tests.roles import Roles


@pytest.mark.parametrize("kind", KINDS)
async def test_an_enqueuer_enqueues_on_every_connection(
    kind: str, database: Database, roles: Roles, tasks: Tasks
) -> None:
    async with calling(kind, roles.enqueuer) as caller:
        await caller.begin()
        await enqueue_some(caller, tasks)
        await caller.enqueue(chain(tasks.add.s(1), group([tasks.add.s(b=2), tasks.add.s(b=3)]), tasks.add.s(5)))
        await caller.commit()
    assert await database.count() == 6 + 4


async def test_an_enqueuer_enqueues_everything(database: Database, roles: Roles, tasks: Tasks) -> None:
    async with Queue(roles.enqueuer) as queue:
        await queue.enqueue(tasks.add, [1], delay=60, metadata={"a": 1})
        await queue.enqueue(group([]))
        await queue.enqueue(chain(tasks.add.s(1), group([]), group([tasks.add.si(1), chain(tasks.add, tasks.add)])))
        await queue.enqueue_many([tasks.add.s(n) for n in range(1001)])
        await queue.enqueue_many([tasks.add.s(1), (tasks.send, ["a"]), tasks.add.options(delay=1).s(3)])
        first = await queue.enqueue(tasks.send, ["a"])
        assert first.is_duplicate
        with pytest.raises(DuplicateJob):
            await queue.enqueue(tasks.send, ["a"], on_duplicate="raise")
        one = await queue.enqueue(tasks.sync_user, ["u"])
        replaced = await queue.enqueue(tasks.sync_user, ["u", True])
        assert (replaced.id, replaced.replaced) == (one.id, True)
    states = await database.connection.fetch("SELECT state::text, count(*) FROM uno_jobs.job_status GROUP BY state")
    assert dict(states) == {"scheduled": 2, "succeeded": 1, "ready": 1 + 1001 + 2 + 1, "waiting": 5}


async def test_an_enqueuer_that_is_synchronous(database: Database, roles: Roles, tasks: Tasks) -> None:
    def enqueue() -> None:
        with SyncQueue(roles.enqueuer) as queue:
            queue.enqueue(tasks.add, [1])
            queue.enqueue(chain(tasks.add.s(1), tasks.add))
            queue.enqueue_many([tasks.send.s("a"), tasks.add.s(2)])
            with pytest.raises(PermissionDenied):
                queue.enqueue(tasks.add, [1]).status()

    await asyncio.to_thread(enqueue)
    assert await database.count() == 6


async def test_an_enqueuer_enqueues_by_name(database: Database, roles: Roles, tasks: Tasks) -> None:
    await live(database, tasks.add)
    async with Queue(roles.enqueuer) as queue:
        with TaskRegistry.isolated():
            handle = await queue.enqueue("add", [1])
            with pytest.raises(TaskNotFound):
                await queue.enqueue("nothing", [1])
    [job] = await database.jobs()
    assert (job["id"], job["task"]) == (handle.id, "add")


async def test_an_enqueuer_can_do_nothing_else(database: Database, roles: Roles, tasks: Tasks) -> None:
    async with Queue(roles.enqueuer) as queue:
        handle = await queue.enqueue(tasks.add, [1])
        flow = await queue.enqueue(chain(tasks.add.s(1), tasks.add))
        for refused in (
            handle.status(),
            handle.cancel(),
            handle.result(timeout=5),
            flow.workflow(),
            queue.retry(handle.id),
            queue.workflows(),
        ):
            async with asyncio.timeout(20):
                with pytest.raises(PermissionDenied, match="permission denied"):
                    await refused
    assert [job["state"] for job in await database.jobs()] == ["ready", "ready", "waiting"]


async def test_what_the_guide_grants_on_top_lets_an_enqueuer_wait_and_cancel(
    database: Database, roles: Roles, tasks: Tasks
) -> None:
    [grants] = re.findall(
        r"^```text\n(.*?)^```$", (ROOT / "docs" / "security.md").read_text(), re.DOTALL | re.MULTILINE
    )
    await database.connection.execute(grants.replace("TO web;", f'TO "{roles.names["enqueuer"]}";'))
    async with Queue(roles.enqueuer) as queue:
        handle = await queue.enqueue(tasks.add, [1])
        flow = await queue.enqueue(chain(tasks.add.s(1), tasks.add))
        assert await handle.cancel() == "cancelled"
        assert await flow.cancel() == "cancelled"
        with pytest.raises(JobCancelled):
            await handle.result(timeout=30)


async def test_a_reader_looks_and_changes_nothing(database: Database, roles: Roles, tasks: Tasks) -> None:
    async with Queue(database.url) as queue:
        handle = await queue.enqueue(tasks.add, [1])
        flow = await queue.enqueue(chain(tasks.add.s(1), tasks.add))
    async with Queue(roles.reader) as queue:
        seen = queue.get(handle.id)
        assert (await seen.status()).state == "ready"
        assert (await queue.workflow(flow.workflow_id)).jobs == 2
        assert len((await queue.workflow_graph(flow.workflow_id)).steps) == 2
        assert [one.workflow_id for one in await queue.workflows()] == [flow.workflow_id]
        for refused in (seen.cancel(), queue.retry(handle.id), queue.enqueue(tasks.add, [1]), seen.result(timeout=5)):
            with pytest.raises(PermissionDenied, match="permission denied"):
                await refused
    assert [job["state"] for job in await database.jobs()] == ["ready", "ready", "waiting"]
