"""``uno-jobs status``: queues with their jobs by state, living workers, what failed last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uno_jobs.cli import asking, options, output
from uno_jobs.cli.workers import write_workers

if TYPE_CHECKING:
    from uno_jobs.storage.inspection import Inspector, Row


def status(database_url: options.DatabaseUrl = None, schema: options.Schema = None, json: options.Json = False) -> None:
    """Show how many jobs are in which state, the workers, and the latest failures."""
    from uno_jobs.storage.inspection import STATES

    found = asking.look(options.settings(database_url=database_url, schema=schema), _ask)
    if json:
        output.write_json(found)
        return
    output.write_table(
        ["queue", *STATES, "paused"],
        [[row["queue"], *(row[state] for state in STATES), row["paused_at"]] for row in found["queues"]],
        title="Queues",
        empty="no jobs yet",
    )
    output.write()
    write_workers(found["workers"])
    output.write()
    output.write_table(
        ["failed at", "job", "task", "attempts", "error"],
        [
            [row["finished_at"], row["id"], row["task"], row["attempts"], describe_error(row)]
            for row in found["failures"]
        ],
        title="Latest failures",
        empty="none",
    )


def describe_error(row: Row) -> str:
    """Return a row's error in short."""
    parts = [part for part in (row["error_type"], row["error"]) if part]
    return output.shorten(": ".join(parts), 80)


async def _ask(inspector: Inspector) -> dict[str, list[Row]]:
    return {
        "queues": await inspector.queues(),
        "workers": await inspector.workers(),
        "failures": await inspector.failures(),
    }
