"""The command's parts put together. Their modules import what is slow only when a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from uno_jobs.cli import (
    bench,
    check,
    config,
    db,
    dev,
    doctor,
    enqueue,
    explain,
    jobs,
    prune,
    queues,
    status,
    tasks,
    worker,
    workers,
    workflows,
)

app = typer.Typer(
    name="uno-jobs",
    help="Jobs in PostgreSQL: run workers, enqueue, look, and keep the schema.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"uno-jobs {version('uno-jobs')}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction] - typer keeps it
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Hold the options that stand before a command."""


app.command("dev")(dev.dev)
app.command("worker")(worker.worker)
app.add_typer(db.app, name="db")
app.command("enqueue")(enqueue.enqueue)
app.command("status")(status.status)
app.add_typer(jobs.app, name="jobs")
app.add_typer(workflows.app, name="workflows")
app.add_typer(prune.app, name="retention")
app.command("prune")(prune.prune)
app.command("explain")(explain.explain)
app.add_typer(queues.app, name="queues")
app.command("tasks")(tasks.tasks)
app.command("workers")(workers.workers)
app.command("doctor")(doctor.doctor)
app.command("check")(check.check)
app.command("config")(config.config)
app.command("bench")(bench.bench)
