"""``SyncQueue``: the same as ``Queue``, not awaited, for synchronous programs (Flask, Django, scripts)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Unpack, cast, overload
from uuid import UUID

from typing_extensions import TypeVar

from uno_jobs.errors import WrongColour
from uno_jobs.queue.background import close_at_exit, wait_for
from uno_jobs.queue.core import QueueCore, parse_job_id
from uno_jobs.queue.handles import SyncJobHandle
from uno_jobs.queue.moves import parse_reason
from uno_jobs.queue.queue import Queue
from uno_jobs.queue.steering import parse_weight
from uno_jobs.storage.connections.adapt import adapt_sync
from uno_jobs.storage.connections.running import run_sync
from uno_jobs.tasks.checks import flag, parse_queue

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


class SyncQueue(QueueCore):
    """Enqueues jobs, and looks at them, blocking. Usable from any thread, and after a fork.

    Without ``connection=``, the work is done by a ``Queue`` on an event loop of its own, on a thread that all
    of them share; so nothing but asyncpg is needed.
    """

    _inner: Queue

    def _set_up(self) -> None:
        self._inner = Queue(
            _apart(self.database),
            schema=self.schema,
            notify=self.notify,
            max_payload_size=self.max_payload_size,
            pooled=self.pooled,
        )
        close_at_exit(self._inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what this queue opened; an engine that was handed in stays open."""
        _refuse_loop()
        wait_for(self._inner.close())
        if self._inner.database is not self.database:
            wait_for(cast("Any", self._inner.database).dispose())

    @overload
    def enqueue(
        self,
        task: Step[R],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[EnqueueKeywords],
    ) -> SyncJobHandle[R]: ...

    @overload
    def enqueue(
        self,
        task: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[EnqueueKeywords],
    ) -> SyncJobHandle[Any]: ...

    def enqueue(
        self,
        task: Step[Any] | str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[EnqueueKeywords],
    ) -> SyncJobHandle[Any]:
        """Enqueue one job; options and errors are those of ``Queue.enqueue``.

        ``connection`` is a Session or Connection of SQLAlchemy or a psycopg Connection.

        Raises:
            WrongColour: Called inside a running event loop, which it would stop; or an asynchronous connection.
        """
        _refuse_loop()
        return self._store(self.prepare(task, args, kwargs, cast("dict[str, Any]", options)))[0]

    @overload
    def enqueue_many(
        self, jobs: Iterable[Signature[R]], *, connection: Any = None, notify: bool | None = None
    ) -> list[SyncJobHandle[R]]: ...

    @overload
    def enqueue_many(
        self, jobs: Iterable[Any], *, connection: Any = None, notify: bool | None = None
    ) -> list[SyncJobHandle[Any]]: ...

    def enqueue_many(
        self, jobs: Iterable[Any], *, connection: Any = None, notify: bool | None = None
    ) -> list[SyncJobHandle[Any]]:
        """Enqueue any number of jobs in one transaction; see ``Queue.enqueue_many``."""
        _refuse_loop()
        return self._store(self.prepare_many(jobs, connection, notify))

    def get(self, job_id: UUID | str) -> SyncJobHandle[Any]:
        """Return a handle to a job by its id; whether there is one is not looked up.

        Raises:
            InvalidOption: It is not a UUID.
        """
        return SyncJobHandle(self, parse_job_id(job_id))

    def job(self, job_id: UUID | str) -> JobStatus:
        """Return where a job stands.

        Raises:
            JobNotFound: There is none of this id.
            InvalidOption: It is not a UUID.
        """
        return self.status_of(parse_job_id(job_id), handed_in=False)

    def workflow(self, id_: UUID | str) -> WorkflowStatus:
        """Return where a workflow stands; see ``Queue.workflow``."""
        return self.workflow_of(parse_job_id(id_), handed_in=False)

    def workflow_graph(self, id_: UUID | str) -> WorkflowGraph:
        """Return a workflow with all its steps; see ``Queue.workflow_graph``."""
        _refuse_loop()
        return wait_for(self._inner.workflow_graph(id_))

    def workflows(self, *, limit: int = 50, state: WorkflowState | None = None) -> list[WorkflowStatus]:
        """Return the newest workflows; see ``Queue.workflows``."""
        _refuse_loop()
        return wait_for(self._inner.workflows(limit=limit, state=state))

    def cancel(self, job_id: UUID | str, reason: str | None = None, *, connection: Any = None) -> CancelResult:
        """Cancel a job; see ``Queue.cancel``."""
        return self.cancel_by(parse_job_id(job_id), reason, connection, handed_in=False)

    def retry(self, job_id: UUID | str, *, connection: Any = None) -> None:
        """Retry a job by hand; see ``Queue.retry``."""
        self.retry_by(parse_job_id(job_id), connection, handed_in=False)

    def pause_queue(
        self, queue: str, reason: str | None = None, *, create: bool = False, connection: Any = None
    ) -> bool:
        """Pause a queue; see ``Queue.pause_queue``."""
        _refuse_loop()
        if connection is None:
            return wait_for(self._inner.pause_queue(queue, reason, create=create))
        name, why, force = parse_queue(queue), parse_reason(reason), flag(create, "create")
        return self._by(connection, lambda _: self.pause_steps(name, why, create=force), whole=True)

    def resume_queue(self, queue: str, *, connection: Any = None) -> bool:
        """Let workers take from a paused queue again; see ``Queue.resume_queue``."""
        _refuse_loop()
        if connection is None:
            return wait_for(self._inner.resume_queue(queue))
        name = parse_queue(queue)
        return self._by(connection, lambda two_phase: self.resume_steps(name, two_phase=two_phase), whole=True)

    def set_queue_weight(self, queue: str, weight: int, *, create: bool = False, connection: Any = None) -> None:
        """Give a queue its share of workers' slots; see ``Queue.set_queue_weight``."""
        _refuse_loop()
        if connection is None:
            return wait_for(self._inner.set_queue_weight(queue, weight, create=create))
        name, share, force = parse_queue(queue), parse_weight(weight), flag(create, "create")
        return self._by(connection, lambda _: self.weigh_steps(name, share, create=force), whole=True)

    def count_purgeable(self, queue: str) -> int:
        """Return how many jobs ``purge_queue`` would cancel now; see ``Queue.count_purgeable``."""
        _refuse_loop()
        return wait_for(self._inner.count_purgeable(queue))

    def purge_queue(self, queue: str, reason: str | None = None, *, connection: Any = None) -> int:
        """Cancel all jobs of a queue that do not run; see ``Queue.purge_queue``."""
        _refuse_loop()
        if connection is None:
            return wait_for(self._inner.purge_queue(queue, reason))
        name, why = parse_queue(queue), parse_reason(reason)
        done = self._by(connection, lambda two_phase: self.purge_steps(name, why, two_phase=two_phase), whole=True)
        return done[0]

    # --- for handles ---

    def status_of(self, id_: str, *, handed_in: bool) -> JobStatus:
        """Return where a job stands; see ``JobHandle.status``."""
        _refuse_loop()
        return wait_for(self._inner.status_of(id_, handed_in=handed_in))

    def workflow_of(self, id_: str, *, handed_in: bool) -> WorkflowStatus:
        """Return where a workflow stands; see ``JobHandle.workflow``."""
        _refuse_loop()
        return wait_for(self._inner.workflow_of(id_, handed_in=handed_in))

    def result_of(self, id_: str, timeout: float | timedelta, *, handed_in: bool) -> str:
        """Wait for a job's result and return it as JSON; see ``JobHandle.result``."""
        _refuse_loop()
        return wait_for(self._inner.result_of(id_, timeout, handed_in=handed_in))

    def cancel_by(
        self, id_: str, reason: str | None, connection: Any, *, handed_in: bool, workflow: bool = False
    ) -> CancelResult:
        """Cancel a job; see ``JobHandle.cancel``."""
        _refuse_loop()
        if connection is None:
            return wait_for(self._inner.cancel_by(id_, reason, None, handed_in=handed_in, workflow=workflow))
        why = parse_reason(reason)
        return self._by(
            connection,
            lambda two_phase: self.cancel_steps(id_, why, two_phase=two_phase, handed_in=handed_in, workflow=workflow),
            whole=True,
        )

    def retry_by(self, id_: str, connection: Any, *, handed_in: bool) -> None:
        """Retry a job; see ``JobHandle.retry``."""
        _refuse_loop()
        if connection is None:
            return wait_for(self._inner.retry_by(id_, None, handed_in=handed_in))
        return self._by(
            connection,
            lambda two_phase: self.retry_steps(id_, two_phase=two_phase, handed_in=handed_in),
            whole=True,
        )

    def _store(self, call: Call) -> list[SyncJobHandle[Any]]:
        handed_in = call.connection is not None
        placed = self._place(call) if call.requests or call.workflow else None
        if call.workflow is not None:
            made = call.workflow
            return [
                SyncJobHandle(self, made.last, made.results, handed_in=handed_in, workflow_id=UUID(made.id)),
            ]
        if placed is None:
            return [
                SyncJobHandle(self, cast("str", request.id), task, handed_in=handed_in)  # pyright: ignore[reportAttributeAccessIssue] - by names have been resolved
                for request, task in zip(call.requests, call.tasks, strict=True)
            ]
        return [
            SyncJobHandle(self, one.id, task, is_duplicate=one.is_duplicate, replaced=one.replaced, handed_in=handed_in)
            for one, task in zip(placed, call.tasks, strict=True)
        ]

    def _place(self, call: Call) -> list[Placed] | None:
        if call.connection is None:
            return wait_for(self._inner.store(call))
        return self._by(
            call.connection, lambda two_phase: self.enqueue_steps(call, two_phase=two_phase), whole=call.whole
        )

    def _by(self, connection: Any, steps: Callable[[bool], Steps[T]], *, whole: bool) -> T:
        """Run steps on the connection handed in; they are told of two-phase commit."""
        link = adapt_sync(connection)
        with self._translating:
            link.open()
            return run_sync(link, steps(link.two_phase), whole=whole)


def _apart(database: Any) -> Any:
    """Return the database for use on the background loop: an async engine's connections belong to their own."""
    if isinstance(database, str):
        return database
    from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

    if not isinstance(database, AsyncEngine):
        return database
    # A pool that connects as the engine's does, with all that its makers set.
    return create_async_engine(database.url, pool=database.sync_engine.pool.recreate())


def _refuse_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WrongColour(
        "SyncQueue was called inside a running event loop, which it would stop: use Queue, and await it "
        "(await task.enqueue(...) instead of task.enqueue_sync(...))"
    )
