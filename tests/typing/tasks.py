"""What type checkers know of tasks: right calls are accepted, wrong ones are rejected.

Not run: ``scripts/typing-examples`` has basedpyright and mypy check that exactly the lines marked
``expect-error`` are errors.
"""

# ruff: noqa: A002 - signatures as users write them

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, assert_type

from pydantic import BaseModel

from uno_jobs.context import Job, get_current_job
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.queue.handles import JobHandle
from uno_jobs.tasks import (
    Chain,
    Group,
    Signature,
    Task,
    TaskRegistry,
    chain,
    discover_tasks,
    group,
    register_middleware,
    task,
)
from uno_jobs.testing import test_task


class Report(BaseModel):
    pages: int


@task
async def process_upload(file_id: str, options: dict[str, Any] | None = None) -> Report:
    return Report(pages=len(file_id))


@task(queue="uploads", priority="high", max_retries=5, retry_delay=timedelta(minutes=1), timeout=300)
async def send(to: str, *, copies: int = 1) -> None: ...


@task(asynchronous=False, max_memory="512MB", cpu_limit=0.5)
def compute(data_set_id: str) -> dict[str, float]:
    return {"mean": 10.5}


@task
def count(numbers: list[int], *more: int, **named: int) -> int:
    return sum(numbers)


# --- a task is still its function --------------------------------------------------------------------------------


async def plain_calls() -> None:
    coroutine = assert_type(process_upload("f"), Coroutine[Any, Any, Report])
    assert_type(await coroutine, Report)
    assert_type(await process_upload("f", {"a": 1}), Report)
    assert_type(compute("d"), dict[str, float])
    assert_type(await send("a@b.c", copies=2), None)
    assert_type(count([1], 2, three=3), int)
    process_upload(3)  # expect-error
    process_upload()  # expect-error
    await send("a@b.c", 2)  # expect-error
    await send("a@b.c", copy=2)  # expect-error
    compute("d", "e")  # expect-error
    count(["1"])  # expect-error


# --- enqueueing keeps parameters and result ------------------------------------------------------------------------


async def enqueueing() -> None:
    handle = await process_upload.enqueue("f", options={"format": "pdf"})
    assert_type(handle, JobHandle[Report])
    assert_type(await handle.result(), Report)
    assert_type(await handle.result(timeout=5), Report)
    assert_type(await (await compute.enqueue("d")).result(), dict[str, float])
    assert_type(compute.enqueue_sync("d").result(), dict[str, float])
    await process_upload.enqueue(3)  # expect-error
    await process_upload.enqueue("f", 3)  # expect-error
    await process_upload.enqueue()  # expect-error
    await process_upload.enqueue("f", option={})  # expect-error
    await process_upload.enqueue("f", priority="high")  # expect-error
    process_upload.enqueue_sync(3)  # expect-error


async def enqueueing_with_options() -> None:
    bound = process_upload.options(priority="high", delay=60, metadata={"user": 1})
    assert_type(await (await bound.enqueue("f")).result(), Report)
    assert_type(process_upload.options(delay=timedelta(hours=1)).enqueue_sync("f").result(), Report)
    await bound.enqueue(3)  # expect-error
    await bound.enqueue("f", delay=60)  # expect-error
    bound.enqueue_sync()  # expect-error
    process_upload.options(priority="urgent")  # expect-error
    process_upload.options(prioritty="high")  # expect-error
    process_upload.options(run_at="tomorrow")  # expect-error


# --- signatures keep the result -----------------------------------------------------------------------------------


def signatures() -> None:
    assert_type(process_upload.s("f"), Signature[Report])
    assert_type(process_upload.s(), Signature[Report])
    assert_type(compute.si("d"), Signature[dict[str, float]])
    assert_type(compute.options(queue="slow").s("d"), Signature[dict[str, float]])
    wrong: Signature[int] = process_upload.s("f")  # expect-error
    print(wrong)


# --- workflows result in what their last step does, groups in lists ---------------------------------------------


def workflows() -> None:
    assert_type(chain(send, compute.s("d"), process_upload), Chain[Report])
    assert_type(chain(process_upload), Chain[Report])
    assert_type(group([process_upload.s("f"), process_upload]), Group[list[Report]])
    assert_type(group(process_upload.s(file) for file in "abc"), Group[list[Report]])
    assert_type(group(compute, compute.s("d")), Group[list[dict[str, float]]])
    assert_type(chain(send, group([compute, compute])), Chain[list[dict[str, float]]])
    assert_type(group([chain(send, compute), compute]), Group[list[dict[str, float]]])
    assert_type(group([group([compute])]), Group[list[list[dict[str, float]]]])
    assert_type(send.s() | compute.s("d"), Chain[dict[str, float]])
    assert_type(send | process_upload, Chain[Report])
    assert_type(group([compute, compute]) | process_upload.si("f"), Chain[Report])
    process_upload.options(on_parent_failure="run").s("f")
    process_upload.options(on_parent_failure="stop")  # expect-error
    wrong: Chain[int] = chain(send, process_upload)  # expect-error
    chain(send, 3)  # expect-error
    group([send, "compute"])  # expect-error
    print(send.s() | 3, wrong)  # expect-error


# --- options are checked --------------------------------------------------------------------------------------------


@task(max_retries="3")  # expect-error
async def wrong_retries() -> None: ...


@task(priority="urgent")  # expect-error
async def wrong_priority() -> None: ...


@task(max_retires=3)  # expect-error
async def wrong_name() -> None: ...


@task(timeout_action="explode")  # expect-error
async def wrong_action() -> None: ...


@task(retry_for_exceptions=[int])  # expect-error
async def wrong_exceptions() -> None: ...


@task(middleware=[object()])  # expect-error
async def wrong_middleware() -> None: ...


@task(base=Report)  # expect-error
async def wrong_base() -> None: ...


@task(unique=True, unique_key=lambda user_id: f"user:{user_id}")
async def unique(user_id: str) -> None: ...


# --- classes --------------------------------------------------------------------------------------------------------


class ProcessingTask(Task):
    max_retries = 3
    retry_delay = 60
    retry_for_exceptions = (ConnectionError, TimeoutError)
    queue = "processing"
    priority = "high"

    async def validate_input(self, *args: Any, **kwargs: Any) -> None:
        pass

    async def report_result(self, result: Any) -> Any:
        return result


class SyncProcessingTask(Task):
    def validate_input(self, *args: Any, **kwargs: Any) -> None:
        pass

    def report_result(self, result: Any) -> None:
        pass


class WrongTask(Task):
    max_retries = "three"  # expect-error


@task(base=ProcessingTask)
async def process_image(image_id: str, format: str = "jpg") -> dict[str, str]:
    return {"image_id": image_id}


async def classes() -> None:
    assert_type(await process_image("i"), dict[str, str])
    assert_type(await (await process_image.enqueue("i", format="png")).result(), dict[str, str])
    await process_image.enqueue("i", 3)  # expect-error


# --- hooks, middleware, context -------------------------------------------------------------------------------------


@process_upload.on_success
async def handle_success(job: Job, result: Report) -> None: ...


@process_upload.on_failure
def handle_failure(job: Job, error: BaseException) -> None: ...


@process_upload.on_retry
async def handle_retry(job: Job, error: BaseException, retry_count: int) -> None: ...


class LoggingMiddleware(TaskMiddleware):
    async def before_task(
        self, task_func: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], job: Job
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        print(task_func.__name__, task_func.name)
        return args, kwargs

    def after_task(self, task_func: Any, args: Any, kwargs: Any, result: Any, job: Job) -> Any:
        return result


register_middleware(LoggingMiddleware())
register_middleware(LoggingMiddleware)  # expect-error


async def context() -> None:
    job = get_current_job()
    assert_type(await job.is_cancelled(), bool)
    if job.is_cancelled():
        await job.set_progress(0.5, "half")
    job.set_progress(0.5)
    job.set_progress("half")  # expect-error


# --- the rest ---------------------------------------------------------------------------------------------------------


async def testing() -> None:
    assert_type(await test_task(process_upload, args=["f"]), Report)
    assert_type(await test_task(compute, args=["d"], metadata={"user_id": 1}), dict[str, float])
    await test_task("process_upload")  # expect-error


def registry() -> None:
    assert_type(TaskRegistry.has_task("t"), bool)
    for one in TaskRegistry.get_all_tasks():
        assert_type(one.name, str)
    TaskRegistry.register(handle_success, name="notify_user", max_retries=2)
    TaskRegistry.register(handle_success, max_retires=2)  # expect-error
    discover_tasks(["myapp.tasks.*"])
    discover_tasks(3)  # expect-error
