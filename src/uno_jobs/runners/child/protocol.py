"""What a worker and its child say to each other: a line of JSON a message, over a socket pair of their own.

The worker says (``do``): ``run`` a job, ``cancel`` it, what it reported is ``flushed``. The child says (``say``): it is
``ready``, or ``unable`` to be; a job's ``progress``; ``flush`` it; its own ``transaction``; it has ``ended``.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson

from uno_jobs.context import Job
from uno_jobs.outcomes import Cancelled, ErrorRecord, Failed, Retried, Snoozed, Succeeded

if TYPE_CHECKING:
    from uno_jobs.context import JobControl
    from uno_jobs.outcomes import Outcome

ENVIRONMENT: Final = "UNO_JOBS_CHILD"
"""The variable in which a child finds its configuration as JSON."""
MAX_READ: Final = 262_144

_KINDS: Final = {cls.__name__: cls for cls in (Succeeded, Failed, Retried, Snoozed, Cancelled)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildConfig:
    """What a child is told by its worker."""

    modules: tuple[str, ...]
    """Modules or patterns whose tasks it runs, as for ``discover_tasks``."""
    path: tuple[str, ...]
    """Where to import from: the worker's ``sys.path``."""
    url: str
    schema: str
    max_result_size: int
    log_format: str
    log_level: str
    pooled: bool = False
    """The URL is a transaction pooler's."""
    fd: int = -1
    """The child's end of the socket."""

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ChildConfig:
        """Return what ``to_json`` wrote."""
        values = json.loads(text)
        values["modules"] = tuple(values["modules"])
        values["path"] = tuple(values["path"])
        return cls(**values)


class Lines:
    """Puts messages together from what arrives."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the messages that are complete with this."""
        *complete, rest = data.split(b"\n")
        if not complete:
            self._parts.append(rest)
            return []
        complete[0] = b"".join((*self._parts, complete[0]))
        self._parts = [rest] if rest else []
        return [orjson.loads(line) for line in complete]


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as it is sent."""
    return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)


def pack_job(job: Job) -> dict[str, Any]:
    """Return a job as it is sent to a child."""
    args, kwargs, metadata = job.texts()
    return {
        "id": str(job.id),  # asyncpg has a class of its own, unknown to orjson
        "task": job.task,
        "version": job.version,
        "queue": job.queue,
        "priority": job.priority,
        "attempt": job.attempt,
        "failures": job.failures,
        "max_attempts": job.max_attempts,
        "args": args,
        "kwargs": kwargs,
        "metadata": metadata,
        "created_at": job.created_at,
        "scheduled_at": job.scheduled_at,
        "started_at": job.started_at,
        "workflow_id": None if job.workflow_id is None else str(job.workflow_id),
        "lease": job.lease,
        "before": job.before,
    }


def unpack_job(values: dict[str, Any], control: JobControl) -> Job:
    """Return the job that was sent."""
    for name in ("created_at", "scheduled_at", "started_at"):
        if values[name] is not None:
            values[name] = datetime.fromisoformat(values[name])
    for name in ("id", "workflow_id"):
        if values[name] is not None:
            values[name] = UUID(values[name])
    return Job(**values, control=control)


def pack_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return how a job ended as it is sent to the worker."""
    return {"outcome": type(outcome).__name__, "values": outcome}


def unpack_outcome(message: dict[str, Any]) -> Outcome | None:
    """Return how a job ended; None: it was interrupted, and that is all."""
    kind, values = message["outcome"], message["values"]
    if kind is None:
        return None
    if "error" in values:
        values["error"] = ErrorRecord(**values["error"])
    return _KINDS[kind](**values)
