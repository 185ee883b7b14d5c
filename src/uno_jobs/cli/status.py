"""``uno-jobs status``: queues with their jobs by state, living workers, what failed last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uno_jobs.cli import asking, options, output
from uno_jobs.cli.workers import write_workers

if TYPE_CHECKING:
    from uno_jobs.storage.inspection import Inspector, Row


def status(database_url: options.DatabaseUrl = None, schema: options.Schema = None, json: options.Json = False) -> None:
    """Show how many jobs are in which state, the workers, and the latest failures."""
    from uno_jobs.storage.inspection import FINAL, STATES

    found = asking.look(options.settings(database_url=database_url, schema=schema), _ask)
    if json:
        output.write_json(found)
        return
    output.write_table(
        ["queue", *STATES, "paused"],
        [
            [
                row["queue"],
                *(
                    output.count(row[state], estimated=row["finished_estimated"] and state in FINAL and row[state] > 0)
                    for state in STATES
                ),
                describe_pause(row),
            ]
            for row in found["queues"]
        ],
        title="Queues (finished: within the last hour)",
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


def describe_pause(row: Row) -> str:
    """Return since when, by whom and why a queue is paused, or nothing."""
    if row["paused_at"] is None:
        return ""
    why = f": {row['pause_reason']}" if row["pause_reason"] else ""
    return output.shorten(f"since {output.cell(row['paused_at'])} by {row['paused_by']}{why}", 80)


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
