"""One run of one job: arguments, validation, middleware, function, result, in the order that is promised."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from uno_jobs.context import enter_job, leave_job
from uno_jobs.errors import ResultNotStorable
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.outcomes import Succeeded
from uno_jobs.runners.after_commit import note_late_error, result_that_stands
from uno_jobs.runners.limits.group import peak_memory
from uno_jobs.runners.limits.inside import refused
from uno_jobs.runners.limits.limits import Limits
from uno_jobs.runners.timeout import call_within
from uno_jobs.runners.verdict import judge
from uno_jobs.tasks.definition import Task
from uno_jobs.tasks.loading import ArgumentLoader, as_call, parse_before
from uno_jobs.tasks.registry import TaskRegistry
from uno_jobs.tasks.results import MAX_RESULT_SIZE
from uno_jobs.transactions.state import committed_result

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from uno_jobs.context import Job
    from uno_jobs.outcomes import Outcome
    from uno_jobs.tasks.registry import Registry

logger = logging.getLogger("uno_jobs.runners")

_NULL: Final = Succeeded("null")
_LOADING, _RUNNING, _DUMPING = 0, 1, 2


class Ended(NamedTuple):
    """How a run ended: with a result and its JSON text, or with an error (final: no retry can help)."""

    result: Any
    text: str
    error: BaseException | None
    final: bool


class Caller(Protocol):
    """Runs synchronous functions away from the event loop: ``Threads`` in a worker, the main thread in a child."""

    async def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        job: Job | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Run a function and return what it returns."""
        ...


class Plan:
    """All that can be known before a run of a task: made once, used for each.

    Args:
        task: The task.
        upgrade: What rewrites the arguments of an older version, if it is one.
        middleware: The global middleware; the task's own come after it.
        threads: Where synchronous functions run; without it, here and now.
        max_result_size: The largest result, in bytes of JSON.
        own_timeout: Whether the timeout is watched here; False in a child process, where whoever started it does, and
            where a limit of memory is in force.

    Raises:
        TaskDefinitionError: An annotation of the task cannot be resolved.
    """

    __slots__ = (
        "_after",
        "_before",
        "_dump",
        "_function",
        "_limit",
        "_limits",
        "_loader",
        "_on_error",
        "_parameters_load",
        "_report",
        "_threads",
        "_timeout",
        "_validate",
        "options",
        "perform",
        "task",
    )

    def __init__(
        self,
        task: Task[..., Any, Any],
        *,
        upgrade: Callable[..., Any] | None = None,
        middleware: tuple[TaskMiddleware, ...] = (),
        threads: Caller | None = None,
        max_result_size: int = MAX_RESULT_SIZE,
        own_timeout: bool = True,
    ) -> None:
        self.task = task
        self.options = task.config
        self._function = task.function
        if task.config.asynchronous and not inspect.iscoroutinefunction(task.function):
            self._function = _awaited(task.function)
        self._parameters_load = task.parameters.load
        self._loader = ArgumentLoader(task, upgrade)
        self._dump = task.result_type.dump
        self._limit = max_result_size
        self._threads = None if task.config.asynchronous else threads
        self._timeout = task.config.timeout if own_timeout else None
        self._limits = Limits() if own_timeout else Limits.of(task.config)
        cls = type(task)
        self._validate = None if cls.validate_input is Task.validate_input else task.validate_input
        self._report = None if cls.report_result is Task.report_result else task.report_result
        chain = (*middleware, *task.config.middleware)
        self._before = [one for one in chain if type(one).before_task is not TaskMiddleware.before_task]
        self._after = [one for one in reversed(chain) if type(one).after_task is not TaskMiddleware.after_task]
        self._on_error = [one for one in reversed(chain) if type(one).on_error is not TaskMiddleware.on_error]
        bare = (
            task.config.asynchronous
            and upgrade is None
            and self._timeout is None
            and not (self._validate or self._report or self._before or self._after or self._on_error)
        )
        self.perform: Callable[[Job], Coroutine[Any, Any, Outcome]] = (
            self._perform_bare if bare else self._perform_whole
        )
        """Run a job of this task: ``outcome = await plan.perform(job)``; see ``perform``."""

    async def run(self, job: Job) -> Ended:
        """Go through a run, without a verdict. Raises only what ``perform`` raises."""
        stage = _LOADING
        args: Any = job.args
        kwargs: Any = job.kwargs
        try:
            args, kwargs = self._load(job)
            if self._validate is not None:
                await _settled(self._validate(*args, **kwargs))
            stage = _RUNNING
            for one in self._before:
                args, kwargs = _replaced(one, await _settled(one.before_task(self.task, args, kwargs, job)))
            result = await self._call(job, args, kwargs)
            if (committed := committed_result(job)) is not None:
                return await self._look_on(job, args, kwargs, committed, result)
            for one in self._after:
                result = await _settled(one.after_task(self.task, args, kwargs, result, job))
            if self._report is not None and (reported := await _settled(self._report(result))) is not None:
                result = reported
            stage = _DUMPING
            text = self._dump(result, self._limit)
            if job.additions:
                await self._succeed(job, text)
            return Ended(result, text, None, False)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            stopped = _is_stop(error)
            final = (stage == _LOADING and isinstance(error, ValueError | TypeError)) or isinstance(
                error, ResultNotStorable
            )
            kept = await self._outwards(job, args, kwargs, error)
            if stopped:
                raise
            if (committed := committed_result(job)) is not None:
                note_late_error(job, kept)
                return Ended(self.task.load_result(committed), committed, None, False)
            return Ended(None, "null", kept, final)

    async def _perform_bare(self, job: Job) -> Outcome:
        """Run a job of an asynchronous task without middleware, timeout and the like: the fast way."""
        token = enter_job(job)
        stage = _LOADING
        try:
            if job.before is None:
                args, kwargs = self._parameters_load(job.args, job.kwargs)
            else:
                args, kwargs = self._load(job)
            stage = _RUNNING
            result = await self._function(*args, **kwargs)
            if job.transaction_state is not None and (committed := committed_result(job)) is not None:
                result_that_stands(self, job, committed, result)
                return Succeeded(committed)
            if job.additions:
                await self._succeed(job, self._dump(result, self._limit))
            if result is None:
                return _NULL
            stage = _DUMPING
            return Succeeded(self._dump(result, self._limit))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if _is_stop(error):
                raise
            if (committed := committed_result(job)) is not None:
                note_late_error(job, error)
                return Succeeded(committed)
            return self._verdict(job, error, final=stage != _RUNNING or isinstance(error, ResultNotStorable))
        finally:
            leave_job(token)

    async def _perform_whole(self, job: Job) -> Outcome:
        token = enter_job(job)
        try:
            ended = await self.run(job)
        finally:
            leave_job(token)
        if ended.error is None:
            return Succeeded(ended.text)
        return self._verdict(job, ended.error, final=ended.final)

    async def _look_on(self, job: Job, args: Any, kwargs: Any, committed: str, returned: Any) -> Ended:
        """Show the result that the task has committed itself to those who come after it."""
        result = result_that_stands(self, job, committed, returned)
        for one in self._after:
            await _settled(one.after_task(self.task, args, kwargs, result, job))
        if self._report is not None:
            await _settled(self._report(result))
        return Ended(result, committed, None, False)

    async def _succeed(self, job: Job, result: str) -> None:
        """Let a job that has added steps end here: what it has added stands or falls with its success."""
        assert job.control is not None
        await job.control.succeed(job, result)

    def dump_result(self, value: Any) -> str:
        """Return a result as JSON text.

        Raises:
            ResultNotStorable: It cannot be JSON, or is too large.
        """
        return self._dump(value, self._limit)

    def _verdict(self, job: Job, error: BaseException, *, final: bool) -> Outcome:
        if self._limits.max_memory is not None:
            error = refused(error, self._limits, peak_memory())
        # Kept for hooks alone: the error's frames hold the job, and such a circle is left to the collector.
        if self.task.failure_hooks or self.task.retry_hooks:
            job.error = error
        return judge(error, self.options, job.failures, final=final)

    def _load(self, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
        bound = self._loader.load(job.version, job.args, job.kwargs, parse_before(job.before))
        if bound.warning is not None:
            logger.warning(bound.warning, extra={"job_id": str(job.id), "task": job.task, "attempt": job.attempt})
        return bound.args, bound.kwargs

    async def _call(self, job: Job, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._threads is not None:
            return await self._threads.run(self._function, args, kwargs, job=job, timeout=self._timeout)
        if not self.options.asynchronous:
            return self._function(*args, **kwargs)
        if self._timeout is None:
            return await self._function(*args, **kwargs)
        return await call_within(
            self._timeout, self._function, args, kwargs, job=job, grace=self.options.terminate_grace
        )

    async def _outwards(self, job: Job, args: Any, kwargs: Any, error: BaseException) -> BaseException:
        """Show an error to the middleware, from the innermost outwards, and return what it has become."""
        for one in self._on_error:
            try:
                kept = await _settled(one.on_error(self.task, args, kwargs, error, job))
                if kept is not None and not isinstance(kept, BaseException):
                    raise TypeError(f"{type(one).__name__}.on_error must return an error or None, not {kept!r}")
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as raised:
                if _is_stop(raised) and not _is_stop(error):
                    raise
                kept = raised
            error = kept or error
        return error


def perform(plan: Plan, job: Job) -> Coroutine[Any, Any, Outcome]:
    """Run a job and say how it ended.

    Everything that the task, its middleware or its arguments raise becomes an ``Outcome``. The job is
    the current one (``get_current_job``) meanwhile.

    Raises:
        asyncio.CancelledError: Whoever awaits this cancelled it, and the task went along. A task that
            succeeds or fails in spite of it is reported as such.
    """
    return plan.perform(job)


class Plans:
    """The plans of all tasks of a registry, made when first needed and again when the registry changes."""

    __slots__ = ("_made", "_options", "_registry", "_seen")

    def __init__(
        self,
        *,
        threads: Caller | None = None,
        max_result_size: int = MAX_RESULT_SIZE,
        own_timeout: bool = True,
        registry: Registry | None = None,
    ) -> None:
        self._registry = TaskRegistry.current() if registry is None else registry
        self._options: dict[str, Any] = {
            "threads": threads,
            "max_result_size": max_result_size,
            "own_timeout": own_timeout,
        }
        self._made: dict[tuple[str, str], Plan] = {}
        self._seen = -1

    def get(self, name: str, version: str) -> Plan:
        """Return the plan for jobs of this name and version.

        Raises:
            TaskNotFound: No task here runs them.
            TaskDefinitionError: An annotation of the task cannot be resolved.
        """
        if self._seen != self._registry.generation:
            self._seen = self._registry.generation
            self._made = {}
        plan = self._made.get((name, version))
        if plan is None:
            task, upgrade = self._registry.resolve(name, version)
            plan = Plan(task, upgrade=upgrade, middleware=self._registry.middleware, **self._options)
            self._made[name, version] = plan
        return plan


async def _settled(value: Any) -> Any:
    """Return what a method returned that may be sync or async."""
    return await value if inspect.isawaitable(value) else value


def _awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a coroutine function for one that may return an awaitable."""

    async def call(*args: Any, **kwargs: Any) -> Any:
        return await _settled(function(*args, **kwargs))

    return call


def _replaced(middleware: TaskMiddleware, returned: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    pair = as_call(returned)
    if pair is None:
        raise TypeError(
            f"{type(middleware).__name__}.before_task must return (args, kwargs), not {type(returned).__name__}"
        )
    return pair


def _is_stop(error: BaseException) -> bool:
    """Say whether an error is the cancellation by whoever awaits the run, not one of the task's own."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    running = asyncio.current_task()
    return running is None or running.cancelling() > 0
