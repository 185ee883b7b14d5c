"""The order of a run, and what each part of it may do and raise."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from uno_jobs.errors import Cancel, InvalidArguments, Snooze
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.outcomes import Cancelled, Failed, Retried, Snoozed, Succeeded
from uno_jobs.runners.invocation import Plans, perform
from uno_jobs.tasks import Task, register_middleware, task

from .jobs import a_job
from .noting import Noting, SyncNoting, noting_base, run, the_plan

if TYPE_CHECKING:
    from uno_jobs.context import Job


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_the_whole_order(log: list[str], asynchronous: bool) -> None:
    kind = Noting if asynchronous else SyncNoting
    register_middleware(kind("global1", log))
    register_middleware(kind("global2", log))

    @task(
        base=noting_base(log, asynchronous=asynchronous),
        middleware=[kind("own1", log), kind("own2", log)],
    )
    async def work(n: int, key: UUID) -> int:
        log.append(f"work:{n + 1}")
        return n + 1

    assert await run(work, "3", key=str(UUID(int=1))) == Succeeded("4")
    assert log == [
        f"validate{(3,)}" + repr({"key": UUID(int=1)}),
        "global1.before",
        "global2.before",
        "own1.before",
        "own2.before",
        "work:4",
        "own2.after",
        "own1.after",
        "global2.after",
        "global1.after",
        "report:4",
    ]


async def test_middleware_registered_later_counts_in_later_plans(log: list[str]) -> None:
    @task
    async def work() -> None: ...

    plans = Plans()
    first = plans.get("work", "1.0")
    assert plans.get("work", "1.0") is first
    register_middleware(Noting("new", log))
    assert plans.get("work", "1.0") is not first
    await perform(plans.get("work", "1.0"), a_job(work))
    assert log == ["new.before", "new.after"]


async def test_before_task_may_replace_arguments_and_after_task_the_result() -> None:
    class Doubling(TaskMiddleware):
        async def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Job) -> Any:
            return [args[0] * 2], {"b": kwargs["b"] * 2}

        async def after_task(self, task_func: Any, args: Any, kwargs: Any, result: Any, job: Job) -> Any:
            return {"args": args, "kwargs": kwargs, "result": result}

    @task(middleware=[Doubling(), Doubling()])
    async def work(a: int, b: int) -> Any:
        return a + b

    outcome = await run(work, 1, b=10)
    assert outcome == Succeeded('{"args":[4],"kwargs":{"b":40},"result":{"args":[4],"kwargs":{"b":40},"result":44}}')


async def test_report_result_may_change_the_result() -> None:
    class Wrapping(Task):
        def report_result(self, result: Any) -> Any:
            return {"wrapped": result} if result else None

    @task(base=Wrapping)
    async def work(n: int) -> Any:
        return n

    assert await run(work, 3) == Succeeded('{"wrapped":3}')
    assert await run(work, 0) == Succeeded("0")


async def test_the_task_is_what_middleware_gets() -> None:
    seen: list[Any] = []

    class Looking(TaskMiddleware):
        async def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Job) -> Any:
            seen.extend([task_func, task_func.__name__, str(inspect.signature(task_func)), job.metadata])
            return args, kwargs

    @task(middleware=[Looking()])
    async def monitored_task(data_id: str) -> None: ...

    await perform(the_plan(monitored_task), a_job(monitored_task, "d", metadata={"user_id": 5}))
    assert seen == [monitored_task, "monitored_task", "(data_id: 'str') -> 'None'", {"user_id": 5}]


# --- errors --------------------------------------------------------------------------------------------------------


async def test_an_error_of_the_task_goes_outwards(log: list[str]) -> None:
    register_middleware(Noting("global", log))

    @task(middleware=[Noting("own", log)])
    async def work() -> None:
        raise ConnectionError("gone")

    outcome = await run(work)
    assert isinstance(outcome, Retried)
    assert (outcome.error.type, outcome.error.message, outcome.delay) == ("ConnectionError", "gone", 60.0)
    assert log == ["global.before", "own.before", "own.error", "global.error"]


@pytest.mark.parametrize("middleware", [[], [Noting("own", [])]])
async def test_the_error_is_kept_for_hooks_and_only_for_them(middleware: list[TaskMiddleware]) -> None:
    @task(middleware=middleware)
    async def work() -> None:
        raise ConnectionError("gone")

    job = a_job(work)
    await perform(the_plan(work), job)
    assert job.error is None
    work.on_failure(print)
    await perform(the_plan(work), job)
    assert isinstance(job.error, ConnectionError)


@pytest.mark.parametrize("kind", [Noting, SyncNoting])
@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("before", ["global.before", "own.before", "own.error", "global.error"]),
        ("after", ["global.before", "own.before", "work", "own.after", "own.error", "global.error"]),
    ],
)
async def test_what_middleware_raises_is_the_tasks_error(
    log: list[str], kind: Any, point: str, expected: list[str]
) -> None:
    register_middleware(kind("global", log))

    @task(middleware=[kind("own", log, {point: LookupError("middleware")})])
    async def work() -> None:
        log.append("work")

    outcome = await run(work)
    assert isinstance(outcome, Retried)
    assert outcome.error.type == "LookupError"
    assert log == expected


@pytest.mark.parametrize("kind", [Noting, SyncNoting])
async def test_what_on_error_raises_takes_the_errors_place(log: list[str], kind: Any) -> None:
    register_middleware(kind("global", log))

    @task(middleware=[kind("own", log, {"error": LookupError("while handling")})])
    async def work() -> None:
        raise ConnectionError("gone")

    outcome = await run(work)
    assert isinstance(outcome, Retried)
    assert outcome.error.type == "LookupError"
    assert "ConnectionError: gone" in (outcome.error.traceback or ""), "the first error is its context"
    assert log == ["global.before", "own.before", "own.error", "global.error"]


async def test_on_error_may_replace_the_error_and_the_outer_sees_the_replacement() -> None:
    seen: list[BaseException] = []

    class Translating(TaskMiddleware):
        async def on_error(self, task_func: Any, args: Any, kwargs: Any, error: BaseException, job: Job) -> Any:
            return TimeoutError("translated")

    class Looking(TaskMiddleware):
        async def on_error(self, task_func: Any, args: Any, kwargs: Any, error: BaseException, job: Job) -> Any:
            seen.append(error)

    register_middleware(Looking())

    @task(middleware=[Translating()], retry_for_exceptions=[TimeoutError])
    async def work() -> None:
        raise KeyError("gone")

    outcome = await run(work)
    assert isinstance(outcome, Retried)
    assert outcome.error.type == "TimeoutError"
    assert [type(one) for one in seen] == [TimeoutError]


async def test_on_error_may_turn_an_error_into_a_control_exception() -> None:
    class Snoozing(TaskMiddleware):
        def on_error(self, task_func: Any, args: Any, kwargs: Any, error: BaseException, job: Job) -> Any:
            return Snooze(30) if isinstance(error, ConnectionError) else Cancel("enough")

    @task(middleware=[Snoozing()])
    async def work(connected: bool) -> None:
        raise RuntimeError if connected else ConnectionError

    assert await run(work, False) == Snoozed(30.0)
    assert await run(work, True) == Cancelled("enough")


async def test_on_error_that_returns_nonsense() -> None:
    class Wrong(TaskMiddleware):
        def on_error(self, task_func: Any, args: Any, kwargs: Any, error: BaseException, job: Job) -> Any:
            return "ignored"

    @task(middleware=[Wrong()])
    async def work() -> None:
        raise RuntimeError

    outcome = await run(work)
    assert outcome.error.type == "TypeError"
    assert "Wrong.on_error must return an error or None, not 'ignored'" in outcome.error.message


@pytest.mark.parametrize("returned", [None, 3, [], ((),), ((), []), ("a", {})])
async def test_before_task_that_returns_nonsense(returned: Any) -> None:
    class Forgetful(TaskMiddleware):
        def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Job) -> Any:
            return returned

    @task(middleware=[Forgetful()])
    async def work() -> None: ...

    outcome = await run(work)
    assert isinstance(outcome, Retried)
    assert outcome.error.message.startswith("Forgetful.before_task must return (args, kwargs), not")


async def test_on_error_sees_wrong_arguments_as_they_were_stored() -> None:
    seen: list[Any] = []

    class Looking(TaskMiddleware):
        def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Job) -> Any:
            raise AssertionError

        def on_error(self, task_func: Any, args: Any, kwargs: Any, error: BaseException, job: Job) -> Any:
            seen.append((args, kwargs, type(error)))

    @task(middleware=[Looking()])
    async def work(n: int) -> None: ...

    outcome = await run(work, "x", k=1)
    assert isinstance(outcome, Failed)
    assert seen == [(["x"], {"k": 1}, InvalidArguments)]
