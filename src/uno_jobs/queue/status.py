"""Where a job stands: a row of the view ``job_status``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from uno_jobs.storable import from_json
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema

if TYPE_CHECKING:
    from uno_jobs.storage.connections.link import Rows, Steps

JobState = Literal["waiting", "scheduled", "ready", "running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """One job: what was asked, where it stands, how it ended. Times are the database's, aware."""

    id: UUID
    state: JobState
    task: str
    version: str
    queue: str
    priority: int
    """0 to 9; lower runs first."""
    attempt: int
    """Starts so far."""
    failures: int
    """Failed attempts so far."""
    lost: int
    created_at: datetime
    scheduled_at: datetime | None
    """The earliest first start asked for; None: at once."""
    next_attempt_at: datetime | None
    """When the next attempt is due; None unless scheduled."""
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    worker_id: UUID | None
    unique_key: str | None
    workflow_id: UUID | None
    pending_parents: int | None
    cancel_requested_at: datetime | None
    """Since when it is asked to stop; None unless it runs and somebody asked."""
    progress: float | None
    """From 0 to 1, as the running task says."""
    progress_message: str | None
    args: list[Any]
    """Positional arguments as stored: plain JSON values."""
    kwargs: dict[str, Any]
    metadata: dict[str, Any]
    result: Any
    """What the task returned, as plain JSON values; None also where there is none."""
    error_type: str | None
    error: str | None

    @property
    def is_finished(self) -> bool:
        """Whether the job has succeeded, failed or been cancelled."""
        return self.state in FINAL


FINAL: Final = frozenset({"succeeded", "failed", "cancelled"})

_TIMES: Final = {
    "created_at",
    "scheduled_at",
    "next_attempt_at",
    "started_at",
    "finished_at",
    "expires_at",
    "cancel_requested_at",
}
_IDS: Final = {"id", "worker_id", "workflow_id"}
_NAMES: Final = tuple(field.name for field in fields(JobStatus))
_COLUMNS: Final = ", ".join(f"s.{name}" for name in _NAMES)


def read_status(schema: str, id_: str) -> Steps[JobStatus | None]:
    """Read where a job stands; None where it cannot be seen."""
    rows: Rows = yield Statement(
        f"SELECT to_json(r)::text FROM (SELECT {_COLUMNS} FROM {quote_schema(schema)}.job_status s "
        "WHERE s.id = $1::text::uuid) r",
        (id_,),
    )
    return _parse(from_json(rows[0][0])) if rows else None


def _parse(row: dict[str, Any]) -> JobStatus:
    for name in _TIMES:
        if row[name] is not None:
            row[name] = datetime.fromisoformat(row[name])
    for name in _IDS:
        if row[name] is not None:
            row[name] = UUID(row[name])
    return JobStatus(**row)
