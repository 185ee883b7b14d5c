"""Every error that uno-jobs raises on purpose: each says what was wrong and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class UnoJobsError(Exception):
    """The base of all errors of uno-jobs."""


# --- defining tasks -------------------------------------------------------------------------------------------


class TaskDefinitionError(UnoJobsError, ValueError):
    """An option of ``@task`` is wrong; the message names the option and the task."""


class TaskAlreadyRegistered(TaskDefinitionError):
    """Two functions claim one (name, version); the message shows where both stand."""


class TaskNotFound(UnoJobsError, LookupError):
    """No task of that name (or version) is known here."""


class DiscoveryError(UnoJobsError, ImportError):
    """A module named to ``discover_tasks`` does not exist or does not import."""


# --- enqueueing: the call was wrong, and nothing was written ----------------------------------------------------


class EnqueueError(UnoJobsError):
    """The base of what an enqueue can raise."""


class InvalidArguments(EnqueueError, ValueError):
    """The arguments do not fit the task's signature."""


class NotSerializable(EnqueueError, TypeError):
    """A value cannot be stored as JSON; the message names the parameter."""


class PayloadTooLarge(EnqueueError, ValueError):
    """Arguments or metadata are over ``max_payload_size``."""


class InvalidOption(EnqueueError, ValueError):
    """An option of the enqueue (queue, priority, delay, run_at, metadata, …) is wrong."""


class InvalidWorkflow(EnqueueError, ValueError):
    """A chain or a group cannot be made or enqueued so: no step, something that is none, too many of them."""


class LargePayloadWarning(UserWarning):
    """Arguments and metadata of a job are over 300 kB: store the data elsewhere and pass what names it."""


class DuplicateJob(EnqueueError):
    """``on_duplicate="raise"``, or a retry by hand: an unfinished job, ``job_id``, holds the key."""

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id = job_id


class EnqueueConflict(EnqueueError):
    """Another transaction was faster: roll back and retry yours.

    A race for a unique key, or for a job, was lost under REPEATABLE READ or SERIALIZABLE (40001), or two transactions
    took several of them in opposite order (a deadlock, 40P01).
    """


# --- connections and the database ---------------------------------------------------------------------------------


class DatabaseError(UnoJobsError):
    """The base of errors about a connection handed in, or about the database."""


class UnsupportedConnection(DatabaseError, TypeError):
    """The object handed in as ``connection`` is none that can be used (or is of the other colour)."""


class ConnectionClosed(DatabaseError):
    """The session or connection handed in is closed."""


class TransactionFailed(DatabaseError):
    """The transaction of the connection handed in has already failed: roll it back first."""


class TransactionNotBegun(DatabaseError):
    """The session handed in has ``autobegin=False`` and no transaction: begin one first."""


class ConnectionBusy(DatabaseError):
    """The connection handed in is being used by somebody else at this moment: await that first."""


class PermissionDenied(DatabaseError):
    """The database's role may not do this (42501)."""


class StatementTimedOut(DatabaseError, TimeoutError):
    """A statement was ended by statement_timeout (57014) or lock_timeout (55P03), or by an administrator."""


class WrongColour(UnsupportedConnection):
    """An async connection on a ``SyncQueue``, a sync one on a ``Queue``, or a sync call inside an event loop."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, the connection was lost, or there are too many: try again later."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The database takes no writes (25006): a standby, a server or role set so, or a transaction begun so."""


class DatabaseFull(DatabaseUnavailable):
    """The server has no room left, on its disk (53100) or in its memory (53200)."""


class SchemaNotInstalled(DatabaseError):
    """The schema is not in this database: run ``uno-jobs db upgrade``."""


class SchemaTooOld(DatabaseError):
    """The schema is too old for this code: run ``uno-jobs db upgrade``."""


class CodeTooOld(DatabaseError):
    """The schema no longer serves code of this age: upgrade uno-jobs here."""


class UnsupportedServer(DatabaseError):
    """The server's version is not supported (PostgreSQL 15 or later is)."""


class ConfigurationError(UnoJobsError, ValueError):
    """A setting is missing or wrong; the message says where it came from."""


# --- the embedded PostgreSQL -----------------------------------------------------------------------------------------


class EmbeddedError(UnoJobsError):
    """The embedded PostgreSQL cannot do what was asked; the message says why and what to do."""


class BinariesNotFound(EmbeddedError):
    """No usable PostgreSQL binaries: the message lists where they were sought and what to install."""


class NoServerAccount(EmbeddedError):
    """Running as root, and there is no ordinary account that the server could run as."""


class IncompatibleData(EmbeddedError):
    """The data folder belongs to another major version of PostgreSQL, or to another user."""


class ServerNotStarted(EmbeddedError):
    """The server did not start; ``log`` is what it wrote on the way."""

    def __init__(self, message: str, *, log: str = "") -> None:
        super().__init__(message)
        self.log = log


# --- running ----------------------------------------------------------------------------------------------------------


class NoCurrentJob(UnoJobsError, LookupError):
    """``get_current_job()`` was called outside a job."""


class BindingError(UnoJobsError, ValueError):
    """A step of a workflow lacks an argument, or has one too many; it fails without retry."""


class TransactionNotAvailable(UnoJobsError):
    """``job.transaction()`` is not to be had here: no database, or the driver is not installed."""


class TransactionAlreadyOpen(UnoJobsError):
    """``job.transaction()``: the job has a transaction already; it can have one at a time."""


class TransactionEnded(UnoJobsError):
    """The transaction of ``job.transaction()`` was committed or rolled back inside its block."""


class JobAlreadyFinished(UnoJobsError):
    """``job.transaction()``: a transaction before has committed the job's success; there is no second one."""


class LeaseLost(UnoJobsError):
    """``job.transaction()``: this attempt is over, the job is in other hands; nothing was committed."""


class ResultNotStorable(UnoJobsError, ValueError):
    """A task's result cannot be stored (not JSON, NaN, NUL, too large); the attempt fails without retry."""


class MemoryLimitExceeded(UnoJobsError, MemoryError):
    """The attempt used more memory than its task's ``max_memory``; ``limit`` and ``peak`` are bytes."""

    def __init__(self, what: str, *, limit: int, peak: int | None = None) -> None:
        seen = "" if peak is None else f"; its peak was {_megabytes(peak)}"
        super().__init__(f"{what}: its max_memory is {_megabytes(limit)}{seen}")
        self.limit = limit
        self.peak = peak


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


class ProcessDied(UnoJobsError):
    """The child process that ran a job died of itself: by a signal, or by ``os._exit``. Only in a job's record."""


class Terminated(BaseException):
    """Raised in a synchronous task that is told to stop, in a child process: its time is up, or it was cancelled.

    Not an ``Exception``, so that only ``finally``, ``except BaseException`` and those who name it see it.
    """


class JobNotFound(UnoJobsError, LookupError):
    """There is no job of that id."""


class WorkflowNotFound(JobNotFound):
    """There is no workflow of that id, and no job of one."""


class QueueNotFound(UnoJobsError, LookupError):
    """No setting, no living worker and no unfinished job names that queue; the message says which there are."""


class RetryRefused(UnoJobsError):
    """``retry``: the job is waiting, ready or running already, or has succeeded; nothing was changed."""


class JobFailed(UnoJobsError):
    """``handle.result()``: the job failed; carries the error as it was recorded."""

    def __init__(self, message: str, *, job_id: str, error_type: str | None, traceback: str | None) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.error_type = error_type
        self.traceback = traceback


class JobCancelled(UnoJobsError):
    """``handle.result()``: the job was cancelled."""


class ResultTimeout(UnoJobsError, TimeoutError):
    """``handle.result()``: the job did not finish in time (it goes on)."""


class NotCommitted(UnoJobsError):
    """A handle was asked about a job whose enqueueing transaction is still open, or was rolled back."""


# --- control by exception: raised by a task to say how its attempt ends ---------------------------------------------


class TaskControl(UnoJobsError):
    """The base of the exceptions by which a task steers its own job."""


class Retry(TaskControl):
    """Try again after ``delay`` seconds (default: by the task's retry options). Uses up a retry."""

    def __init__(self, reason: str = "retry asked for", *, delay: float | timedelta | None = None) -> None:
        super().__init__(reason)
        self.delay = delay


class Snooze(TaskControl):
    """Run again after ``delay`` seconds. Does not use up a retry."""

    def __init__(self, delay: float | timedelta) -> None:
        super().__init__(f"snoozed for {delay}")
        self.delay = delay


class Cancel(TaskControl):
    """End this job as cancelled."""


class Fail(TaskControl):
    """End this job as failed, without retries."""
