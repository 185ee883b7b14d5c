"""Middleware and task classes that write down what they see, and short ways to run a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uno_jobs.middleware import TaskMiddleware
from uno_jobs.runners.invocation import Plan, perform
from uno_jobs.tasks import Task, TaskRegistry

from .jobs import a_job

if TYPE_CHECKING:
    from uno_jobs.context import Job


class Noting(TaskMiddleware):
    """Writes down what it sees, and raises where it is told to."""

    def __init__(self, name: str, log: list[str], raises: dict[str, BaseException] | None = None) -> None:
        self.name, self.log, self.raises = name, log, raises or {}

    def note(self, point: str) -> None:
        self.log.append(f"{self.name}.{point}")
        if point in self.raises:
            raise self.raises[point]

    async def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Job) -> Any:
        self.note("before")
        return args, kwargs

    async def after_task(self, task_func: Any, args: Any, kwargs: Any, result: Any, job: Job) -> Any:
        self.note("after")
        return result

    async def on_error(self, task_func: Any, args: Any, kwargs: Any, error: BaseException, job: Job) -> Any:
        self.note("error")
        return error


class SyncNoting(Noting):
    """The same, synchronous."""

    def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Job) -> Any:  # type: ignore[override]
        self.note("before")
        return args, kwargs

    def after_task(self, task_func: Any, args: Any, kwargs: Any, result: Any, job: Job) -> Any:  # type: ignore[override]
        self.note("after")
        return result

    def on_error(self, task_func: Any, args: Any, kwargs: Any, error: BaseException, job: Job) -> Any:  # type: ignore[override]
        self.note("error")
        return error


def the_plan(made: Task[..., Any, Any], **options: Any) -> Plan:
    return Plan(made, middleware=TaskRegistry.current().middleware, **options)


async def run(made: Task[..., Any, Any], *args: Any, **kwargs: Any) -> Any:
    return await perform(the_plan(made), a_job(made, *args, **kwargs))


def noting_base(log: list[str], *, asynchronous: bool) -> type[Task[..., Any, Any]]:
    class Later(Task):
        async def validate_input(self, *args: Any, **kwargs: Any) -> None:
            log.append(f"validate{args}{kwargs}")

        async def report_result(self, result: Any) -> Any:
            log.append(f"report:{result}")

    class Now(Task):
        def validate_input(self, *args: Any, **kwargs: Any) -> None:
            log.append(f"validate{args}{kwargs}")

        def report_result(self, result: Any) -> Any:
            log.append(f"report:{result}")

    return Later if asynchronous else Now
