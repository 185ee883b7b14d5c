"""Options that several commands share, and the settings that they make with the environment and pyproject.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from uno_jobs.settings import Settings

DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", help="PostgreSQL URL.  [else UNO_JOBS_DATABASE_URL, pyproject.toml, DATABASE_URL]"),
]
Schema = Annotated[str | None, typer.Option("--schema", help="Schema of uno-jobs.  [else uno_jobs]")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]
App = Annotated[
    list[str] | None,
    typer.Option("--app", help="Module with tasks, or a pattern such as myapp.*.tasks; repeatable."),
]
Queues = Annotated[
    list[str] | None,
    typer.Option("--queue", help="Queue to serve, or queue:limit (jobs at once in a process); repeatable."),
]
Concurrency = Annotated[int | None, typer.Option("--concurrency", help="Jobs at once in a process.  [100]")]
Processes = Annotated[int | None, typer.Option("--processes", help="Worker processes.  [1]")]
ChildProcesses = Annotated[
    int | None,
    typer.Option(
        "--child-processes",
        help="Of the jobs of a process, how many at once in child processes.  [CPUs, at least 2]",
    ),
]
ChildMaxJobs = Annotated[
    int | None, typer.Option("--child-max-jobs", help="A child process is replaced after so many jobs.  [1000]")
]
Grace = Annotated[
    float | None, typer.Option("--grace", help="Seconds that running jobs may go on after SIGTERM.  [25]")
]
PollInterval = Annotated[
    float | None, typer.Option("--poll-interval", help="Seconds between looks for jobs without a notification.  [1]")
]
MaxLost = Annotated[
    int | None, typer.Option("--max-lost", help="A job that alone kills its process so often fails.  [3]")
]
AllowUnlimited = Annotated[
    bool | None,
    typer.Option("--allow-unlimited", help="Run tasks also where their max_memory or cpu_limit cannot be held."),
]
Pooled = Annotated[
    bool | None,
    typer.Option("--pooled", help="The URL is a transaction pooler's (PgBouncer): keep nothing in sessions, and poll."),
]
LogFormat = Annotated[
    str | None, typer.Option("--log-format", help="human, json, or auto: human on a terminal.  [auto]")
]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.  [info]")]

OPTION_NAMES: Final = {"queues": "--queue"}


def settings(**options: Any) -> Settings:
    """Return the settings in force under a command's options (None: not given).

    Raises:
        ConfigurationError: A value is wrong; the message says where it came from.
    """
    from uno_jobs.settings import load_settings

    return load_settings(options, option_names=OPTION_NAMES)
