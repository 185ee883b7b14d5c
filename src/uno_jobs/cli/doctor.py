"""``uno-jobs doctor``: what is wrong with the database, or soon will be, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uno_jobs.cli import asking, options, output

if TYPE_CHECKING:
    from uno_jobs.doctor import Finding, Report


def doctor(
    check: Annotated[
        list[str] | None, typer.Option("--check", metavar="NAME", help="Only this check; repeatable.  [all]")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit status 1 also for warnings and for what could not be looked at.")
    ] = False,
    pooled: options.Pooled = None,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """Examine the database: schema, server, workers, queues, vacuum, limits. It only reads.

    Exit status 0: no error (warnings are shown); 1: something is wrong; 2: it could not run.
    """
    with asking.or_could_not_run():
        from uno_jobs.doctor import Status, examine
        from uno_jobs.doctor.examination import as_document

        settings = options.settings(database_url=database_url, schema=schema, pooled=pooled)
        report = asking.run(examine(settings.database(), settings.schema, pooled=settings.pooled, checks=check or None))
    if json:
        output.write_json(as_document(report))
    else:
        _write(report)
    bad = {Status.ERROR, Status.WARNING, Status.UNKNOWN} if strict else {Status.ERROR}
    if any(one.status in bad for one in report.findings):
        raise typer.Exit(1)


def _write(report: Report) -> None:
    width = max(len(one.check) for one in report.findings)
    for one in report.findings:
        _write_finding(one, width)


def _write_finding(one: Finding, width: int) -> None:
    output.write(f"{one.status.value:<7}  {one.check:<{width}}  {output.printable(one.seen)}")
    if one.advice is not None:
        output.write(f"{'':7}  {'':{width}}  → {output.printable(one.advice)}")
