"""Middleware: what a user wraps around the runs of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from uno_jobs.context import Job
    from uno_jobs.tasks.definition import Task


class TaskMiddleware:
    """The base of middleware: override what you need, each method sync or async.

    Global middleware (``register_middleware``) stands outside a task's own (``@task(middleware=[…])``), each
    in order of registration: ``before_task`` goes inwards, ``after_task`` and ``on_error`` outwards. One
    instance serves all runs, many at a time: keep what belongs to one run in a ``ContextVar``, which the task
    sees too.

    What any of the methods raises counts as the task's error.
    """

    def before_task(
        self, task_func: Task[..., Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], job: Job
    ) -> Any:
        """Called before the function, with validated arguments; returns ``(args, kwargs)`` for the next.

        Args:
            task_func: The task; it has the function's ``__name__`` and can be called like it.
            args: Positional arguments, as the function would get them.
            kwargs: Keyword arguments, as the function would get them.
            job: The job that runs.
        """
        return args, kwargs

    def after_task(
        self,
        task_func: Task[..., Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        job: Job,
    ) -> Any:
        """Called when the function has returned; returns the result, or another."""
        return result

    def on_error(
        self,
        task_func: Task[..., Any, Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        error: BaseException,
        job: Job,
    ) -> Any:
        """Called for any error of the attempt; returns the error, or another in its place.

        It sees what went wrong anywhere in the run: in the arguments (then ``args`` and ``kwargs`` are as
        they were stored, and no ``before_task`` has run), in the function, in other middleware. Also
        ``Retry``, ``Snooze``, ``Cancel`` and ``Fail``, and ``asyncio.CancelledError`` when the worker stops
        the run, which cannot be replaced. Returning None keeps the error.
        """
        return error
