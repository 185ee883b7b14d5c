"""``uno-jobs jobs``: lists jobs, shows all that is known of one, cancels and retries."""

from __future__ import annotations

import enum
import json as json_
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final

import typer

from uno_jobs.cli import asking, filters, many, moving, options, output
from uno_jobs.cli.status import describe_error
from uno_jobs.errors import InvalidOption, JobNotFound

if TYPE_CHECKING:
    from uno_jobs.storage.inspection import Row

app = typer.Typer(help="Jobs: list, show, cancel, retry.", no_args_is_help=True)

FIELDS: Final = (
    *("id", "state", "task", "version", "queue", "priority", "attempt", "failures", "lost", "created_at"),
    *("scheduled_at", "next_attempt_at", "started_at", "finished_at", "expires_at", "worker_id", "unique_key"),
    *("workflow_id", "progress", "progress_message", "cancelled_because", "cancel_request"),
)

RELATIVES: Final = 20
"""Most parents, and most children, that are named one by one."""

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID…]", help="The jobs' ids; without any, those that match.")]


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
    """Show all that is known of a job: arguments, attempts with their tracebacks, result, parents and children."""
    id_ = parse_id(job)
    settings = options.settings(database_url=database_url, schema=schema)
    found = asking.look(settings, lambda inspector: inspector.job(id_))
    if found is None:
        raise JobNotFound(f"there is no job {id_} in the schema {settings.schema!r}")
    if json:
        output.write_json(found)
    else:
        _write(found)


@app.command()
def cancel(
    jobs: Ids = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept with the job.")] = None,
    state: filters.States = None,
    queue: filters.Queue = None,
    task: filters.Task = None,
    since: filters.Since = None,
    limit: filters.Limit = None,
    dry_run: filters.DryRun = False,
    yes: filters.Yes = False,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """Cancel jobs: what has not started ends at once, what runs is asked to stop."""
    from uno_jobs.queue.moves import parse_reason

    why = parse_reason(reason)
    ids = _parse_ids(jobs, by_filter=many.names(state, queue, task, since, limit) or dry_run)
    settings = options.settings(database_url=database_url, schema=schema)
    if not ids:
        wanted = many.chosen(many.CANCELLABLE, many.CANCELLABLE, state, queue, task, since=since)
        many.move(
            settings, wanted, limit, lambda bulk, found: bulk.cancel(found, why, notify=settings.notify), "cancel",
            dry=dry_run, yes=yes, json=json,
        )  # fmt: skip
        return
    _report(moving.move(settings, ids, lambda schema, id_, notify: moving.cancel(schema, id_, why, notify)), json)


@app.command()
def retry(
    jobs: Ids = None,
    state: filters.States = None,
    queue: filters.Queue = None,
    task: filters.Task = None,
    error_type: filters.ErrorType = None,
    since: filters.Since = None,
    limit: filters.Limit = None,
    dry_run: filters.DryRun = False,
    yes: filters.Yes = False,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """Retry jobs: what failed or was cancelled begins anew, what is scheduled is due now. By a filter: failed ones."""
    ids = _parse_ids(jobs, by_filter=many.names(state, queue, task, error_type, since, limit) or dry_run)
    settings = options.settings(database_url=database_url, schema=schema)
    if not ids:
        wanted = many.chosen(many.RETRYABLE, ("failed",), state, queue, task, error_type, since)
        many.move(
            settings, wanted, limit, lambda bulk, found: bulk.retry(found, notify=settings.notify), "retry",
            dry=dry_run, yes=yes, json=json,
        )  # fmt: skip
        return
    _report(moving.move(settings, ids, moving.retry), json)


def _report(moved: list[moving.Moved], json: bool) -> None:
    """Write what became of each job; the exit status is 1 unless all were moved."""
    if json:
        output.write_json([one._asdict() for one in moved])
    else:
        for one in moved:
            output.write(f"{one.id}  {one.said}")
    if not all(one.done for one in moved):
        raise typer.Exit(1)


app.command("failed")(many.failed)
app.command("export")(many.export)


def _parse_ids(jobs: list[str] | None, *, by_filter: bool) -> list[uuid.UUID]:
    """Return the ids, each once, in order; none where a filter is given."""
    if not jobs and not by_filter:
        raise InvalidOption("name jobs by their ids, or by a filter such as --task, --queue or --state")
    if jobs and by_filter:
        raise InvalidOption("jobs are named by their ids or by a filter, not by both")
    return [] if not jobs else list(dict.fromkeys(parse_id(job) for job in jobs))


def parse_id(job: str) -> uuid.UUID:
    """Return a job's id.

    Raises:
        InvalidOption: It is not a UUID.
    """
    try:
        return uuid.UUID(job)
    except ValueError:
        raise InvalidOption(f"a job's id is a UUID, which {job!r} is not") from None


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
        if late := attempt["error_after_commit"]:
            output.write(f"    error after the commit: {output.printable(late)}")
    for kind in ("parents", "children"):
        _write_relatives(kind, job[kind])
    if job["workflow_id"] is not None:
        output.write(f"\nthe whole workflow: uno-jobs workflows show {job['workflow_id']}")


def _write_relatives(kind: str, found: list[Row]) -> None:
    """Write a table of parents or children; of many, those that failed before others, and how many more there are."""
    if not found:
        return
    chosen = sorted(found, key=lambda one: one["state"] != "failed")[:RELATIVES]
    output.write_table(
        ["job", "task", "state"],
        [[one["id"], one["task"] or "(a group's results, joined)", one["state"]] for one in chosen],
        title=f"\n{kind}",
    )
    if more := len(found) - len(chosen):
        counts = Counter(one["state"] for one in found)
        said = ", ".join(f"{counts[state]:,} {state}" for state in State if counts[state])
        output.write(f"… and {more:,} more; of all {len(found):,}: {said}")
