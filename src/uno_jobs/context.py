"""The job that runs here: what a task, its middleware and its hooks can know and say about it."""

from __future__ import annotations

import json
import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from uno_jobs.answers import Added, Answer, Reported
from uno_jobs.errors import InvalidOption, JobAlreadyFinished, NoCurrentJob, TransactionNotAvailable
from uno_jobs.moments import moment
from uno_jobs.storable import check_text, from_json

if TYPE_CHECKING:
    from contextvars import Token
    from datetime import datetime

    from uno_jobs.parents import Parent
    from uno_jobs.queue.additions import Additions
    from uno_jobs.runners.invocation import Plan
    from uno_jobs.tasks.step import Step
    from uno_jobs.transactions.block import JobTransaction, Kind
    from uno_jobs.transactions.source import Transactions
    from uno_jobs.transactions.state import TransactionState

MAX_PROGRESS_MESSAGE = 1000
"""Longest message of ``set_progress``, in characters; what is over is cut off."""


class JobControl(Protocol):
    """What a job can ask of whoever runs it: the worker, a child process or a test."""

    def report_progress(self, job: Job, fraction: float, message: str) -> None:
        """Take note of a job's progress and return at once; the last one wins. Called from any thread."""
        ...

    async def flush_progress(self, job: Job) -> None:
        """Return when what was reported of this job is in the database. Called on the event loop."""
        ...

    def plan(self, job: Job) -> Plan:
        """Return how the job is run."""
        ...

    def transactions(self) -> Transactions:
        """Return where the job's own transaction comes from.

        Raises:
            TransactionNotAvailable: There is none to be had.
        """
        ...

    async def succeed(self, job: Job, result: str) -> None:
        """Record the success of a job that has added steps, and them, in one transaction.

        Raises:
            LeaseLost: The attempt is over.
        """
        ...

    def transaction_changed(self, job: Job) -> None:
        """Hear that ``job.transaction_state`` has changed: its commit is under way, or over. Called from any thread."""
        ...


class Job:
    """One job during one attempt.

    Arguments and metadata may be handed in as JSON text; they are parsed when first looked at.
    """

    __slots__ = (
        "_args",
        "_created_at",
        "_kwargs",
        "_metadata",
        "_scheduled_at",
        "_started_at",
        "additions",
        "attempt",
        "before",
        "cancel_requested",
        "control",
        "error",
        "failures",
        "id",
        "lease",
        "max_attempts",
        "over",
        "priority",
        "queue",
        "task",
        "transaction_state",
        "version",
        "workflow_id",
    )

    def __init__(
        self,
        id: UUID,  # noqa: A002 - the attribute's name, and what users read
        task: str,
        version: str,
        queue: str,
        priority: int,
        attempt: int,
        failures: int,
        max_attempts: int,
        args: str | list[Any],
        kwargs: str | dict[str, Any],
        metadata: str | dict[str, Any],
        created_at: datetime | bytes,
        scheduled_at: datetime | bytes | None,
        started_at: datetime | bytes,
        workflow_id: UUID | None = None,
        lease: int = 0,
        control: JobControl | None = None,
        before: str | None = None,
    ) -> None:
        self.id = id
        self.task = task
        """The task's name."""
        self.version = version
        """The version it was enqueued for (``upgrade_from`` may run it in another)."""
        self.queue = queue
        self.priority = priority
        """0 to 9; lower runs first."""
        self.attempt = attempt
        """How often the job has been started, this time included."""
        self.failures = failures
        """How many attempts have failed before: what ``max_retries`` is compared with."""
        self.max_attempts = max_attempts
        self._args = args
        self._kwargs = kwargs
        self._metadata = metadata
        self._created_at = created_at
        self._scheduled_at = scheduled_at
        self._started_at = started_at
        self.workflow_id = workflow_id
        self.lease = lease
        """The attempt's identity; internal to the worker."""
        self.control = control
        """Who runs it; internal to the worker."""
        self.before = before
        """What a step of a workflow finds before it, as JSON; None: nothing. Internal to the runner."""
        self.cancel_requested = False
        """Set by the worker when somebody wants the job to stop; tasks ask ``is_cancelled()``."""
        self.error: BaseException | None = None
        """What this attempt failed with, if the task has hooks that want to know; internal to the runner."""
        self.transaction_state: TransactionState | None = None
        """How far its own transaction is, if it has had one; internal."""
        self.additions: Additions | None = None
        """What it has added by ``then``; internal."""
        self.over = False
        """Its outcome stands, and this is one of its hooks; internal."""

    @property
    def created_at(self) -> datetime:
        """When it was enqueued, by the database's clock."""
        return moment(self._created_at)

    @property
    def scheduled_at(self) -> datetime | None:
        """When it was due, if it was to wait."""
        return None if self._scheduled_at is None else moment(self._scheduled_at)

    @property
    def started_at(self) -> datetime:
        """When this attempt was claimed, by the database's clock."""
        return moment(self._started_at)

    @property
    def args(self) -> list[Any]:
        """The positional arguments as stored: plain JSON values."""
        args = self._args
        if isinstance(args, str):
            args = self._args = [] if args == "[]" else from_json(args)
        return args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments as stored: plain JSON values."""
        kwargs = self._kwargs
        if isinstance(kwargs, str):
            kwargs = self._kwargs = {} if kwargs == "{}" else from_json(kwargs)
        return kwargs

    @property
    def metadata(self) -> dict[str, Any]:
        """What the enqueuer attached."""
        metadata = self._metadata
        if isinstance(metadata, str):
            metadata = self._metadata = {} if metadata == "{}" else from_json(metadata)
        return metadata

    @property
    def parents(self) -> tuple[Parent, ...]:
        """How the jobs ended that a step with ``on_parent_failure="run"`` waited for, in order.

        Empty for all other jobs: theirs have succeeded.
        """
        from uno_jobs.parents import parents_of

        return parents_of(self)

    def texts(self) -> tuple[str, str, str]:
        """Return arguments, keyword arguments and metadata as JSON texts, for another process."""
        args, kwargs, metadata = self._args, self._kwargs, self._metadata
        return (
            args if isinstance(args, str) else json.dumps(args),
            kwargs if isinstance(kwargs, str) else json.dumps(kwargs),
            metadata if isinstance(metadata, str) else json.dumps(metadata),
        )

    def set_progress(self, fraction: float, message: str = "") -> Reported:
        """Say how far the job is; shown in ``job_status``.

        It takes effect without being awaited, so ``job.set_progress(0.4)`` is all a synchronous task writes.
        In an asynchronous task, ``await job.set_progress(0.4)`` waits until it is in the database.

        Args:
            fraction: From 0.0 to 1.0.
            message: A few words, at most 1,000 characters.

        Raises:
            InvalidOption: ``fraction`` is not a number from 0 to 1.
            NotSerializable: ``message`` holds a NUL or a lone surrogate.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or math.isnan(fraction):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise InvalidOption(f"set_progress: fraction must be a number from 0 to 1, not {fraction!r}")
        if not 0 <= fraction <= 1:
            raise InvalidOption(f"set_progress: fraction must be from 0 to 1, not {fraction!r}")
        check_text(message, "set_progress: message")
        if self.control is not None:
            self.control.report_progress(self, float(fraction), message[:MAX_PROGRESS_MESSAGE])
        return Reported(self)

    def is_cancelled(self) -> Answer:
        """Say whether somebody wants this job to stop, or its time is up.

        ``if job.is_cancelled():`` in a synchronous task, ``if await job.is_cancelled():`` in an asynchronous
        one; both read what the worker knows by now, without a round trip to the database.
        """
        return Answer(self.cancel_requested)

    def transaction(self, kind: Kind = "session", *, result: Any = None) -> JobTransaction:
        """Open the job's own transaction: its writes, what it enqueues and its success in one commit.

        ``async with job.transaction() as tx:`` in an asynchronous task, ``with job.transaction() as tx:`` in a
        synchronous one. At the end of the block the job has succeeded, or nothing of the block has happened.

        Args:
            kind: ``"session"`` gives ``tx.session``: an ``AsyncSession``, or a ``Session`` (on psycopg) in a
                synchronous task. ``"asyncpg"`` (in asynchronous tasks only) and ``"psycopg"`` give
                ``tx.connection``, a raw connection.
            result: The job's result; ``tx.set_result(value)`` sets another one.

        Raises:
            InvalidOption: There is no such kind, or not here.
            JobAlreadyFinished: A transaction before has committed the job's success.
            LeaseLost: At the end of the block, or at the next one: the attempt is over, and nothing was committed.
            ResultNotStorable: The result cannot be stored.
            TransactionAlreadyOpen: The job has an open one.
            TransactionEnded: At the end of the block: somebody ended the transaction inside it.
            TransactionNotAvailable: There is no database here, or the driver is not installed.
            WrongColour: ``with`` in an asynchronous task, or ``async with`` in a synchronous one.
        """
        from uno_jobs.transactions.block import JobTransaction

        return JobTransaction(self, kind, result)

    def then(self, step: Step[Any]) -> Added:
        """Add steps to the workflow while it runs: they follow this job, and what waits for this job waits for them.

        It is as if they stood behind this job in its chain, so they, and what comes after, take arguments from before
        as ever. Steps of a second call follow those of the first; steps side by side are one group. The job's metadata
        is theirs where they have none of their own.

        They exist if and only if this attempt succeeds: they are stored together with its success. Within
        ``job.transaction()`` they belong to the block. A job that is in no workflow begins one.

        It takes effect without being awaited, so ``job.then(...)`` is all that a synchronous task writes;
        ``await job.then(...)`` gives the id.

        Args:
            step: A task, a signature, a chain or a group.

        Returns:
            The ``id`` of the job whose result is that of what was added; there is none of that id before the success.

        Raises:
            EnqueueError: Something is wrong with a step, or the job has added more than ``max_workflow_steps``.
            JobAlreadyFinished: The job's success, or its failure, is recorded already.
            TaskNotFound: A step's task is not registered here.
        """
        from uno_jobs.queue.additions import Additions

        if self.over or (self.transaction_state is not None and self.transaction_state.committed is not None):
            raise JobAlreadyFinished(f"{self!r} has ended; what is added to a workflow is added before that")
        if self.control is None:
            raise TransactionNotAvailable(f"{self!r} runs nowhere: job.then() is for the task that a worker runs")
        if self.additions is None:
            self.additions = Additions(self)
        return Added(UUID(self.additions.add(step)))

    def __repr__(self) -> str:
        return f"<Job {self.id} of {self.task} {self.version}, attempt {self.attempt}>"


_current: ContextVar[Job | None] = ContextVar("uno_jobs_current_job", default=None)


def get_current_job() -> Job:
    """Return the job that runs here: in a task, on its thread or in its child, in middleware, in hooks.

    Raises:
        NoCurrentJob: No job runs here.
    """
    job = _current.get()
    if job is None:
        raise NoCurrentJob(
            "no job runs here: get_current_job() works in a task, its middleware and its hooks "
            "(uno_jobs.testing.test_task provides one in tests)"
        )
    return job


def enter_job(job: Job) -> Token[Job | None]:
    """Make a job the current one; give the token to ``leave_job``."""
    return _current.set(job)


def leave_job(token: Token[Job | None]) -> None:
    """Undo ``enter_job``."""
    try:
        _current.reset(token)
    except ValueError:
        # A run that was never finished is closed by the garbage collector, in a context that is not its own.
        return
