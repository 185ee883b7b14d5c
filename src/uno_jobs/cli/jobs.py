"""``uno-jobs jobs``: lists jobs, and shows all that is known of one."""

from __future__ import annotations

import enum
import json as json_
import uuid
from typing import TYPE_CHECKING, Annotated, Final

import typer

from uno_jobs.cli import asking, options, output
from uno_jobs.cli.status import describe_error
from uno_jobs.errors import InvalidOption, JobNotFound

if TYPE_CHECKING:
    from uno_jobs.storage.inspection import Row

app = typer.Typer(help="Jobs: list, show.", no_args_is_help=True)

FIELDS: Final = (
    *("id", "state", "task", "version", "queue", "priority", "attempt", "failures", "lost", "created_at"),
    *("scheduled_at", "next_attempt_at", "started_at", "finished_at", "expires_at", "worker_id", "unique_key"),
    *("workflow_id", "progress", "progress_message", "cancelled_because", "cancel_request"),
)


class State(enum.StrEnum):
    """The states of a job."""

    waiting = "waiting"
    scheduled = "scheduled"
    ready = "ready"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


@app.command("list")
def list_(
    state: Annotated[State | None, typer.Option("--state", help="Only those in this state.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="Only those of this queue.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="Only those of this task.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many.")] = 50,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """List jobs, those enqueued last first."""
    settings = options.settings(database_url=database_url, schema=schema)
    wanted = None if state is None else state.value
    rows = asking.look(settings, lambda inspector: inspector.jobs(state=wanted, queue=queue, task=task, limit=limit))
    if json:
        output.write_json(rows)
        return
    output.write_table(
        ["job", "state", "task", "queue", "attempt", "created", "finished", "error"],
        [
            [
                row["id"],
                row["state"],
                row["task"],
                row["queue"],
                row["attempt"],
                row["created_at"],
                row["finished_at"],
                describe_error(row),
            ]
            for row in rows
        ],
        empty="no such jobs",
    )


@app.command()
def show(
    job: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """Show all that is known of a job: arguments, attempts with their tracebacks, result."""
    try:
        id_ = uuid.UUID(job)
    except ValueError:
        raise InvalidOption(f"a job's id is a UUID, which {job!r} is not") from None
    settings = options.settings(database_url=database_url, schema=schema)
    found = asking.look(settings, lambda inspector: inspector.job(id_))
    if found is None:
        raise JobNotFound(f"there is no job {id_} in the schema {settings.schema!r}")
    if json:
        output.write_json(found)
    else:
        _write(found)


def _write(job: Row) -> None:
    output.write_fields({name: job[name] for name in FIELDS})
    for name in ("args", "kwargs", "metadata", "result"):
        if job[name] not in (None, [], {}):
            text = json_.dumps(job[name], indent=2, ensure_ascii=False)
            output.write(f"\n{name}:\n{output.printable(text)}")
    if job["error_type"] or job["error"]:
        output.write(f"\nerror: {output.printable(': '.join(filter(None, (job['error_type'], job['error']))))}")
    if job["attempts"]:
        output.write()
    for attempt in job["attempts"]:
        where = f"{attempt['hostname']} pid {attempt['pid']}" if attempt["hostname"] else attempt["worker_id"]
        output.write(
            f"attempt {attempt['attempt']}: {attempt['outcome']} after {attempt['seconds']:.3f} s, "
            f"started {output.cell(attempt['started_at'])} on {where}"
        )
        error = ": ".join(filter(None, (attempt["error_type"], attempt["error"])))
        if text := attempt["traceback"] or error:
            output.write("".join(f"    {line}\n" for line in output.printable(text).splitlines()).rstrip("\n"))
    for kind in ("parents", "children"):
        if job[kind]:
            output.write_table(
                ["job", "task", "state"],
                [[one["id"], one["task"], one["state"]] for one in job[kind]],
                title=f"\n{kind}",
            )
