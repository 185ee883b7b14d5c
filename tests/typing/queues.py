"""What type checkers know of queues: the result's type survives, wrong options are rejected.

Not run: ``scripts/typing-examples`` has basedpyright and mypy check that exactly the lines marked
``expect-error`` are errors.
"""

from __future__ import annotations

from typing import Any, assert_type
from uuid import UUID, uuid4

import uno_jobs
from uno_jobs import JobHandle, Queue, SyncQueue, chain, configure, get_current_job, group, task
from uno_jobs.queue import JobStatus, SyncJobHandle, WorkflowGraph, WorkflowStatus


@task
async def count(word: str) -> int:
    return len(word)


@task
async def total(numbers: list[int]) -> float:
    return float(sum(numbers))


async def asynchronous() -> None:
    async with Queue("postgresql://localhost/app") as queue:
        handle = await queue.enqueue(count, ["word"], priority="high", delay=5)
        assert_type(handle, JobHandle[int])
        assert_type(await handle.result(), int)
        assert_type(await handle.status(), JobStatus)
        assert_type(await queue.enqueue(count.s("word"), id=uuid4(), metadata={"a": 1}), JobHandle[int])
        assert_type(await queue.enqueue("count", ["word"], version="1.0"), JobHandle[Any])
        assert_type(await queue.enqueue_many([count.s("a"), count.s("b")]), list[JobHandle[int]])
        assert_type(await queue.enqueue_many([(count, ["a"]), ("count", ["b"])]), list[JobHandle[Any]])
        assert_type(await (await queue.enqueue(chain(count, total.s()))).result(), float)
        assert_type(await queue.enqueue(count.s("word") | total.s()), JobHandle[float])
        assert_type(await (await queue.enqueue(group([count.s("a"), count.s("b")]))).result(), list[int])
        assert_type(await queue.enqueue(group([count.s("a")]) | total.s()), JobHandle[float])
        assert_type(await queue.enqueue(chain(count, group([total.s()]))), JobHandle[list[float]])
        assert_type(await (await queue.enqueue(chain(count, total))).status(), JobStatus)
        assert_type(await get_current_job().then(group([count.s("a")]) | total), UUID)
        assert_type(get_current_job().then(count.s("a")).id, UUID)
        assert_type(get_current_job().parents[0].error, str | None)
        get_current_job().then("count")  # expect-error
        assert_type(await queue.job(handle.id), JobStatus)
        assert_type(await handle.workflow(), WorkflowStatus)
        assert_type(await queue.workflow(handle.id), WorkflowStatus)
        assert_type(await queue.workflow_graph(handle.id), WorkflowGraph)
        assert_type(await queue.workflows(limit=3, state="failed"), list[WorkflowStatus])
        await queue.workflows(state="ready")  # expect-error
        await queue.enqueue(count, ["word"], priority="urgent")  # expect-error
        await queue.enqueue(count, ["word"], prioritty="high")  # expect-error
        await queue.enqueue(count, "word", on_duplicate="ignore")  # expect-error
        await queue.enqueue(3)  # expect-error
        configure(queue)
        configure("postgresql://localhost/app")  # expect-error


def synchronous() -> None:
    with SyncQueue("postgresql://localhost/app", schema="jobs", notify=False) as queue:
        handle = queue.enqueue(count, ["word"])
        assert_type(handle, SyncJobHandle[int])
        assert_type(handle.result(timeout=3), int)
        assert_type(queue.enqueue(group([count.s("a")]) | total).result(timeout=0.2), float)
        assert_type(queue.enqueue_many([count.s("a")]), list[SyncJobHandle[int]])
        assert_type(queue.get(handle.id), SyncJobHandle[Any])
        assert_type(handle.workflow(), WorkflowStatus)
        assert_type(queue.workflows(), list[WorkflowStatus])
        queue.enqueue(count, ["word"], run_at="tomorrow")  # expect-error
    SyncQueue(3)  # expect-error
    assert_type(uno_jobs.__version__, str)
