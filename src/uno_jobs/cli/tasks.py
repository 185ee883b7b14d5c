"""``uno-jobs tasks``: what workers can run, or could once."""

from __future__ import annotations

from uno_jobs.cli import asking, options, output


def tasks(database_url: options.DatabaseUrl = None, schema: options.Schema = None, json: options.Json = False) -> None:
    """List the tasks that workers have recorded, and how many living workers can run each."""
    settings = options.settings(database_url=database_url, schema=schema)
    rows = asking.look(settings, lambda inspector: inspector.tasks())
    if json:
        output.write_json(rows)
        return
    output.write_table(
        ["task", "version", "queue", "parameters", "workers now", "last seen", "description"],
        [
            [
                row["task"],
                row["version"],
                row["options"].get("queue"),
                ", ".join(str(one.get("name")) for one in row["parameters"]),
                row["living_workers"],
                row["last_seen"],
                output.shorten(row["description"], 60),
            ]
            for row in rows
        ],
        empty="no worker has recorded a task yet; start one with 'uno-jobs worker --app myapp.tasks'",
    )
