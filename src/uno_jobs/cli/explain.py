"""``uno-jobs explain``: one sentence, made in the database, why a job is where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uno_jobs.cli import asking, options, output
from uno_jobs.cli.jobs import parse_id
from uno_jobs.errors import JobNotFound

if TYPE_CHECKING:
    from uuid import UUID

    from uno_jobs.storage.inspection import Inspector, Row


def explain(
    job: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """Say in one sentence why a job is where it is."""
    id_ = parse_id(job)
    settings = options.settings(database_url=database_url, schema=schema)
    facts = asking.look(settings, lambda inspector: _ask(inspector, id_))
    if json:
        output.write_json(facts)
    else:
        output.write(output.printable(f"{facts['state']}: {facts['sentence']}"))


async def _ask(inspector: Inspector, id_: UUID) -> Row:
    import asyncpg

    try:
        return await inspector.explain(id_)
    except asyncpg.NoDataFoundError as error:
        raise JobNotFound(asking.said(error)) from error
