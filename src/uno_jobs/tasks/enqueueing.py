"""Enqueueing from the task's side: the typed twins of ``queue.enqueue``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypedDict, cast

from typing_extensions import ParamSpec, TypeVar

from uno_jobs.errors import InvalidOption, WrongColour
from uno_jobs.tasks import checks
from uno_jobs.tasks.options import OnDuplicate, PriorityName, suggest
from uno_jobs.tasks.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta
    from uuid import UUID

    from uno_jobs.queue.handles import JobHandle, SyncJobHandle
    from uno_jobs.tasks.definition import Task

P = ParamSpec("P")
R = TypeVar("R")


OnParentFailure = Literal["cancel", "run"]


class EnqueueOptions(TypedDict, total=False):
    """The keyword arguments of ``task.options(...)``; durations are seconds or a ``timedelta``."""

    queue: str
    priority: PriorityName | int
    delay: float | timedelta
    run_at: datetime
    expires: float | timedelta
    unique_key: str
    on_duplicate: OnDuplicate
    metadata: Mapping[str, Any]
    id: UUID | str
    connection: Any
    notify: bool
    via: Any
    on_parent_failure: OnParentFailure


NAMES: Final = frozenset(EnqueueOptions.__annotations__)


class BoundOptions(Generic[P, R]):
    """A task together with options of the enqueue, so that arguments and options cannot be confused."""

    __slots__ = ("_options", "_task")

    def __init__(self, task: Task[P, R, Any], options: Mapping[str, Any]) -> None:
        for name in options:
            if name not in NAMES:
                raise InvalidOption(f"there is no option {name!r} of an enqueue{suggest(name, NAMES)}")
        checks.one_of(options.get("on_parent_failure", "cancel"), "on_parent_failure", "cancel", "run")
        self._task = task
        self._options = dict(options)

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Enqueue the task with these arguments; see ``Task.enqueue``."""
        return await enqueue(self._task, args, kwargs, self._options)

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> SyncJobHandle[R]:
        """Enqueue the task with these arguments; see ``Task.enqueue_sync``."""
        return enqueue_sync(self._task, args, kwargs, self._options)

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Bind arguments, not necessarily all."""
        return Signature(self._task, args, kwargs, immutable=False, options=self._options)

    def si(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Bind arguments; as a step of a workflow it takes nothing from the steps before."""
        return Signature(self._task, args, kwargs, immutable=True, options=self._options)


async def enqueue(
    task: Task[..., R, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> JobHandle[R]:
    """Enqueue through ``via``, else through the process's default queue."""
    rest = _of_one_job(options)
    queue: Any = rest.pop("via", None)
    if queue is None:
        from uno_jobs.queue.default import get_default_queue

        queue = get_default_queue()
    if not inspect.iscoroutinefunction(queue.enqueue):
        raise WrongColour(f"{type(queue).__name__} is synchronous: use task.enqueue_sync(...), or a Queue as via=")
    handle = await queue.enqueue(task=task, args=list(args), kwargs=dict(kwargs), **rest)
    return cast("JobHandle[R]", handle)


def enqueue_sync(
    task: Task[..., R, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> SyncJobHandle[R]:
    """Enqueue, blocking, through ``via``, else through the process's default synchronous queue."""
    rest = _of_one_job(options)
    queue: Any = rest.pop("via", None)
    if queue is None:
        from uno_jobs.queue.default import get_default_sync_queue

        queue = get_default_sync_queue()
    if inspect.iscoroutinefunction(queue.enqueue):
        raise WrongColour(f"{type(queue).__name__} is asynchronous: await task.enqueue(...), or a SyncQueue as via=")
    return cast("SyncJobHandle[R]", queue.enqueue(task=task, args=list(args), kwargs=dict(kwargs), **rest))


def _of_one_job(options: Mapping[str, Any]) -> dict[str, Any]:
    if "on_parent_failure" in options:
        raise InvalidOption("on_parent_failure= is for a step of a workflow: task.options(...).s(...)")
    return dict(options)
