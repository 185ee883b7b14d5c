"""``test_task``: one run of one task, without a database or a worker."""

# ruff: noqa: PT028 - test_task is no test, whatever its name

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from uno_jobs.context import Job, enter_job, leave_job
from uno_jobs.errors import NotSerializable, TransactionNotAvailable
from uno_jobs.outcomes import Succeeded
from uno_jobs.runners.hooks import run_hooks
from uno_jobs.runners.invocation import Plan
from uno_jobs.runners.thread import Threads
from uno_jobs.runners.verdict import judge
from uno_jobs.storable import to_json
from uno_jobs.tasks.definition import Task
from uno_jobs.tasks.registry import TaskRegistry
from uno_jobs.tasks.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import TypeVar

    from uno_jobs.transactions.source import Transactions

    R = TypeVar("R", default=Any)


class TestControl:
    """Stands in for the worker: takes note of progress."""

    __test__ = False

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.progress: list[tuple[float, str]] = []

    def report_progress(self, job: Job, fraction: float, message: str) -> None:
        """Take note of a job's progress."""
        self.progress.append((fraction, message))

    async def flush_progress(self, job: Job) -> None:
        """Do nothing: there is no database."""

    def plan(self, job: Job) -> Plan:
        """Return how the job is run."""
        return self._plan

    def transactions(self) -> Transactions:
        """Refuse: a job that is in no database cannot succeed in one."""
        raise TransactionNotAvailable(
            "test_task runs without a database, and job.transaction() commits the success of a job that is in one: "
            "enqueue the task and call run_until_idle(), with the fixtures of uno-jobs' pytest plugin "
            "(uno_jobs_queue, uno_jobs_database_url)"
        )

    async def succeed(self, job: Job, result: str) -> None:
        """Do nothing: what the job has added was checked, and is nowhere to be run."""

    def transaction_changed(self, job: Job) -> None:
        """Do nothing: there are no transactions."""


async def test_task(
    task: Task[..., R, Any] | Signature[R],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> R:
    """Run a task once, as a worker would, and return its result.

    Arguments go through JSON and validation, middleware and hooks run, ``get_current_job()`` works. There is
    no retry: the first error is raised. A synchronous task runs on a thread, without its limits.

    Args:
        task: The task, or a signature (whose arguments come first).
        args: Positional arguments.
        kwargs: Keyword arguments.
        metadata: What ``job.metadata`` is to hold.

    Returns:
        What the task returned (and middleware and ``report_result`` made of it).

    Raises:
        InvalidArguments, NotSerializable: The arguments do not fit.
        ResultNotStorable: The result cannot be JSON.
        TimeoutError: The task's ``timeout`` was up.
        BaseException: Whatever the task raised (as ``on_error`` left it).
    """
    if isinstance(task, Signature):
        task, args, kwargs = task.task, [*task.args, *args], {**task.kwargs, **(kwargs or {})}
    if not isinstance(task, Task):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        raise TypeError(f"test_task takes a task (a function with @task), not {task!r}")
    bound = task.parameters.dump(list(args), dict(kwargs or {}))
    try:
        metadata_json = to_json(dict(metadata or {}))
    except NotSerializable as error:
        raise NotSerializable(f"metadata: {error}") from error
    now = datetime.now(UTC)
    options = task.config
    job = Job(
        uuid.uuid4(),
        options.name,
        options.version,
        options.queue,
        options.priority,
        1,
        0,
        options.max_retries + 1,
        bound.args_json,
        bound.kwargs_json,
        metadata_json,
        now,
        None,
        now,
    )
    threads = None if options.asynchronous else Threads(1)
    try:
        plan = Plan(task, middleware=TaskRegistry.current().middleware, threads=threads)
        job.control = TestControl(plan)
        token = enter_job(job)
        try:
            ended = await plan.run(job)
        finally:
            leave_job(token)
    finally:
        if threads is not None:
            threads.close(wait=False)
    job.error = ended.error
    if ended.error is None:
        await run_hooks(task, job, Succeeded(ended.text))
        return cast("R", ended.result)
    await run_hooks(task, job, judge(ended.error, options, 0, final=ended.final))
    raise ended.error


test_task.__test__ = False  # pyright: ignore[reportFunctionMemberAccess] - pytest looks for it, and would collect this
