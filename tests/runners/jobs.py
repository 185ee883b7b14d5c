"""Jobs for tests of the runners."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from uno_jobs.context import Job

if TYPE_CHECKING:
    from uno_jobs.context import JobControl
    from uno_jobs.tasks import Task

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def a_job(
    task: Task[..., Any, Any],
    *args: Any,
    version: str | None = None,
    failures: int = 0,
    metadata: dict[str, Any] | None = None,
    control: JobControl | None = None,
    **kwargs: Any,
) -> Job:
    """Return a job of a task, as a worker makes one of a row; arguments are JSON values."""
    options = task.config
    return Job(
        uuid.uuid4(),
        options.name,
        version or options.version,
        options.queue,
        options.priority,
        failures + 1,
        failures,
        options.max_retries + 1,
        json.dumps(args),
        json.dumps(kwargs),
        json.dumps(metadata or {}),
        NOW,
        None,
        NOW,
        control=control,
    )
