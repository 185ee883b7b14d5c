"""``uno-jobs worker``: checks that there is something to work on, then becomes the supervisor of its processes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from uno_jobs.cli import asking, options
from uno_jobs.errors import ConfigurationError

if TYPE_CHECKING:
    from uno_jobs.settings import Settings
    from uno_jobs.worker.config import SupervisorConfig


def worker(
    app: options.App = None,
    queue: options.Queues = None,
    concurrency: options.Concurrency = None,
    processes: options.Processes = None,
    child_processes: options.ChildProcesses = None,
    child_max_jobs: options.ChildMaxJobs = None,
    grace: options.Grace = None,
    until_empty: Annotated[bool, typer.Option("--until-empty", help="Stop when there is nothing left to do.")] = False,
    poll_interval: options.PollInterval = None,
    max_lost: options.MaxLost = None,
    allow_unlimited: options.AllowUnlimited = None,
    pooled: options.Pooled = None,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Run jobs: a small supervisor and its worker processes, until SIGTERM or Ctrl-C (twice: at once)."""
    settings = options.settings(
        app=app, queues=queue, concurrency=concurrency, processes=processes,
        child_processes=child_processes, child_max_jobs=child_max_jobs, grace=grace, poll_interval=poll_interval,
        max_lost=max_lost, allow_unlimited=allow_unlimited, pooled=pooled, database_url=database_url, schema=schema,
        log_format=log_format, log_level=log_level,
    )  # fmt: skip
    url = settings.database()
    if not settings.app:
        raise ConfigurationError(
            "no tasks: name the modules that have them, as in 'uno-jobs worker --app myapp.tasks' (or UNO_JOBS_APP)"
        )
    asking.run(_check(url, settings))
    told = supervisor_config(settings, url, until_empty=until_empty)
    sys.stdout.flush()
    sys.stderr.flush()
    # The supervisor is to be small, and this process has pydantic in it.
    command = [sys.executable, "-P", "-m", "uno_jobs.supervisor"]
    os.execve(sys.executable, command, environment(told))  # noqa: S606 - our own program, and no shell


def supervisor_config(
    settings: Settings, url: str, *, until_empty: bool = False, watch: tuple[str, ...] = ()
) -> SupervisorConfig:
    """Return what a supervisor is told under these settings."""
    from uno_jobs.worker.config import SupervisorConfig, WorkerConfig

    told = WorkerConfig(
        url=url,
        schema=settings.schema,
        app=settings.app,
        queues=settings.queues,
        concurrency=settings.concurrency,
        grace=settings.grace,
        poll_interval=settings.poll_interval,
        max_lost=settings.max_lost,
        max_result_size=settings.max_result_size,
        child_processes=settings.child_processes,
        child_max_jobs=settings.child_max_jobs,
        allow_unlimited=settings.allow_unlimited,
        until_empty=until_empty,
        pooled=settings.pooled,
        log_format=settings.log_format,
        log_level=settings.log_level,
    )
    return SupervisorConfig(worker=told, processes=settings.processes, watch=watch)


def environment(told: SupervisorConfig) -> dict[str, str]:
    """Return the environment in which a supervisor finds its configuration, and tasks their database."""
    from uno_jobs.worker.config import ENVIRONMENT

    # Tasks that enqueue through the default queue reach the same database and schema as their worker.
    here = {
        "UNO_JOBS_DATABASE_URL": told.worker.url,
        "UNO_JOBS_SCHEMA": told.worker.schema,
        "UNO_JOBS_POOLED": str(told.worker.pooled).lower(),
    }
    return {**os.environ, **here, ENVIRONMENT: told.to_json()}


async def _check(url: str, settings: Settings) -> None:
    from uno_jobs.storage.session import check_schema, connect

    connection = await connect(url, settings.schema, name="uno-jobs worker", pooled=settings.pooled)
    try:
        await check_schema(connection, settings.schema)
    finally:
        connection.terminate()
