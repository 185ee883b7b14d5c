"""What was enqueued, as a transaction sees it: jobs of a task, and which of them a description fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import UUID

from uno_jobs.errors import InvalidArguments, NotSerializable
from uno_jobs.storable import from_json, to_json
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema
from uno_jobs.tasks.definition import Task
from uno_jobs.tasks.registry import TaskRegistry
from uno_jobs.tasks.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from uno_jobs.storage.connections.link import Rows, Steps

SHOWN = 10
"""Jobs in a message, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueuedJob:
    """A job that was found, with its arguments as stored: plain JSON values."""

    id: UUID
    task: str
    version: str
    queue: str
    priority: int
    state: str
    args: list[Any]
    kwargs: dict[str, Any]
    metadata: dict[str, Any]

    def __str__(self) -> str:
        call = ", ".join([*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())])
        return f"{self.task}({call}), version {self.version}, queue {self.queue}, {self.state}"


class Found(NamedTuple):
    """The jobs of a task, and how many there are of others."""

    jobs: list[EnqueuedJob]
    others: dict[str, int]


class Description:
    """What a job should look like.

    Args:
        task: A task, a signature (whose arguments come first) or a task's name.
        args: Positional arguments; with neither these nor ``kwargs``, any arguments do.
        kwargs: Keyword arguments.
        exact: Other columns of the job by name, with the value each must have; None: any.

    Raises:
        TypeError: ``task`` is none of these.
        InvalidArguments, NotSerializable: The arguments do not fit the task, so no job can have them.
    """

    def __init__(
        self,
        task: object,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        exact: Mapping[str, str | None],
    ) -> None:
        if isinstance(task, Signature):
            signature = cast("Signature[Any]", task)
            if signature.args or signature.kwargs:
                args, kwargs = [*signature.args, *(args or ())], {**signature.kwargs, **(kwargs or {})}
            task = signature.task
        self._task: Task[..., Any, Any] | None
        if isinstance(task, Task):
            self._task = cast("Task[..., Any, Any]", task)
            self.name = self._task.config.name
        elif isinstance(task, str):
            self._task = TaskRegistry.current().find(task, exact.get("version"))
            self.name = task
        else:
            raise TypeError(f"assert_enqueued takes a task, a signature or a task's name, not {task!r}")
        self._exact = {name: value for name, value in exact.items() if value is not None}
        self._any = args is None and kwargs is None
        self._args, self._kwargs = list(args or ()), dict(kwargs or {})
        self._call = None if self._any else self._normal(self._args, self._kwargs)

    def fits(self, job: EnqueuedJob) -> bool:
        """Say whether a job looks so. A call is the same however it is written: by position or by name."""
        if any(getattr(job, name) != value for name, value in self._exact.items()):
            return False
        if self._any:
            return True
        try:
            return self._normal(job.args, job.kwargs) == self._call
        except (InvalidArguments, NotSerializable):
            return False  # of a version with other parameters

    def _normal(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self._task is None:
            return from_json(to_json([list(args), dict(kwargs)]))
        return from_json(self._task.parameters.dump(args, kwargs).named_json)

    def __str__(self) -> str:
        parts = [f"{name} {value!r}" for name, value in self._exact.items()]
        if not self._any:
            parts = [f"args={self._args!r}", f"kwargs={self._kwargs!r}", *parts]
        return f"task {self.name!r}" + (f" with {', '.join(parts)}" if parts else "")


def find_jobs(schema: str, task: str) -> Steps[Found]:
    """Read the jobs of a task in the order of their enqueueing; where there are none, count those of others."""
    sql = quote_schema(schema)
    rows: Rows = yield Statement(
        "SELECT to_json(r)::text FROM (SELECT id, task, version, queue, priority, state::text, args, kwargs, metadata "
        f"FROM {sql}.job_status WHERE task = $1::text ORDER BY created_at, id) r",
        (task,),
    )
    jobs = [_read(from_json(row[0])) for row in rows]
    others: dict[str, int] = {}
    if not jobs:
        rows = yield Statement(f"SELECT task, count(*)::text FROM {sql}.jobs GROUP BY task ORDER BY task")
        others = {name: int(count) for name, count in rows}
    return Found(jobs, others)


def _read(values: dict[str, Any]) -> EnqueuedJob:
    values["id"] = UUID(values["id"])
    return EnqueuedJob(**values)


def judge(description: Description, found: Found, count: int | None) -> list[EnqueuedJob]:
    """Return the jobs that fit.

    Raises:
        AssertionError: There are none, or not as many as ``count`` says; the message shows what there is.
    """
    __tracebackhide__ = True
    fitting = [job for job in found.jobs if description.fits(job)]
    if len(fitting) == count or (count is None and fitting):
        return fitting
    wanted = "a job" if count is None else f"{count} job{'' if count == 1 else 's'}"
    lines = [f"{wanted} of {description} should have been enqueued; {len(fitting) or 'none'} was found"]
    if found.jobs:
        lines.append(f"jobs of {description.name!r} in sight of this connection:")
        lines += [f"  {job}" for job in found.jobs[:SHOWN]]
        if len(found.jobs) > SHOWN:
            lines.append(f"  and {len(found.jobs) - SHOWN} more")
    elif found.others:
        lines.append("in sight are jobs of " + ", ".join(f"{name!r} ({many})" for name, many in found.others.items()))
    else:
        lines.append("no job at all is in sight of this connection (another open transaction's are not)")
    raise AssertionError("\n".join(lines))
