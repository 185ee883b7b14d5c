"""``job.transaction()``: the block in which a task does its work and succeeds, both or neither."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from uno_jobs.errors import (
    DuplicateJob,
    InvalidOption,
    JobAlreadyFinished,
    LeaseLost,
    TransactionAlreadyOpen,
    TransactionEnded,
    TransactionNotAvailable,
    WrongColour,
)
from uno_jobs.storage.connections.adapt import adapt, adapt_sync
from uno_jobs.storage.connections.failures import sqlstate_of, translate
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema
from uno_jobs.transactions.doubt import LEASE_OVER, NOT_THE_TRANSACTION, is_refused, look_up, look_up_sync
from uno_jobs.transactions.opened import AsyncTransaction, SyncTransaction
from uno_jobs.transactions.source import KINDS
from uno_jobs.transactions.state import TransactionState
from uno_jobs.transactions.sync_resources import bounded

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import TracebackType

    from uno_jobs.context import Job, JobControl
    from uno_jobs.runners.invocation import Plan
    from uno_jobs.transactions.resources import AsyncResource
    from uno_jobs.transactions.source import Transactions
    from uno_jobs.transactions.sync_resources import SyncResource

logger = logging.getLogger("uno_jobs.transactions")

Kind = Literal["session", "asyncpg", "psycopg"]

COMMIT_TIMEOUT: Final = 30.0
"""Seconds after which the answer to a commit is given up and looked up: a network may have gone silent."""
STEPS_A_SECOND: Final = 500
"""What a job has added (``job.then``) may take so much longer: a tenth of the usual speed."""


class JobTransaction:
    """Not made by hand: see ``Job.transaction``. Used once, with ``async with`` or ``with``."""

    def __init__(self, job: Job, kind: Kind, result: Any) -> None:
        if kind not in KINDS:
            raise InvalidOption(f"job.transaction: kind must be one of {', '.join(KINDS)}, not {kind!r}")
        if job.control is None:
            raise TransactionNotAvailable(f"{job!r} runs nowhere: job.transaction() is for the task that a worker runs")
        self._job = job
        self._kind: Kind = kind
        self._control: JobControl = job.control
        self._source: Transactions = job.control.transactions()
        self._plan: Plan = job.control.plan(job)
        self._first_result = "null" if result is None else self._plan.dump_result(result)
        if job.transaction_state is None:
            job.transaction_state = TransactionState()
        self._state: TransactionState = job.transaction_state
        self._async: tuple[AsyncResource, AsyncTransaction] | None = None
        self._sync: tuple[SyncResource, SyncTransaction] | None = None
        self._added_before = 0

    async def __aenter__(self) -> AsyncTransaction:
        if not self._plan.options.asynchronous:
            raise WrongColour(f"task {self._job.task} is synchronous: write 'with job.transaction()', without async")
        self._check()
        _, opened = self._async = await self._open()
        return opened

    async def _open(self) -> tuple[AsyncResource, AsyncTransaction]:
        resource = self._source.asynchronous(self._kind)
        self._state.is_open = True
        try:
            await resource.begin(self._mark)
        except BaseException:
            await self._close(resource)
            raise
        return resource, AsyncTransaction(self._kind, resource.handle, self._plan.dump_result, self._first_result)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._async is not None
        resource, opened = self._async
        try:
            if error is None:
                await resource.before_commit()
                await _to_the_end(self._commit(resource, opened))
                await resource.after_commit()
        finally:
            await self._close(resource)

    async def commit_success(self, result: str) -> None:
        """Commit the success of a run that is at its end, and nothing else of its own, whatever the task's colour.

        Raises:
            LeaseLost: The attempt is over; nothing was committed.
        """
        self._check()
        resource, opened = await self._open()
        opened.result = result
        try:
            await _to_the_end(self._commit(resource, opened))
        finally:
            await self._close(resource)

    def __enter__(self) -> SyncTransaction:
        if self._plan.options.asynchronous and _loop_runs_here():
            raise WrongColour(f"task {self._job.task} is asynchronous: write 'async with job.transaction()'")
        self._check()
        resource = self._source.synchronous(self._kind)
        self._state.is_open = True
        try:
            resource.begin(self._mark)
        except BaseException:
            self._close_sync(resource)
            raise
        opened = SyncTransaction(self._kind, resource.handle, self._plan.dump_result, self._first_result)
        self._sync = resource, opened
        return opened

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._sync is not None
        resource, opened = self._sync
        try:
            if error is None:
                resource.before_commit()
                self._commit_sync(resource, opened)
                resource.after_commit()
        finally:
            self._close_sync(resource)

    def _check(self) -> None:
        state = self._state
        if state.committed is not None:
            raise JobAlreadyFinished(
                f"{self._job!r} has succeeded: its transaction is committed, and a job has one. What comes after it "
                "needs a connection of its own"
            )
        if state.lease_lost:
            raise LeaseLost(f"the lease of {self._job!r} is over")
        if state.is_open:
            raise TransactionAlreadyOpen(f"{self._job!r} has an open transaction; it can have one at a time")
        if self._job.additions is not None:
            self._added_before = len(self._job.additions)

    @property
    def _mark(self) -> str:
        # The commit finds it, unless somebody ended the transaction in between.
        return f"SET LOCAL unojobs.lease = '{self._job.lease}'"

    def _last_statements(self, result: str) -> Iterator[Statement]:
        if self._job.additions:
            yield from self._job.additions.statements(self._source.schema)
        yield Statement(
            f"SELECT {quote_schema(self._source.schema)}.finish_in_transaction"
            "($1::text::uuid, $2::text::bigint, $3::text)",
            (str(self._job.id), str(self._job.lease), result),
        )

    @property
    def _patience(self) -> float:
        return COMMIT_TIMEOUT + (self._job.additions.steps / STEPS_A_SECOND if self._job.additions else 0)

    async def _commit(self, resource: AsyncResource, opened: AsyncTransaction) -> None:
        result = opened.result
        try:
            self._set_committing(True)
            try:
                async with asyncio.timeout(self._patience):
                    link = adapt(resource.handle)
                    await link.open()
                    for statement in self._last_statements(result):
                        await link.fetch(statement)
                    await resource.commit()
            except BaseException as error:
                await resource.abandon()
                if not isinstance(error, Exception):
                    raise
                if is_refused(error):
                    self._refuse(error)
                self._judge(await look_up(self._source, self._job), error)
            self._state.committed = result
        finally:
            self._set_committing(False)

    def _commit_sync(self, resource: SyncResource, opened: SyncTransaction) -> None:
        result = opened.result
        try:
            self._set_committing(True)
            try:
                link = adapt_sync(resource.handle)
                link.open()
                with bounded(resource.fileno(), self._patience):
                    for statement in self._last_statements(result):
                        link.fetch(statement)
                    resource.commit()
            except BaseException as error:
                resource.abandon()
                if not isinstance(error, Exception):
                    raise
                if is_refused(error):
                    self._refuse(error)
                self._judge(look_up_sync(self._source, self._job), error)
            self._state.committed = result
        finally:
            self._set_committing(False)

    def _set_committing(self, under_way: bool) -> None:
        self._state.committing = under_way
        self._control.transaction_changed(self._job)

    def _refuse(self, error: Exception) -> NoReturn:
        """Raise what the database's refusal means."""
        state = sqlstate_of(error)
        if state == LEASE_OVER:
            raise self._lost() from error
        if state == NOT_THE_TRANSACTION:
            raise TransactionEnded(
                f"{self._job!r}: its transaction was committed or rolled back inside the block of job.transaction(). "
                "The end of the block does that; for a part that may fail use a savepoint"
            ) from error
        if isinstance(known := translate(error, self._source.schema), DuplicateJob):
            raise known from error
        raise error

    def _judge(self, fate: str | None, error: Exception) -> None:
        """Return if a commit without an answer has happened, and raise otherwise."""
        if fate == "running":
            raise error
        if fate != "succeeded":
            raise self._lost() from error
        logger.warning(
            "the answer to a job's commit was lost; it is committed",
            extra={"job_id": str(self._job.id), "task": self._job.task, "error": repr(error)},
        )

    def _lost(self) -> LeaseLost:
        self._state.lease_lost = True
        logger.warning(
            "the lease of a running job is over; its transaction was not committed",
            extra={"job_id": str(self._job.id), "task": self._job.task, "attempt": self._job.attempt},
        )
        return LeaseLost(f"the lease of {self._job!r} is over: the job is in other hands, and nothing was committed")

    async def _close(self, resource: AsyncResource) -> None:
        try:
            await resource.close()
        finally:
            self._end()

    def _close_sync(self, resource: SyncResource) -> None:
        try:
            resource.close()
        finally:
            self._end()

    def _end(self) -> None:
        self._state.is_open = False
        if self._job.additions is not None and self._state.committed is None:
            self._job.additions.cut(self._added_before)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await something that one cancellation does not stop; the second one does."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a commit failed while its job was cancelled", exc_info=error)
        raise


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
