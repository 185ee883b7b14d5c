"""``uno-jobs config``: the settings in force, and where each came from."""

from __future__ import annotations

from typing import Any, cast

from uno_jobs.cli import options, output


def config(
    app: options.App = None,
    queue: options.Queues = None,
    concurrency: options.Concurrency = None,
    processes: options.Processes = None,
    child_processes: options.ChildProcesses = None,
    child_max_jobs: options.ChildMaxJobs = None,
    grace: options.Grace = None,
    poll_interval: options.PollInterval = None,
    max_lost: options.MaxLost = None,
    allow_unlimited: options.AllowUnlimited = None,
    pooled: options.Pooled = None,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
    json: options.Json = False,
) -> None:
    """Show the settings in force and where each came from. Passwords are not shown."""
    from uno_jobs.settings import NAMES
    from uno_jobs.storage.urls import hide_password

    settings = options.settings(
        app=app, queues=queue, concurrency=concurrency, processes=processes,
        child_processes=child_processes, child_max_jobs=child_max_jobs, grace=grace, poll_interval=poll_interval,
        max_lost=max_lost, allow_unlimited=allow_unlimited, pooled=pooled, database_url=database_url, schema=schema,
        log_format=log_format, log_level=log_level,
    )  # fmt: skip
    shown: dict[str, Any] = {name: getattr(settings, name) for name in NAMES}
    if settings.database_url is not None:
        shown["database_url"] = hide_password(settings.database_url)
    shown["queues"] = [name if limit is None else f"{name}:{limit}" for name, limit in settings.queues]
    sources = {name: settings.sources.get(name, "default") for name in NAMES}
    if json:
        output.write_json({name: {"value": shown[name], "source": sources[name]} for name in NAMES})
        return
    rows = [[name, _shown(shown[name]), sources[name]] for name in NAMES]
    output.write_table(["setting", "value", "from"], rows)


def _shown(value: Any) -> str:
    return ", ".join(cast("list[str]", value)) if isinstance(value, list | tuple) else output.cell(value)
