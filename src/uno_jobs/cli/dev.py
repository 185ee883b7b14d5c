"""``uno-jobs dev``: an embedded PostgreSQL, migrated, and a worker that starts anew when the code changes."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from uno_jobs.cli import options, output
from uno_jobs.cli.worker import environment, supervisor_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uno_jobs.worker.config import SupervisorConfig

GRACE: Final = 5.0
"""Seconds: who changes code does not want to wait for long jobs."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def dev(
    app: options.App = None,
    queue: options.Queues = None,
    concurrency: options.Concurrency = None,
    processes: options.Processes = None,
    grace: options.Grace = None,
    folder: Annotated[str, typer.Option("--folder", help="Where the database is kept.")] = ".uno-jobs",
    watch: Annotated[
        list[str] | None,
        typer.Option("--watch", help="Folder of code to watch besides the application's; repeatable."),
    ] = None,
    reload: Annotated[bool, typer.Option("--reload/--no-reload", help="Start anew when the code changes.")] = True,
    schema: options.Schema = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Develop without set-up: a PostgreSQL of this folder's, migrated, and a worker that reloads. Ctrl-C ends it."""
    from uno_jobs.embedded import EmbeddedPostgres
    from uno_jobs.storage import migrations
    from uno_jobs.supervisor.reload import check_watched

    settings = options.settings(
        app=app, queues=queue, concurrency=concurrency, processes=processes, grace=grace, schema=schema,
        log_format=log_format, log_level=log_level,
    )  # fmt: skip
    if "grace" not in settings.sources:
        import dataclasses

        settings = dataclasses.replace(settings, grace=GRACE)
    watched = (*code_of(settings.app), *(watch or ())) if reload and settings.app else ()
    check_watched(watched)
    with EmbeddedPostgres.dev(folder) as server:
        migrations.upgrade(server.url, settings.schema)
        joined = " (joined: another process runs it)" if server.joined else ""
        output.write(f"PostgreSQL {server.version} in {folder}{joined}\n\n    {server.url}\n")
        output.write(f"Use it elsewhere with:  export UNO_JOBS_DATABASE_URL='{server.url}'")
        if settings.app:
            output.write(f"The worker runs {', '.join(settings.app)}. Ctrl-C ends it.")
        else:
            output.write("There is no worker, since no tasks were named (--app myapp.tasks). Ctrl-C ends the server.")
        sys.stdout.flush()
        status = _supervise(supervisor_config(settings, server.url, watch=watched)) if settings.app else _wait()
    raise typer.Exit(status)


def code_of(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the folders (of packages) and files (of single modules) that an application's code lies in."""
    found: list[str] = []
    # As the worker will do: the current folder's modules come first.
    sys.path.insert(0, str(Path.cwd()))
    try:
        for pattern in patterns:
            spec = importlib.util.find_spec(pattern.partition(".")[0])
            if spec is not None and spec.submodule_search_locations:
                found += spec.submodule_search_locations
            elif spec is not None and spec.origin and Path(spec.origin).is_file():
                found.append(spec.origin)
    finally:
        sys.path.pop(0)
    return tuple(dict.fromkeys(found))


def _supervise(told: SupervisorConfig) -> int:
    """Run the supervisor as a child that ends with us, since it is we who keep the server running."""
    from uno_jobs.supervisor import child

    received: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _: object) -> None:
        received.append(number)
        if process is not None:
            process.send_signal(number)

    for signal_ in SIGNALS:
        signal.signal(signal_, pass_on)
    # In a group of its own: a Ctrl-C would else reach it twice.
    process = subprocess.Popen(
        child.command("uno_jobs.supervisor", signal_=signal.SIGTERM), env=environment(told), process_group=0
    )
    for number in received:
        process.send_signal(number)
    status = process.wait()
    return status if status >= 0 else 1


def _wait() -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    signal.sigwait(SIGNALS)
    return os.EX_OK
