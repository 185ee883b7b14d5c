"""Where workflows stand: rows of the view ``workflow_status``, and one workflow's steps with who waits for whom."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args
from uuid import UUID

from uno_jobs.errors import InvalidOption
from uno_jobs.storable import from_json
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema
from uno_jobs.tasks import checks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uno_jobs.queue.status import JobState
    from uno_jobs.storage.connections.link import Rows, Steps

WorkflowState = Literal["waiting", "running", "succeeded", "failed", "cancelled"]

SEARCHED: Final = 10_000
"""How many workflows, from the newest on, are looked at for those of one state."""

_PAGE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowStatus:
    """One workflow: how many of its steps are in which state. Times are the database's, aware."""

    workflow_id: UUID
    state: WorkflowState
    """``waiting``: no step has started. ``running``: one has, and something is unfinished. When all have ended:
    ``failed`` if a step failed, else ``cancelled`` if one was, else ``succeeded``."""
    jobs: int
    """Its steps; joins, where lists of results come together, are not among them."""
    waiting: int
    scheduled: int
    ready: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    percent: float
    """How many of the steps have ended, however they did: 0 to 100, rounded down."""
    created_at: datetime
    started_at: datetime | None
    """When a step started for the first time."""
    finished_at: datetime | None
    failed_job: UUID | None
    """The step that failed first."""
    failed_task: str | None
    failed_at: datetime | None
    error_type: str | None
    error: str | None

    @property
    def is_finished(self) -> bool:
        """Whether all of it has ended."""
        return self.finished_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowStep:
    """One job of a workflow, or one of its joins. Times are the database's, aware."""

    id: UUID
    task: str | None
    """None: a join, where a group's results come together as a list."""
    queue: str
    state: JobState
    attempt: int
    """Starts so far."""
    failures: int
    next_attempt_at: datetime | None
    """When it is due; None unless scheduled."""
    started_at: datetime | None
    """When the present or last attempt started."""
    finished_at: datetime | None
    progress: float | None
    """From 0 to 1, as the running task says."""
    progress_message: str | None
    error_type: str | None
    error: str | None
    """Why it failed or was cancelled; at most 1,000 characters."""
    cancelled_because: UUID | None
    """The step whose failure or cancellation ended this one."""
    parents: tuple[UUID, ...]
    """The steps that it waits for, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowGraph:
    """A workflow with all its steps, as of one moment."""

    status: WorkflowStatus
    steps: list[WorkflowStep]
    """Joins included, by id: those that were enqueued together in the order in which they were written."""
    read_at: datetime
    """When it stood so, by the database's clock."""


_STATUS: Final = ", ".join(f"w.{field.name}" for field in fields(WorkflowStatus))

_ONE: Final = (
    f"SELECT to_json(r)::text FROM (SELECT {_STATUS} FROM {{schema}}.workflow_status w "
    "WHERE w.workflow_id = $1::text::uuid) r"
)
_OF_JOB: Final = "SELECT j.workflow_id::text FROM {schema}.job_status j WHERE j.id = $1::text::uuid"

# From one workflow's id to the next by the index, whatever number of jobs each of them has, and however many have none.
_NEWEST: Final = f"""
SELECT to_json(r)::text FROM (
    SELECT {_STATUS} FROM {{schema}}.workflow_status w
    WHERE w.workflow_id = ANY (ARRAY (
        WITH RECURSIVE newest (id) AS (
            (SELECT j.workflow_id FROM {{schema}}.job_status j WHERE j.workflow_id < $1::text::uuid
             ORDER BY j.workflow_id DESC LIMIT 1)
            UNION ALL
            SELECT (SELECT j.workflow_id FROM {{schema}}.job_status j WHERE j.workflow_id < n.id
                    ORDER BY j.workflow_id DESC LIMIT 1)
            FROM newest n WHERE n.id IS NOT NULL
        )
        SELECT n.id FROM newest n WHERE n.id IS NOT NULL LIMIT $2::text::integer))
    ORDER BY w.workflow_id DESC) r
"""
_AFTER_ALL: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"

_STATUS_TIMES: Final = ("created_at", "started_at", "finished_at", "failed_at")
_STEP_TIMES: Final = ("next_attempt_at", "started_at", "finished_at")

# One statement, so that all of it is of one moment.
_GRAPH: Final = f"""
SELECT 'status', to_json(r)::text FROM (
    SELECT {_STATUS}, {{schema}}.clock() AS read_at
    FROM {{schema}}.workflow_status w WHERE w.workflow_id = $1::text::uuid) r
UNION ALL
SELECT 'step', to_json(r)::text FROM (
    SELECT s.id, s.task, s.queue, s.state, s.attempt, s.failures, s.next_attempt_at, s.started_at, s.finished_at,
           s.progress, s.progress_message, s.error_type, left(s.error, 1000) AS error, s.cancelled_because, s.parents
    FROM {{schema}}.workflow_steps s WHERE s.workflow_id = $2::text::uuid) r
"""


def read_workflow(schema: str, id_: str) -> Steps[WorkflowStatus | None]:
    """Read where a workflow stands, by its id or by that of a job in it; None where there is none to be seen."""
    rows: Rows = yield from _read(schema, _ONE, id_)
    return _parse_status(from_json(rows[0][0])) if rows else None


def read_graph(schema: str, id_: str) -> Steps[WorkflowGraph | None]:
    """Read a workflow with its steps, by its id or by that of a job in it; None where there is none to be seen."""
    rows: Rows = yield from _read(schema, _GRAPH, id_)
    if not rows:
        return None
    (status,) = (from_json(text) for kind, text in rows if kind == "status")
    read_at = datetime.fromisoformat(status.pop("read_at"))
    steps = sorted((_parse_step(from_json(text)) for kind, text in rows if kind == "step"), key=lambda step: step.id)
    return WorkflowGraph(status=_parse_status(status), steps=steps, read_at=read_at)


def read_newest(schema: str, limit: int, state: WorkflowState | None) -> Steps[list[WorkflowStatus]]:
    """Read the newest workflows, the newest first; with a state, those of it among the newest ``SEARCHED``."""
    sql = quote_schema(schema)
    left = limit if state is None else SEARCHED
    before, found = _AFTER_ALL, list[WorkflowStatus]()
    while left > 0 and len(found) < limit:
        page = min(left, _PAGE)
        rows: Rows = yield Statement(_NEWEST.format(schema=sql), (before, str(page)))
        read = [_parse_status(from_json(row[0])) for row in rows]
        found += [one for one in read if state is None or one.state == state]
        if len(read) < page:
            break
        before, left = str(read[-1].workflow_id), left - page
    return found[:limit]


def parse_limit(value: object) -> int:
    """Return how many workflows to list.

    Raises:
        InvalidOption: It is no number from 1 on.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise InvalidOption(f"limit must be an integer from 1 on, not {value!r}")


def parse_state(value: object) -> WorkflowState | None:
    """Return the state of the workflows to list.

    Raises:
        InvalidOption: There is no such state.
    """
    return None if value is None else cast("WorkflowState", checks.one_of(value, "state", *get_args(WorkflowState)))


def _read(schema: str, query: str, id_: str) -> Steps[Rows]:
    """Ask for a workflow by its id; where there is none, for that of the job of this id."""
    sql = quote_schema(schema)
    asked = query.format(schema=sql)
    times = query.count("::text::uuid")
    rows: Rows = yield Statement(asked, (id_,) * times)
    if not rows:
        found: Rows = yield Statement(_OF_JOB.format(schema=sql), (id_,))
        if found and found[0][0] is not None:
            rows = yield Statement(asked, (found[0][0],) * times)
    return rows


def _parse_status(row: dict[str, Any]) -> WorkflowStatus:
    _restore(row, _STATUS_TIMES, ("workflow_id", "failed_job"))
    row["percent"] = float(row["percent"])
    return WorkflowStatus(**row)


def _parse_step(row: dict[str, Any]) -> WorkflowStep:
    _restore(row, _STEP_TIMES, ("id", "cancelled_because"))
    row["parents"] = tuple(UUID(parent) for parent in row["parents"])
    return WorkflowStep(**row)


def _restore(row: dict[str, Any], times: Iterable[str], ids: Iterable[str]) -> None:
    for name in times:
        if row[name] is not None:
            row[name] = datetime.fromisoformat(row[name])
    for name in ids:
        if row[name] is not None:
            row[name] = UUID(row[name])
