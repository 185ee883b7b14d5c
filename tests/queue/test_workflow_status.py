"""Where workflows stand, as a program asks: by queue and by handle, of both colours."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from uno_jobs import Queue, SyncQueue
from uno_jobs.errors import InvalidOption, JobNotFound, NotCommitted, WorkflowNotFound
from uno_jobs.queue import workflow_status
from uno_jobs.tasks import chain, group

if TYPE_CHECKING:
    from tests.queue.conftest import Database


async def test_a_workflow_by_its_id_by_a_job_and_by_the_handle(queue: Queue, tasks: Any, database: Database) -> None:
    before = datetime.now(UTC)
    handle = await queue.enqueue(chain(tasks.add.s(1), group([tasks.add, tasks.add])))
    status = await handle.workflow()
    assert (status.workflow_id, status.state, status.jobs, status.percent) == (handle.workflow_id, "waiting", 3, 0.0)
    assert (status.ready, status.waiting, status.running, status.succeeded) == (1, 2, 0, 0)
    assert (status.started_at, status.finished_at, status.failed_job, status.is_finished) == (None, None, None, False)
    assert abs((status.created_at - before).total_seconds()) < 60
    assert handle.workflow_id is not None
    assert await queue.workflow(handle.workflow_id) == status
    for job in await database.jobs():
        assert await queue.workflow(job["id"]) == status
        assert await queue.get(str(job["id"])).workflow() == status
    await handle.cancel("enough")
    status = await handle.workflow()
    assert (status.state, status.cancelled, status.percent, status.is_finished) == ("cancelled", 3, 100.0, True)


async def test_the_graph_of_a_workflow(queue: Queue, tasks: Any, database: Database) -> None:
    handle = await queue.enqueue(chain(tasks.add.s(1), group([tasks.add, tasks.add])))
    graph = await queue.workflow_graph(handle.id)
    assert graph.status == await handle.workflow()
    first, left, right, join = graph.steps
    assert join.id == handle.id
    assert [step.task for step in graph.steps] == ["add", "add", "add", None]
    assert [step.state for step in graph.steps] == ["ready", "waiting", "waiting", "waiting"]
    assert [step.parents for step in graph.steps] == [(), (first.id,), (first.id,), (left.id, right.id)]
    assert [step.id for step in graph.steps] == sorted(job["id"] for job in await database.jobs())
    await database.connection.execute(
        "UPDATE uno_jobs.live_jobs SET state = 'running', worker_id = id, lease = 1, attempt = 1, started_at = now() "
        "WHERE id = $1",
        first.id,
    )
    await database.connection.execute("SELECT uno_jobs.set_progress($1, 1, 0.25, 'a quarter')", first.id)
    await handle.cancel("y" * 2_000)
    graph = await queue.workflow_graph(handle.id)
    first, left, *_ = graph.steps
    assert (first.state, first.attempt, first.progress, first.progress_message) == ("running", 1, 0.25, "a quarter")
    assert first.started_at is not None
    assert graph.read_at > first.started_at
    assert (left.state, left.error, left.cancelled_because) == ("cancelled", "y" * 1_000, None)


async def test_what_is_no_workflow(queue: Queue, tasks: Any, database: Database) -> None:
    alone = await queue.enqueue(tasks.add.s(1))
    for id_ in (alone.id, uuid.uuid4()):
        with pytest.raises(WorkflowNotFound, match=f"{id_} is neither a workflow nor a job of one"):
            await queue.workflow(id_)
        with pytest.raises(JobNotFound):
            await queue.workflow_graph(id_)
    with pytest.raises(WorkflowNotFound):
        await alone.workflow()
    with pytest.raises(InvalidOption, match="'latest'"):
        await queue.workflow("latest")


async def test_a_workflow_that_is_not_committed_is_said_to_be_so(queue: Queue, tasks: Any, database: Database) -> None:
    async with database.connection.transaction():
        handle = await queue.enqueue(chain(tasks.add.s(1), tasks.add), connection=database.connection)
        with pytest.raises(NotCommitted, match="still open or was rolled back"):
            await handle.workflow()
    assert (await handle.workflow()).jobs == 2


async def test_workflows_are_listed_newest_first_page_by_page(
    queue: Queue, tasks: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_status, "_PAGE", 2)
    assert await queue.workflows() == []
    ids: list[Any] = []
    for number in range(7):
        await queue.enqueue(tasks.add.s(1))
        handle = await queue.enqueue(chain(tasks.add.s(1), tasks.add))
        ids.append(handle.workflow_id)
        if number in (0, 2, 3):
            await handle.cancel()
    assert [one.workflow_id for one in await queue.workflows()] == ids[::-1]
    assert [one.workflow_id for one in await queue.workflows(limit=3)] == ids[:3:-1]
    cancelled = await queue.workflows(state="cancelled")
    assert [one.workflow_id for one in cancelled] == [ids[3], ids[2], ids[0]]
    assert [one.workflow_id for one in await queue.workflows(state="cancelled", limit=2)] == [ids[3], ids[2]]
    assert await queue.workflows(state="succeeded") == []
    monkeypatch.setattr(workflow_status, "SEARCHED", 5)
    assert [one.workflow_id for one in await queue.workflows(state="cancelled")] == [ids[3], ids[2]]
    for limit in (0, -1, True, 2.5, "7"):
        with pytest.raises(InvalidOption, match="limit must be an integer from 1 on"):
            await queue.workflows(limit=limit)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="state must be"):
        await queue.workflows(state="ready")  # type: ignore[arg-type]


def test_the_same_without_await(database_url: str, tasks: Any) -> None:
    with SyncQueue(database_url) as queue:
        handle = queue.enqueue(chain(tasks.add.s(1), tasks.add))
        status = handle.workflow()
        assert (status.workflow_id, status.jobs) == (handle.workflow_id, 2)
        assert queue.workflow(handle.id) == status
        assert queue.workflows(limit=1, state="waiting") == [status]
        assert [step.task for step in queue.workflow_graph(handle.id).steps] == ["add", "add"]
        with pytest.raises(WorkflowNotFound):
            queue.workflow(uuid.uuid4())
