"""``uno-jobs check``: before a deploy, which unfinished jobs the code at hand could not run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uno_jobs.cli import asking, options, output
from uno_jobs.cli.line import Line
from uno_jobs.errors import ConfigurationError

if TYPE_CHECKING:
    from uno_jobs.deploy import Problem, Report

_CHOICES = (
    "Give the task's new version upgrade_from for the old one, keep the old one until its jobs are done, "
    "or cancel what nobody needs (uno-jobs jobs cancel)."
)


def check(
    app: options.App = None,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", metavar="NAME", help="Only jobs in this queue; repeatable.  [all]")
    ] = None,
    known_only: Annotated[
        bool,
        typer.Option("--known-only", help="Leave out tasks that this code does not have: they are another program's."),
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after so many jobs, the oldest.")] = None,
    pooled: options.Pooled = None,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """Before a deploy: load the arguments of all unfinished jobs with this code, and say which would not run.

    It only reads. Exit status 0: all would run; 1: some would not; 2: it could not run.
    """
    with asking.or_could_not_run():
        from uno_jobs.deploy import check_jobs
        from uno_jobs.tasks.discovery import discover_tasks

        settings = options.settings(app=app, database_url=database_url, schema=schema, pooled=pooled)
        url = settings.database()
        if not settings.app:
            raise ConfigurationError(
                "no tasks: name the modules that have them, as in 'uno-jobs check --app myapp.tasks' (or UNO_JOBS_APP)"
            )
        sys.path.insert(0, str(Path.cwd()))  # as a worker does
        discover_tasks(list(settings.app))
        line = Line()

        def progress(checked: int, failing: int) -> None:
            line.show(f"{checked:,} jobs checked{f', {failing:,} would not run' if failing else ''}")

        work = check_jobs(
            url, settings.schema, queues=queue or None, known_only=known_only, limit=limit, pooled=settings.pooled,
            progress=None if json else progress,
        )  # fmt: skip
        try:
            report = asking.run(work)
        finally:
            line.end()
    _write(report, json=json)
    if report.problems:
        raise typer.Exit(1)


def _write(report: Report, *, json: bool) -> None:
    if json:
        from uno_jobs.deploy.report import as_document

        output.write_json(as_document(report))
        return
    for one in report.problems:
        _write_problem(one)
    jobs = f"{report.checked:,} unfinished {'job' if report.checked == 1 else 'jobs'}"
    if report.problems:
        output.write(f"\n{report.failing:,} of {jobs} would not run with this code. {_CHOICES}")
    elif report.checked:
        output.write(f"{jobs} checked: nothing stands in their way with this code")
    else:
        output.write("there are no unfinished jobs to check")
    if report.left_out:
        output.write(f"left out: {report.left_out:,} of tasks that this code does not have")
    if not report.complete:
        output.write("there are more jobs: --limit ended the check")


def _write_problem(one: Problem) -> None:
    fate = "would fail" if one.kind.value in ("arguments", "definition") else "would stay"
    examples = ", ".join(str(id_) for id_ in one.examples)
    jobs = f"{one.jobs:,} {'job' if one.jobs == 1 else 'jobs'}"
    error = f"{one.error_type}: {one.reason}" if one.error_type else one.reason
    output.write(f"{fate}  {output.printable(f'{one.task}@{one.version}')}: {jobs}")
    output.write(f"            {output.printable(' '.join(error.split()))}")
    output.write(f"            such as {examples}")
