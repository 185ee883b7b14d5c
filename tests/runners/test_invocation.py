"""Runs of odd arguments, results, versions, contexts and errors."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from typing import TYPE_CHECKING, Any

import pytest

from uno_jobs.context import Job, get_current_job
from uno_jobs.errors import InvalidArguments, NoCurrentJob
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.outcomes import Failed, Retried, Succeeded
from uno_jobs.runners.invocation import Plans, perform
from uno_jobs.tasks import Task, task

from .jobs import a_job
from .noting import Noting, run, the_plan

if TYPE_CHECKING:
    from uno_jobs.runners.thread import Threads

# --- arguments and results that do not fit ------------------------------------------------------------------------


@pytest.mark.parametrize("middleware", [[], [TaskMiddleware()]])
async def test_wrong_arguments_never_retry(middleware: list[TaskMiddleware]) -> None:
    @task(middleware=middleware)
    async def work(n: int) -> None: ...

    for args in ([], ["x"], [1, 2]):
        outcome = await run(work, *args)
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "uno_jobs.errors.InvalidArguments"
        assert "task 'work'" in outcome.error.message


async def test_invalid_arguments_of_another_call_inside_the_task_are_retried_as_any_error() -> None:
    @task
    async def work() -> None:
        raise InvalidArguments("of a job that this task wanted to enqueue")

    assert isinstance(await run(work), Retried)


@pytest.mark.parametrize(
    ("error", "outcome"), [(ValueError("no"), Failed), (TypeError("no"), Failed), (ConnectionError("no"), Retried)]
)
async def test_validate_input_refuses_without_retry(error: Exception, outcome: type, log: list[str]) -> None:
    class Checking(Task):
        async def validate_input(self, *args: Any, **kwargs: Any) -> None:
            raise error

    @task(base=Checking, middleware=[Noting("own", log)])
    async def work() -> None:
        raise AssertionError

    ended = await run(work)
    assert type(ended) is outcome
    assert ended.error.message == "no"
    assert log == ["own.error"]


@pytest.mark.parametrize("middleware", [[], [Noting("own", [])]])
async def test_a_result_that_cannot_be_stored_never_retries(middleware: list[TaskMiddleware]) -> None:
    @task(middleware=middleware)
    async def work(n: int) -> Any:
        return float("nan") if n else "x" * 2000

    outcome = await run(work, 1)
    assert isinstance(outcome, Failed)
    assert outcome.error.type == "uno_jobs.errors.ResultNotStorable"
    too_large = await perform(the_plan(work, max_result_size=1000), a_job(work, 0))
    assert isinstance(too_large, Failed)
    assert "2,002 bytes" in too_large.error.message


# --- versions -----------------------------------------------------------------------------------------------------


async def test_upgrade_from_rewrites_in_memory() -> None:
    def from_one(args: list[Any], kwargs: dict[str, Any]) -> Any:
        args.append({"upgraded": True})
        return args, kwargs

    @task(name="process", version="2.0", upgrade_from={"1.0": from_one})
    async def process(data_id: str, options: dict[str, Any]) -> Any:
        return [data_id, options, get_current_job().version]

    plans = Plans()
    job = a_job(process, "d", version="1.0")
    assert await perform(plans.get("process", "1.0"), job) == Succeeded('["d",{"upgraded":true},"1.0"]')
    assert job.args == ["d"]
    assert await perform(plans.get("process", "2.0"), a_job(process, "d", {})) == Succeeded('["d",{},"2.0"]')


async def test_an_upgrade_that_fails_is_an_argument_error() -> None:
    upgrades = {
        "1.0": lambda args, kwargs: 1 / 0,
        "1.1": lambda args, kwargs: None,
        "1.2": lambda args, kwargs: (["not a number"], {}),
    }

    @task(name="process", version="2.0", upgrade_from=upgrades)
    async def process(n: int) -> None: ...

    for version, why in [
        ("1.0", "upgrade_from['1.0'] raised ZeroDivisionError"),
        ("1.1", "upgrade_from['1.1'] must return (args, kwargs), not NoneType"),
        ("1.2", "parameter 'n'"),
    ]:
        outcome = await perform(Plans().get("process", version), a_job(process, version=version))
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "uno_jobs.errors.InvalidArguments"
        assert why in outcome.error.message


# --- context ------------------------------------------------------------------------------------------------------


async def test_the_job_is_current_everywhere_and_not_afterwards(log: list[str], threads: Threads) -> None:
    jobs: list[Job] = []

    class Looking(TaskMiddleware):
        def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Job) -> Any:
            jobs.extend([job, get_current_job()])
            return args, kwargs

        async def after_task(self, task_func: Any, args: Any, kwargs: Any, result: Any, job: Job) -> Any:
            jobs.extend([job, get_current_job()])

        def on_error(self, task_func: Any, args: Any, kwargs: Any, error: BaseException, job: Job) -> Any:
            jobs.extend([job, get_current_job()])

    @task(middleware=[Looking()])
    async def work(fail: bool) -> None:
        jobs.append(get_current_job())
        if fail:
            raise RuntimeError

    @task(middleware=[Looking()], runs_in="thread")
    def blocking(fail: bool) -> None:
        jobs.append(get_current_job())
        if fail:
            raise RuntimeError

    for made in (work, blocking):
        for fail in (True, False):
            job = a_job(made, fail)
            await perform(the_plan(made, threads=threads), job)
            assert jobs == [job] * 5
            jobs.clear()
            with pytest.raises(NoCurrentJob):
                get_current_job()


async def test_jobs_side_by_side_each_see_their_own() -> None:
    gate = asyncio.Barrier(5)

    @task
    async def work(n: int) -> Any:
        await gate.wait()
        return [n, get_current_job().args[0]]

    plan = the_plan(work)
    outcomes = await asyncio.gather(*(perform(plan, a_job(work, n)) for n in range(5)))
    assert outcomes == [Succeeded(f"[{n},{n}]") for n in range(5)]


@pytest.mark.parametrize("timeout", [None, 60])
async def test_contextvars_of_before_task_are_seen_by_the_task(timeout: float | None, threads: Threads) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    class Setting(TaskMiddleware):
        async def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Job) -> Any:
            variable.set("set")
            return args, kwargs

    @task(middleware=[Setting()], timeout=timeout)
    async def work() -> str:
        return variable.get()

    @task(middleware=[Setting()], timeout=timeout, runs_in="thread")
    def blocking() -> str:
        return variable.get()

    for made in (work, blocking):
        assert await asyncio.create_task(perform(the_plan(made, threads=threads), a_job(made))) == Succeeded('"set"')
    assert variable.get() == "unset"


# --- what is no ordinary error ------------------------------------------------------------------------------------


@pytest.mark.parametrize("middleware", [[], [Noting("own", [])]])
async def test_sys_exit_and_stop_iteration_fail_the_attempt(middleware: list[TaskMiddleware]) -> None:
    @task(middleware=middleware)
    async def work(error: str) -> None:
        raise {"exit": SystemExit(3), "stop": StopIteration("s"), "group": ExceptionGroup("g", [OSError()])}[error]

    assert (await run(work, "exit")).error.type == "SystemExit"
    assert (await run(work, "stop")).error.type == "RuntimeError"
    assert (await run(work, "group")).error.type == "ExceptionGroup"


@pytest.mark.parametrize("middleware", [[], [Noting("own", [])]])
async def test_the_workers_cancellation_passes_through(middleware: list[TaskMiddleware]) -> None:
    started = asyncio.Event()

    @task(middleware=middleware)
    async def work(swallow: bool) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not swallow:
                raise
        return "succeeded all the same"

    for swallow in (True, False):
        started.clear()
        running = asyncio.create_task(perform(the_plan(work), a_job(work, swallow)))
        await started.wait()
        running.cancel()
        if swallow:
            assert await running == Succeeded('"succeeded all the same"')
        else:
            with pytest.raises(asyncio.CancelledError):
                await running


@pytest.mark.parametrize("middleware", [[], [Noting("own", [])]])
async def test_a_cancellation_of_the_tasks_own_making_is_its_failure(middleware: list[TaskMiddleware]) -> None:
    @task(middleware=middleware)
    async def work() -> None:
        inner = asyncio.create_task(asyncio.Event().wait())
        inner.cancel()
        await inner

    outcome = await run(work)
    assert isinstance(outcome, Retried)
    assert outcome.error.type == "asyncio.exceptions.CancelledError"


async def test_on_error_sees_the_workers_cancellation_but_cannot_replace_it(log: list[str]) -> None:
    started = asyncio.Event()
    seen: list[BaseException] = []

    class Replacing(TaskMiddleware):
        async def on_error(self, task_func: Any, args: Any, kwargs: Any, error: BaseException, job: Job) -> Any:
            seen.append(error)
            return RuntimeError("instead")

    @task(middleware=[Replacing()])
    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(perform(the_plan(work), a_job(work)))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [type(one) for one in seen] == [asyncio.CancelledError]


@pytest.mark.parametrize("middleware", [[], [Noting("own", [])]])
async def test_a_keyboard_interrupt_is_not_kept(middleware: list[TaskMiddleware]) -> None:
    @task(middleware=middleware)
    async def work() -> None:
        raise KeyboardInterrupt

    coroutine = perform(the_plan(work), a_job(work))
    with pytest.raises(KeyboardInterrupt):
        coroutine.send(None)


async def test_synchronous_functions_run_in_place_without_threads() -> None:
    @task(runs_in="thread")
    def work(n: int) -> int:
        return n + get_current_job().attempt

    assert await run(work, 3) == Succeeded("4")


async def test_a_plain_wrapper_of_a_coroutine_function_may_answer_at_once() -> None:
    async def original(n: int) -> int:
        return n

    cache = {3: 33}

    @functools.wraps(original)
    def cached(n: int) -> Any:
        return cache[n] if n in cache else original(n)

    made = task(cached)
    assert made.config.asynchronous
    assert await run(made, 3) == Succeeded("33")
    assert await run(made, 4) == Succeeded("4")


async def test_an_awaitable_from_a_plain_function_is_awaited() -> None:
    async def later(n: int) -> int:
        return n

    @task(asynchronous=True)
    def work(n: int) -> Any:
        return asyncio.ensure_future(later(n))

    assert await run(work, 3) == Succeeded("3")
