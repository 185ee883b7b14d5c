"""What queues of both colours share: their settings, and the steps of an enqueue."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from uno_jobs.errors import ConfigurationError, InvalidOption, JobNotFound, NotCommitted, WorkflowNotFound
from uno_jobs.queue import batches, moves, steering, workflows
from uno_jobs.queue.call import Call
from uno_jobs.queue.options import join
from uno_jobs.queue.recorded import RecordedTask, look_up
from uno_jobs.queue.requests import ByName, EnqueueRequest, Requests, check_arguments
from uno_jobs.queue.status import JobStatus, read_status
from uno_jobs.queue.workflow_status import WorkflowGraph, WorkflowStatus, read_graph, read_newest, read_workflow
from uno_jobs.settings import FALLBACK, load_settings
from uno_jobs.storage.connections.failures import Translating
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema
from uno_jobs.storage.urls import plain_url
from uno_jobs.tasks import checks
from uno_jobs.tasks.signature import Signature
from uno_jobs.tasks.workflows import Chain, Group

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from uno_jobs.queue.workflow_status import WorkflowState
    from uno_jobs.storage.connections.link import Rows, Steps
    from uno_jobs.storage.connections.own import AsyncEngineConnections, EngineConnections, UrlConnections
    from uno_jobs.tasks.definition import Task

    Database = str | Engine | AsyncEngine
    AnyTask = Task[..., Any, Any]

KEEP_RECORDED: Final = 5.0
"""Seconds for which what workers recorded of a task is remembered."""


class QueueCore:
    """The part of a queue that does not wait for anything."""

    def __init__(
        self,
        database: Database | None = None,
        *,
        schema: str | None = None,
        notify: bool | None = None,
        max_payload_size: int | None = None,
        pooled: bool | None = None,
    ) -> None:
        """Take the settings; nothing is connected yet.

        Args:
            database: A URL (any driver's spelling) or an SQLAlchemy engine, sync or async. Without it, the
                environment's UNO_JOBS_DATABASE_URL, then DATABASE_URL. What else is not given comes from the
                settings as well.
            schema: The schema of uno-jobs.
            notify: Whether to wake sleeping workers; without it they find jobs by polling. Must be off where
                transactions are prepared (two-phase commit), which is seen by itself on SQLAlchemy.
            max_payload_size: Largest arguments and metadata of a job, in bytes of JSON.
            pooled: Whether the database is reached through a transaction pooler, such as PgBouncer's: nothing is then
                kept in a session of the server, and results are waited for by polling.

        Raises:
            ConfigurationError: There is no URL, or it or the schema's name will not do.
        """
        # A database that is named here is not to fail for what DATABASE_URL, which other programs use, says.
        elsewhere = {name: value for name, value in os.environ.items() if database is None or name != FALLBACK}
        settings = load_settings(environment=elsewhere)
        self.database: Database = settings.database() if database is None else database
        self.schema = settings.schema if schema is None else schema
        self.notify = settings.notify if notify is None else notify
        self.max_payload_size = settings.max_payload_size if max_payload_size is None else max_payload_size
        self.max_workflow_steps = settings.max_workflow_steps
        self._sql = quote_schema(self.schema)
        self.pooled = settings.pooled if pooled is None else pooled
        self._own = _connections(self.database, self.schema, pooled=self.pooled)
        self._translating = Translating(self.schema)
        self._checked = False
        self._recorded: dict[tuple[str, str | None], tuple[float, RecordedTask]] = {}
        if isinstance(self.max_payload_size, bool) or self.max_payload_size < 1:
            raise ConfigurationError(f"max_payload_size must be bytes, at least 1, not {max_payload_size!r}")
        self._requests = Requests(self.max_payload_size)
        self._set_up()

    def _set_up(self) -> None:
        """Make what only one colour needs."""

    def prepare(self, task: object, args: object, kwargs: object, options: Mapping[str, Any]) -> Call:
        """Check one enqueue.

        Raises:
            EnqueueError: The call is wrong.
        """
        if isinstance(task, Signature):
            bound = cast("Signature[Any]", task).options
            if "via" in bound:
                raise InvalidOption("via= is for task.options(...).enqueue(...); here the queue is this one")
            options = {**{name: bound[name] for name in ("connection", "notify") if name in bound}, **options}
        if isinstance(task, (Chain, Group)):
            given, named = check_arguments(args, kwargs)
            workflow = workflows.prepare(
                self._requests,
                cast("Chain[Any] | Group[Any]", task),
                given,
                named,
                options,
                self.max_workflow_steps,
            )
            return Call([], [], options.get("connection"), self._notify(options.get("notify")), workflow)
        request, found = self._requests.one(cast("object", task), args, kwargs, options)
        return Call([request], [found], options.get("connection"), self._notify(options.get("notify")))

    def prepare_many(self, items: Iterable[object], connection: object, notify: bool | None) -> Call:
        """Check a bulk.

        Raises:
            EnqueueError: An item is wrong; the error's notes say which.
        """
        return Call(*self._requests.many(items), connection, self._notify(notify))

    def enqueue_steps(self, call: Call, *, two_phase: bool) -> Steps[list[batches.Placed] | None]:
        """Store the jobs of a call; see ``batches.insert``."""
        if not self._checked:
            yield from self.check_steps()
        if call.workflow is not None:
            yield from workflows.insert(self.schema, call.workflow, notify=call.notify and not two_phase)
            return None
        requests = cast("list[EnqueueRequest]", call.requests)
        if call.by_name:
            requests = yield from self._resolve(call.requests)
            call.requests[:] = requests
        return (yield from batches.insert(self.schema, requests, notify=call.notify and not two_phase))

    def at_once(self, call: Call) -> Statement | None:
        """Return the statement that is all a call needs on a connection of the queue's; None: there is more to it."""
        if call.connection is not None or not self._checked or len(call.requests) != 1:
            return None
        request = call.requests[0]
        return batches.single(self._sql, request, notify=call.notify) if isinstance(request, EnqueueRequest) else None

    def check_steps(self) -> Steps[None]:
        """Refuse a server or a schema that this code cannot work with; once for each queue.

        Raises:
            UnsupportedServer, SchemaNotInstalled, SchemaTooOld, CodeTooOld: Each says what to do.
        """
        if self._checked:
            return
        from uno_jobs.storage.session import check_revision, check_server

        # Asked for by name first: a call of a missing function would break the caller's transaction.
        rows: Rows = yield Statement(
            "SELECT current_setting('server_version_num'), to_regprocedure($1::text)::text", (f"{self._sql}.about()",)
        )
        check_server(int(rows[0][0]))
        found: tuple[int, int] | None = None
        if rows[0][1] is not None:
            rows = yield Statement(f"SELECT revision::text, min_code::text FROM {self._sql}.about()")
            found = (int(rows[0][0]), int(rows[0][1])) if rows else None
        check_revision(found, self.schema)
        self._checked = True

    def status_steps(self, id_: str, *, handed_in: bool) -> Steps[JobStatus]:
        """Read where a job stands.

        Raises:
            NotCommitted, JobNotFound: It cannot be seen.
        """
        yield from self.check_steps()
        status = yield from read_status(self.schema, id_)
        if status is None:
            raise _not_seen(id_, handed_in)
        return status

    def workflow_steps(self, id_: str, *, handed_in: bool) -> Steps[WorkflowStatus]:
        """Read where a workflow stands, by its id or a job's.

        Raises:
            NotCommitted, WorkflowNotFound: It cannot be seen.
        """
        yield from self.check_steps()
        status = yield from read_workflow(self.schema, id_)
        if status is None:
            raise _no_workflow(id_, handed_in)
        return status

    def graph_steps(self, id_: str, *, handed_in: bool) -> Steps[WorkflowGraph]:
        """Read a workflow with its steps; raises as ``workflow_steps`` does."""
        yield from self.check_steps()
        graph = yield from read_graph(self.schema, id_)
        if graph is None:
            raise _no_workflow(id_, handed_in)
        return graph

    def newest_steps(self, limit: int, state: WorkflowState | None) -> Steps[list[WorkflowStatus]]:
        """Read the newest workflows."""
        yield from self.check_steps()
        return (yield from read_newest(self.schema, limit, state))

    def cancel_steps(
        self, id_: str, reason: str | None, *, two_phase: bool, handed_in: bool, workflow: bool
    ) -> Steps[moves.CancelResult]:
        """Cancel a job, or a workflow by its id.

        Raises:
            NotCommitted, JobNotFound: It cannot be seen.
        """
        yield from self.check_steps()
        cancel = moves.cancel_workflow if workflow else moves.cancel_job
        result = yield from cancel(self.schema, id_, reason, notify=self.notify and not two_phase)
        if result is None:
            raise _not_seen(id_, handed_in, "workflow" if workflow else "job")
        return result

    def retry_steps(self, id_: str, *, two_phase: bool, handed_in: bool) -> Steps[None]:
        """Retry a job.

        Raises:
            NotCommitted, JobNotFound: It cannot be seen.
            RetryRefused, DuplicateJob: It cannot be retried.
        """
        yield from self.check_steps()
        if not (yield from moves.retry_job(self.schema, id_, notify=self.notify and not two_phase)):
            raise _not_seen(id_, handed_in)

    def pause_steps(self, queue: str, reason: str | None, *, create: bool) -> Steps[bool]:
        """Pause a queue."""
        yield from self.check_steps()
        return (yield from steering.pause_queue(self.schema, queue, reason, create=create))

    def resume_steps(self, queue: str, *, two_phase: bool) -> Steps[bool]:
        """Resume a queue."""
        yield from self.check_steps()
        return (yield from steering.resume_queue(self.schema, queue, notify=self.notify and not two_phase))

    def weigh_steps(self, queue: str, weight: int, *, create: bool) -> Steps[None]:
        """Give a queue its weight."""
        yield from self.check_steps()
        yield from steering.weigh_queue(self.schema, queue, weight, create=create)

    def count_purgeable_steps(self, queue: str) -> Steps[int]:
        """Count what a purge would cancel."""
        yield from self.check_steps()
        return (yield from steering.count_purgeable(self.schema, queue))

    def purge_steps(
        self, queue: str, reason: str | None, *, two_phase: bool, before: str | None = None, at_most: int | None = None
    ) -> Steps[tuple[int, str]]:
        """Cancel what does not run of a queue."""
        yield from self.check_steps()
        notify = self.notify and not two_phase
        return (yield from steering.purge_queue(self.schema, queue, reason, before, at_most, notify=notify))

    def _resolve(self, requests: Sequence[EnqueueRequest | ByName]) -> Steps[list[EnqueueRequest]]:
        """Look up what this process does not know: one statement for each task and version."""
        made: list[EnqueueRequest] = []
        for request in requests:
            if isinstance(request, EnqueueRequest):
                made.append(request)
                continue
            key = request.task, request.asked.version
            until, recorded = self._recorded.get(key, (0.0, None))
            if recorded is None or until < time.monotonic():
                recorded = yield from look_up(self.schema, *key)
                self._recorded[key] = time.monotonic() + KEEP_RECORDED, recorded
            made.append(self._requests.make(join(recorded, request.asked), request.args, request.kwargs))
        return made

    def _notify(self, notify: bool | None) -> bool:
        if notify is None:
            return self.notify
        return checks.flag(notify, "notify")


def _not_seen(id_: str, handed_in: bool, what: str = "job") -> NotCommitted | JobNotFound:
    if handed_in:
        return NotCommitted(
            f"{what} {id_} cannot be seen: the transaction that enqueued it is still open or was rolled back"
        )
    return JobNotFound(f"there is no {what} {id_}: it was never committed, or its record has been pruned")


def _no_workflow(id_: str, handed_in: bool) -> NotCommitted | WorkflowNotFound:
    if handed_in:
        return NotCommitted(
            f"no workflow {id_} can be seen: the transaction that enqueued it is still open or was rolled back"
        )
    return WorkflowNotFound(f"{id_} is neither a workflow nor a job of one, or its record has been pruned")


def parse_job_id(value: object) -> str:
    """Return a job's id as text.

    Raises:
        InvalidOption: It is not a UUID.
    """
    try:
        return str(value if isinstance(value, UUID) else UUID(cast("str", value)))
    except (ValueError, AttributeError, TypeError):
        raise InvalidOption(f"a job's id is a UUID, not {value!r}") from None


def parse_timeout(value: object) -> float:
    """Return a limit for waiting, in seconds."""
    return checks.parse_seconds(value, "timeout")


def _connections(
    database: Database, schema: str, *, pooled: bool
) -> UrlConnections | AsyncEngineConnections | EngineConnections:
    from uno_jobs.storage.connections import own

    if isinstance(database, str):
        plain_url(database)
        return own.PoolerConnections(database, schema) if pooled else own.UrlConnections(database, schema)
    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    if isinstance(database, AsyncEngine):
        return own.AsyncEngineConnections(database, schema)
    if isinstance(database, Engine):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        return own.EngineConnections(database, schema)
    raise ConfigurationError(
        f"a queue is made from a URL or an SQLAlchemy engine, not {database!r} "
        "(a session or connection goes to enqueue, as connection=)"
    )
