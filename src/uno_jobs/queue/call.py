"""One call of an enqueue, checked as far as that needs no database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from uno_jobs.queue import batches

if TYPE_CHECKING:
    from uno_jobs.queue.requests import ByName, EnqueueRequest
    from uno_jobs.queue.workflows import WorkflowRequest
    from uno_jobs.tasks.definition import Task

    AnyTask = Task[..., Any, Any]


class Call(NamedTuple):
    """One enqueue, all of it checked that can be without a database."""

    requests: list[EnqueueRequest | ByName]
    tasks: list[AnyTask | None]
    connection: Any
    notify: bool
    workflow: WorkflowRequest | None = None
    """The chain or group, if it is one; then there are no requests."""

    @property
    def by_name(self) -> bool:
        """Whether a task is one that this process does not know."""
        return any(task is None for task in self.tasks)

    @property
    def whole(self) -> bool:
        """Whether a connection that is in no transaction must begin one.

        One that was handed in always: behind a transaction pooler, only what is in a transaction stays together.
        """
        if self.connection is not None or self.workflow is not None or self.by_name:
            return True
        return batches.needs_transaction(cast("list[EnqueueRequest]", self.requests))
