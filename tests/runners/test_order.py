"""The order of a run, and what each part of it may do and raise."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from typing import Any
from uuid import UUID

import pytest

from uno_jobs.context import Job, get_current_job
from uno_jobs.errors import Cancel, InvalidArguments, NoCurrentJob, Snooze
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.outcomes import Cancelled, Failed, Retried, Snoozed, Succeeded
from uno_jobs.runners.invocation import Plan, Plans, perform
from uno_jobs.runners.thread import Threads
from uno_jobs.tasks import Task, TaskRegistry, register_middleware, task

from .jobs import a_job


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


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def threads() -> Any:
    pool = Threads(2)
    yield pool
    pool.close()


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
