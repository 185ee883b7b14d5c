"""``test_task``, as the Tasks document uses it."""

# ruff: noqa: A002, RUF013 - signatures as users write them

from __future__ import annotations

import asyncio
import threading
from datetime import date
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import UUID

import pytest
from pydantic import BaseModel

from uno_jobs.context import get_current_job
from uno_jobs.errors import InvalidArguments, NoCurrentJob, NotSerializable, ResultNotStorable, Retry, Snooze
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.tasks import Task, TaskRegistry, register_middleware, task
from uno_jobs.testing import test_task

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def registry() -> Iterator[Any]:
    with TaskRegistry.isolated() as inner:
        yield inner


async def process_upload(file_id: str, options: dict = None) -> dict:  # type: ignore[type-arg, assignment]
    return {"status": "processed", "file_id": file_id, "options": options}


def api_call(endpoint: str) -> dict[str, bool]:
    raise ConnectionError(endpoint)


async def external_api_task(endpoint: str) -> dict[str, str]:
    return {"status": "success" if api_call(endpoint)["success"] else "failure"}


def test_it_is_not_collected() -> None:
    assert test_task.__test__ is False  # type: ignore[attr-defined]


async def test_the_documents_first_example() -> None:
    result = await test_task(task(process_upload), args=["file_123"], kwargs={"options": {"format": "pdf"}})
    assert result["status"] == "processed"
    assert result["options"] == {"format": "pdf"}


async def test_the_documents_second_example() -> None:
    made = task(external_api_task)
    with patch(f"{__name__}.api_call") as mock_api:
        mock_api.return_value = {"success": True}
        result = await test_task(made, args=["endpoint_1"])
    assert result["status"] == "success"
    with pytest.raises(ConnectionError, match="endpoint_1"):
        await test_task(made, args=["endpoint_1"])


async def test_arguments_go_through_validation_and_json() -> None:
    class Order(BaseModel):
        day: date

    @task
    async def work(id: UUID, order: Order, more: dict[int, str]) -> Any:
        return [type(id) is UUID, type(order) is Order, more]

    assert await test_task(work, args=[str(UUID(int=1)), {"day": "2024-01-01"}], kwargs={"more": {1: "a"}}) == [
        True,
        True,
        {1: "a"},
    ]
    with pytest.raises(InvalidArguments, match="'id'"):
        await test_task(work, args=["x", {"day": "2024-01-01"}, {}])
    with pytest.raises(InvalidArguments, match="missing 'order'"):
        await test_task(work, args=[UUID(int=1)])
    with pytest.raises(NotSerializable, match="metadata"):
        await test_task(work, args=[UUID(int=1), Order(day=date(2024, 1, 1)), {}], metadata={"x": float("nan")})


async def test_the_result_is_the_tasks_own() -> None:
    class Report(BaseModel):
        pages: int

    @task
    async def work() -> Report:
        return Report(pages=3)

    @task
    async def wrong() -> Any:
        return object()

    assert await test_task(work) == Report(pages=3)
    with pytest.raises(ResultNotStorable):
        await test_task(wrong)


async def test_middleware_base_class_and_hooks_run() -> None:
    log: list[Any] = []

    class Noting(TaskMiddleware):
        async def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Any) -> Any:
            log.append("before")
            return args, kwargs

        async def on_error(self, task_func: Any, args: Any, kwargs: Any, error: Any, job: Any) -> Any:
            log.append("error")
            return RuntimeError("replaced") if isinstance(error, KeyError) else error

    class Base(Task):
        max_retries = 0

        async def validate_input(self, *args: Any, **kwargs: Any) -> None:
            log.append("validate")

        async def report_result(self, result: Any) -> Any:
            return f"reported {result}"

    register_middleware(Noting())

    @task(base=Base)
    async def work(fail: bool) -> Any:
        if fail:
            raise KeyError
        return "result"

    @work.on_success
    async def success(job: Any, result: Any) -> None:
        log.append(("success", result, get_current_job() is job))

    @work.on_failure
    def failure(job: Any, error: Any) -> None:
        log.append(("failure", type(error).__name__))

    assert await test_task(work, args=[False]) == "reported result"
    assert log == ["validate", "before", ("success", "reported result", True)]
    log.clear()
    with pytest.raises(RuntimeError, match="replaced"):
        await test_task(work, args=[True])
    assert log == ["validate", "before", "error", ("failure", "RuntimeError")]


async def test_retry_hooks_run_and_the_error_is_raised() -> None:
    seen: list[int] = []

    @task
    async def work(how: str) -> None:
        raise {"retry": Retry("again"), "snooze": Snooze(3)}[how]

    @work.on_retry
    async def again(job: Any, error: Any, retry_count: int) -> None:
        seen.append(retry_count)

    with pytest.raises(Retry, match="again"):
        await test_task(work, args=["retry"])
    with pytest.raises(Snooze):
        await test_task(work, args=["snooze"])
    assert seen == [1]


async def test_there_is_a_job_with_metadata_and_progress() -> None:
    @task(queue="reports", priority="high")
    async def work(data_id: str) -> Any:
        job = get_current_job()
        await job.set_progress(0.5, "half")
        assert not await job.is_cancelled()
        return [job.task, job.queue, job.priority, job.attempt, job.max_attempts, job.args, job.metadata]

    result = await test_task(work, args=["d"], metadata={"user_id": 5})
    assert result == ["work", "reports", 3, 1, 4, ["d"], {"user_id": 5}]
    with pytest.raises(NoCurrentJob):
        get_current_job()


def compute(n: int) -> Any:
    get_current_job().set_progress(1.0)
    return [n, threading.current_thread() is threading.main_thread()]


async def test_synchronous_tasks_run_on_a_thread() -> None:
    assert await test_task(task(compute), args=["3"]) == [3, False]


async def test_timeouts_count() -> None:
    @task(timeout=0.001)
    async def work() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await test_task(work)


async def test_signatures() -> None:
    made = task(process_upload)
    result = await test_task(made.s("f1"), kwargs={"options": {"a": 1}})
    assert (result["file_id"], result["options"]) == ("f1", {"a": 1})


async def test_what_is_no_task() -> None:
    with pytest.raises(TypeError, match="takes a task"):
        await test_task(process_upload, args=["f"])  # type: ignore[arg-type]
