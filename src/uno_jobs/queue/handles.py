"""Handles: what an enqueue returns, to ask how the job stands and wait for its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, cast
from uuid import UUID

from typing_extensions import TypeVar

from uno_jobs.storable import from_json

if TYPE_CHECKING:
    from datetime import timedelta

    from uno_jobs.queue.moves import CancelResult
    from uno_jobs.queue.queue import Queue
    from uno_jobs.queue.status import JobStatus
    from uno_jobs.queue.sync import SyncQueue
    from uno_jobs.queue.workflow_status import WorkflowStatus

R_co = TypeVar("R_co", covariant=True, default=Any)


class LoadsResults(Protocol):
    """What reads a stored result: a task, or what is known of a workflow's last steps."""

    def load_result(self, text: str) -> Any:
        """Return it as the type that was annotated."""
        ...


class _Handle:
    """What handles of both colours know."""

    __slots__ = ("_handed_in", "_id", "_queue", "_results", "is_duplicate", "replaced", "workflow_id")

    def __init__(
        self,
        queue: Any,
        id_: str,
        results: LoadsResults | None = None,
        *,
        is_duplicate: bool = False,
        replaced: bool = False,
        handed_in: bool = False,
        workflow_id: UUID | None = None,
    ) -> None:
        self._queue = queue
        self._id = id_
        self._results = results
        self._handed_in = handed_in
        self.is_duplicate = is_duplicate
        """Nothing was added: this is the job that held the key, or had the id, already."""
        self.replaced = replaced
        """The job that held the key has been given the new arguments (``on_duplicate="replace"``)."""
        self.workflow_id = workflow_id
        """The workflow, if a chain or a group was enqueued; the job is then the one whose result is the workflow's."""

    @property
    def id(self) -> UUID:
        """The job's id."""
        return UUID(self._id)

    @property
    def _whole(self) -> tuple[str, bool]:
        """What a cancellation is of: the job, or the workflow whose last one it is."""
        return (self._id, False) if self.workflow_id is None else (str(self.workflow_id), True)

    def _load(self, text: str) -> Any:
        return from_json(text) if self._results is None else self._results.load_result(text)

    def __repr__(self) -> str:
        extra = " duplicate" if self.is_duplicate else ""
        return f"<{type(self).__name__} {self._id}{extra}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and cast("_Handle", other)._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)


class JobHandle(_Handle, Generic[R_co]):
    """A job that was enqueued through a ``Queue``; its type parameter is the task's result."""

    __slots__ = ()

    _queue: Queue

    async def status(self) -> JobStatus:
        """Return where the job stands now.

        Raises:
            NotCommitted: The transaction that enqueued it is still open, or was rolled back.
            JobNotFound: There is no such job.
            DatabaseUnavailable: The database cannot be reached.
        """
        return await self._queue.status_of(self._id, handed_in=self._handed_in)

    async def workflow(self) -> WorkflowStatus:
        """Return where the whole workflow stands that the job is of.

        Raises:
            WorkflowNotFound: The job is of none, or there is no such job.
            NotCommitted, DatabaseUnavailable: As ``status``.
        """
        return await self._queue.workflow_of(self._whole[0], handed_in=self._handed_in)

    async def result(self, timeout: float | timedelta = 60) -> R_co:
        """Wait until the job has ended and return its result, as the task's return annotation says.

        Args:
            timeout: Seconds to wait, or a timedelta.

        Raises:
            JobFailed: It failed; carries the error as it was recorded.
            JobCancelled: It was cancelled.
            ResultTimeout: It has not ended in time; it goes on.
            NotCommitted: The transaction that enqueued it is still open, or was rolled back.
            JobNotFound: There is no such job.
        """
        return self._load(await self._queue.result_of(self._id, timeout, handed_in=self._handed_in))

    async def cancel(self, reason: str | None = None, *, connection: Any = None) -> CancelResult:
        """Cancel the job, or all of its workflow; what has not started ends at once, what runs is asked to stop.

        Args:
            reason: Why, for ``job_status`` and for whoever waits for the result.
            connection: As for ``enqueue``: the cancellation stands or falls with its transaction.

        Raises:
            NotCommitted: The transaction that enqueued it is still open (and is not that of ``connection``), or
                was rolled back.
            JobNotFound: There is no such job.
            InvalidOption: ``reason`` is no text of at most 4,000 characters.
            EnqueueConflict: A race was lost under REPEATABLE READ or SERIALIZABLE: retry the transaction.
        """
        id_, workflow = self._whole
        return await self._queue.cancel_by(id_, reason, connection, handed_in=self._handed_in, workflow=workflow)

    async def retry(self, *, connection: Any = None) -> None:
        """Retry the job by hand: what failed or was cancelled begins anew, what is scheduled is due now.

        It has all its retries again; ``attempt`` goes on counting.

        Args:
            connection: As for ``enqueue``: the retry stands or falls with its transaction.

        Raises:
            RetryRefused: It is waiting, ready or running, or has succeeded.
            DuplicateJob: Another unfinished job holds its unique key.
            NotCommitted, JobNotFound, EnqueueConflict: As ``cancel``.
        """
        await self._queue.retry_by(self._id, connection, handed_in=self._handed_in)


class SyncJobHandle(_Handle, Generic[R_co]):
    """A job that was enqueued through a ``SyncQueue``; its type parameter is the task's result."""

    __slots__ = ()

    _queue: SyncQueue

    def status(self) -> JobStatus:
        """Return where the job stands now; raises as ``JobHandle.status`` does."""
        return self._queue.status_of(self._id, handed_in=self._handed_in)

    def workflow(self) -> WorkflowStatus:
        """Return where the job's workflow stands; raises as ``JobHandle.workflow`` does."""
        return self._queue.workflow_of(self._whole[0], handed_in=self._handed_in)

    def result(self, timeout: float | timedelta = 60) -> R_co:
        """Wait until the job has ended and return its result; raises as ``JobHandle.result`` does."""
        return self._load(self._queue.result_of(self._id, timeout, handed_in=self._handed_in))

    def cancel(self, reason: str | None = None, *, connection: Any = None) -> CancelResult:
        """Cancel the job; see ``JobHandle.cancel``."""
        id_, workflow = self._whole
        return self._queue.cancel_by(id_, reason, connection, handed_in=self._handed_in, workflow=workflow)

    def retry(self, *, connection: Any = None) -> None:
        """Retry the job by hand; see ``JobHandle.retry``."""
        self._queue.retry_by(self._id, connection, handed_in=self._handed_in)
