"""``uno-jobs workers``: the worker processes, where they run and what they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uno_jobs.cli import asking, options, output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uno_jobs.storage.inspection import Row


def workers(
    past: Annotated[bool, typer.Option("--all", help="Also those that stopped or died.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 200,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """List the worker processes."""
    settings = options.settings(database_url=database_url, schema=schema)
    rows = asking.look(settings, lambda inspector: inspector.workers(past=past, limit=limit))
    if json:
        output.write_json(rows)
    else:
        write_workers(rows)


def write_workers(rows: Sequence[Row]) -> None:
    """Write a table of workers."""
    output.write_table(
        ["worker", "state", "host", "pid", "queues", "running", "slots", "started", "last beat", "cause"],
        [
            [
                row["id"],
                row["state"],
                row["hostname"],
                row["pid"],
                ", ".join(row["queues"]),
                row["running"],
                row["concurrency"],
                row["started_at"],
                output.ago(row["seconds_since_beat"]) + " ago",
                row["cause"],
            ]
            for row in rows
        ],
        title="Workers",
        empty="none; start one with 'uno-jobs worker --app myapp.tasks'",
    )
