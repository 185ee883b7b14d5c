"""``Queue``: enqueueing from asynchronous programs, in the caller's transaction or in one of its own."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Unpack, cast, overload
from uuid import UUID

from typing_extensions import TypeVar

from uno_jobs.queue.core import parse_job_id, parse_timeout
from uno_jobs.queue.handles import JobHandle
from uno_jobs.queue.moves import parse_reason
from uno_jobs.queue.steered import SteeredQueue
from uno_jobs.queue.waiting import Waiter
from uno_jobs.queue.workflow_status import parse_limit, parse_state
from uno_jobs.storage.connections.adapt import adapt
from uno_jobs.storage.connections.foreign import keep_foreign
from uno_jobs.storage.connections.running import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta
    from types import TracebackType
    from typing import Self

    from uno_jobs.queue.batches import Placed
    from uno_jobs.queue.call import Call
    from uno_jobs.queue.moves import CancelResult
    from uno_jobs.queue.options import EnqueueKeywords
    from uno_jobs.queue.status import JobStatus
    from uno_jobs.queue.workflow_status import WorkflowGraph, WorkflowState, WorkflowStatus
    from uno_jobs.storage.connections.link import Steps, T
    from uno_jobs.tasks.signature import Signature
    from uno_jobs.tasks.step import Step

R = TypeVar("R", default=Any)


class Queue(SteeredQueue):
    """Enqueues jobs, and looks at them. Usable from any event loop, and after a fork."""

    _pid: int
    _by_loop: dict[asyncio.AbstractEventLoop, Waiter]

    def _set_up(self) -> None:
        self._pid, self._by_loop = os.getpid(), {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what this queue opened in this event loop; an engine that was handed in stays open."""
        waiter = self._waiters().pop(asyncio.get_running_loop(), None)
        if waiter is not None:
            await waiter.close()
        await self._own.close()

    @overload
    async def enqueue(
        self,
        task: Step[R],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[EnqueueKeywords],
    ) -> JobHandle[R]: ...

    @overload
    async def enqueue(
        self,
        task: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[EnqueueKeywords],
    ) -> JobHandle[Any]: ...

    async def enqueue(
        self,
        task: Step[Any] | str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[EnqueueKeywords],
    ) -> JobHandle[Any]:
        """Enqueue one job, or a whole workflow.

        Args:
            task: A task, a signature, a chain, a group, or a name of a task that this process or a living worker knows.
            args: Positional arguments; after those of a signature. A workflow's go to its first step, or to each member
                of a group that it begins with.
            kwargs: Keyword arguments; over those of a signature.
            **options: ``version`` (by name; else the highest known); ``queue``, ``priority`` ("critical",
                "high", "normal", "low" or 0 to 9); ``delay`` (seconds or timedelta, from now) or ``run_at``
                (aware datetime); ``expires`` (seconds or timedelta: cancelled if not started by then);
                ``unique_key``, ``on_duplicate`` ("return", "raise", "replace"); ``metadata`` (a dict);
                ``id`` (a UUID: enqueued once, however often it is asked for); ``notify`` (wake workers);
                ``connection``: the AsyncSession, AsyncConnection, asyncpg connection or psycopg
                AsyncConnection in whose transaction the job is to stand or fall.

        Raises:
            InvalidArguments, NotSerializable, InvalidOption, PayloadTooLarge: The call is wrong; nothing was
                sent.
            TaskNotFound: Neither this process nor a living worker knows the task.
            DuplicateJob: ``on_duplicate="raise"``, and there is such a job.
            EnqueueConflict: A race was lost under REPEATABLE READ or SERIALIZABLE, or a deadlock: retry it.
            UnsupportedConnection, WrongColour, ConnectionClosed, ConnectionBusy, TransactionFailed,
                TransactionNotBegun: ``connection`` will not do.
            DatabaseUnavailable, DatabaseReadOnly, DatabaseFull, StatementTimedOut: Not now; try again later.
            PermissionDenied, SchemaNotInstalled, SchemaTooOld, CodeTooOld, UnsupportedServer: The database
                cannot be used.
        """
        return (await self._store(self.prepare(task, args, kwargs, cast("dict[str, Any]", options))))[0]

    @overload
    async def enqueue_many(
        self, jobs: Iterable[Signature[R]], *, connection: Any = None, notify: bool | None = None
    ) -> list[JobHandle[R]]: ...

    @overload
    async def enqueue_many(
        self, jobs: Iterable[Any], *, connection: Any = None, notify: bool | None = None
    ) -> list[JobHandle[Any]]: ...

    async def enqueue_many(
        self, jobs: Iterable[Any], *, connection: Any = None, notify: bool | None = None
    ) -> list[JobHandle[Any]]:
        """Enqueue any number of jobs in one transaction; two round trips at most per thousand.

        Args:
            jobs: Signatures (``task.s(...)``, ``task.options(...).s(...)``), or tuples (task, args, kwargs)
                whose task may be a name; kwargs, and args, may be left out.
            connection: As for ``enqueue``.
            notify: As for ``enqueue``.

        Returns:
            The handles, in order. A unique key given twice counts once: the later handles are duplicates.

        Raises:
            EnqueueError, DatabaseError: As ``enqueue``; an error about one item says which in its notes.
        """
        return await self._store(self.prepare_many(jobs, connection, notify))

    def get(self, job_id: UUID | str) -> JobHandle[Any]:
        """Return a handle to a job by its id; whether there is one is not looked up.

        Raises:
            InvalidOption: It is not a UUID.
        """
        return JobHandle(self, parse_job_id(job_id))

    async def job(self, job_id: UUID | str) -> JobStatus:
        """Return where a job stands.

        Raises:
            JobNotFound: There is none of this id.
            InvalidOption: It is not a UUID.
        """
        return await self.status_of(parse_job_id(job_id), handed_in=False)

    async def workflow(self, id_: UUID | str) -> WorkflowStatus:
        """Return where a workflow stands: how many of its steps are in which state, and which one failed first.

        Args:
            id_: The workflow's id, or that of any job in it.

        Raises:
            WorkflowNotFound: It is neither.
            InvalidOption: It is not a UUID.
        """
        return await self.workflow_of(parse_job_id(id_), handed_in=False)

    async def workflow_graph(self, id_: UUID | str) -> WorkflowGraph:
        """Return a workflow with all its steps, and who of them waits for whom; see ``workflow``."""
        steps = self.graph_steps(parse_job_id(id_), handed_in=False)
        return await self._by_own(steps, whole=False)

    async def workflows(self, *, limit: int = 50, state: WorkflowState | None = None) -> list[WorkflowStatus]:
        """Return the newest workflows, the newest first.

        Args:
            limit: At most so many.
            state: Only those in this state, among the newest 10,000.

        Raises:
            InvalidOption: ``limit`` is less than 1, or there is no such state.
        """
        steps = self.newest_steps(parse_limit(limit), parse_state(state))
        return await self._by_own(steps, whole=False)

    async def cancel(self, job_id: UUID | str, reason: str | None = None, *, connection: Any = None) -> CancelResult:
        """Cancel a job; what has not started ends at once, what runs is asked to stop.

        Args:
            job_id: The job.
            reason: Why, for ``job_status`` and for whoever waits for the result.
            connection: As for ``enqueue``: the cancellation stands or falls with its transaction.

        Returns:
            ``CANCELLED``, ``REQUESTED`` (it runs) or ``FINISHED`` (it had ended; nothing was changed).

        Raises:
            JobNotFound: There is none of this id.
            InvalidOption: It is not a UUID, or ``reason`` is no text of at most 4,000 characters.
            EnqueueConflict: A race was lost under REPEATABLE READ or SERIALIZABLE: retry the transaction.
        """
        return await self.cancel_by(parse_job_id(job_id), reason, connection, handed_in=False)

    async def retry(self, job_id: UUID | str, *, connection: Any = None) -> None:
        """Retry a job by hand: what failed or was cancelled begins anew, what is scheduled is due now.

        It has all its retries again; ``attempt`` goes on counting.

        Args:
            job_id: The job.
            connection: As for ``enqueue``: the retry stands or falls with its transaction.

        Raises:
            RetryRefused: It is waiting, ready or running, or has succeeded.
            DuplicateJob: Another unfinished job holds its unique key.
            JobNotFound: There is none of this id.
            InvalidOption: It is not a UUID.
            EnqueueConflict: A race was lost under REPEATABLE READ or SERIALIZABLE: retry the transaction.
        """
        await self.retry_by(parse_job_id(job_id), connection, handed_in=False)

    # --- for handles ---

    async def status_of(self, id_: str, *, handed_in: bool) -> JobStatus:
        """Return where a job stands; see ``JobHandle.status``."""
        return await self._by_own(self.status_steps(id_, handed_in=handed_in), whole=False)

    async def workflow_of(self, id_: str, *, handed_in: bool) -> WorkflowStatus:
        """Return where a workflow stands; see ``JobHandle.workflow``."""
        return await self._by_own(self.workflow_steps(id_, handed_in=handed_in), whole=False)

    async def result_of(self, id_: str, timeout: float | timedelta, *, handed_in: bool) -> str:
        """Wait for a job's result and return it as JSON; see ``JobHandle.result``."""
        seconds = parse_timeout(timeout)
        await self._by_own(self.check_steps(), whole=False)
        waiters, loop = self._waiters(), asyncio.get_running_loop()
        waiter = waiters.get(loop)
        if waiter is None:
            waiter = waiters[loop] = Waiter(self._own, self.schema, listens=not self.pooled)
        return await waiter.result(id_, seconds, handed_in=handed_in)

    async def store(self, call: Call) -> list[Placed] | None:
        """Store the jobs of a checked call on the queue's own connection, or on that handed in."""
        statement = self.at_once(call)
        if statement is not None:
            with self._translating:
                await self._own.fetch(statement)
            return None
        if call.connection is None:
            return await self._by_own(self.enqueue_steps(call, two_phase=False), whole=call.whole)
        return await self._by(
            call.connection, lambda two_phase: self.enqueue_steps(call, two_phase=two_phase), whole=True
        )

    async def cancel_by(
        self, id_: str, reason: str | None, connection: Any, *, handed_in: bool, workflow: bool = False
    ) -> CancelResult:
        """Cancel a job; see ``JobHandle.cancel``."""
        why = parse_reason(reason)
        return await self._by(
            connection,
            lambda two_phase: self.cancel_steps(id_, why, two_phase=two_phase, handed_in=handed_in, workflow=workflow),
            whole=connection is not None,
        )

    async def retry_by(self, id_: str, connection: Any, *, handed_in: bool) -> None:
        """Retry a job; see ``JobHandle.retry``."""
        await self._by(
            connection,
            lambda two_phase: self.retry_steps(id_, two_phase=two_phase, handed_in=handed_in),
            whole=connection is not None,
        )

    async def _store(self, call: Call) -> list[JobHandle[Any]]:
        handed_in = call.connection is not None
        placed = await self.store(call) if call.requests or call.workflow else None
        if call.workflow is not None:
            made = call.workflow
            return [
                JobHandle(self, made.last, made.results, handed_in=handed_in, workflow_id=UUID(made.id)),
            ]
        if placed is None:
            return [
                JobHandle(self, cast("str", request.id), task, handed_in=handed_in)  # pyright: ignore[reportAttributeAccessIssue] - by names have been resolved
                for request, task in zip(call.requests, call.tasks, strict=True)
            ]
        return [
            JobHandle(self, one.id, task, is_duplicate=one.is_duplicate, replaced=one.replaced, handed_in=handed_in)
            for one, task in zip(placed, call.tasks, strict=True)
        ]

    async def _by(self, connection: Any, steps: Callable[[bool], Steps[T]], *, whole: bool) -> T:
        """Run steps on the connection handed in, or on one of the queue's own; they are told of two-phase commit."""
        if connection is None:
            return await self._by_own(steps(False), whole=whole)
        link = adapt(connection)
        with self._translating:
            await link.open()
            return await run(link, steps(link.two_phase), whole=whole)

    async def _by_own(self, steps: Steps[T], *, whole: bool) -> T:
        with self._translating:
            async with self._own.link() as link:
                return await run(link, steps, whole=whole)

    def _waiters(self) -> dict[asyncio.AbstractEventLoop, Waiter]:
        """The waiters of this process by event loop; those of a parent process, and of closed loops, are dropped."""
        if self._pid != os.getpid():
            keep_foreign(self._by_loop)
            self._pid, self._by_loop = os.getpid(), {}
        for loop in list(self._by_loop):
            if loop.is_closed():
                self._by_loop.pop(loop, None)
        return self._by_loop
