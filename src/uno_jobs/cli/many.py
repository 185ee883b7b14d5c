"""Many jobs by a filter: ``uno-jobs jobs retry`` and ``cancel`` without ids, ``failed`` and ``export``."""

from __future__ import annotations

import json as json_
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uno_jobs.cli import asking, filters, moving, options, output
from uno_jobs.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from uno_jobs.settings import Settings
    from uno_jobs.storage.bulk import Bulk, Filter

    Mover = Callable[[Bulk, Sequence[UUID]], Awaitable[list[tuple[UUID, str, UUID | None]]]]

STATES = ("waiting", "scheduled", "ready", "running", "succeeded", "failed", "cancelled")
RETRYABLE = ("failed", "cancelled", "scheduled")
CANCELLABLE = ("waiting", "scheduled", "ready", "running")


def chosen(
    allowed: tuple[str, ...],
    default: tuple[str, ...],
    state: str | None,
    queue: str | None,
    task: str | None,
    error_type: str | None = None,
    since: str | None = None,
) -> Filter:
    """Return the filter that a command's options give."""
    from uno_jobs.storage.bulk import Filter

    length = None if since is None else filters.duration(since, "--since")
    states = filters.states(state, allowed, default)
    return Filter(states=states, queue=queue, task=task, error_type=error_type, since=length)


def move(
    settings: Settings, wanted: Filter, limit: int | None, mover: Mover, verb: str, *, dry: bool, yes: bool, json: bool
) -> None:
    """Move the jobs that match, in batches, and say of each that could not be moved why; or only count them."""
    if not dry and not yes:
        raise InvalidOption(f"this would {verb} every job that matches: look with --dry-run, then say --yes")
    counts: Counter[str] = Counter()
    refused: list[moving.Moved] = []

    async def work(bulk: Bulk) -> None:
        async for ids in bulk.find(wanted, limit):
            if dry:
                counts["matching"] += len(ids)
                continue
            for one in (moving.told(*answer) for answer in await mover(bulk, ids)):
                counts[one.answer] += 1
                if one.done:
                    continue
                if json:
                    refused.append(one)
                else:
                    output.write(f"{one.id}  {one.said}")

    filters.on_database(settings, work)
    if json:
        output.write_json({"dry_run": dry, "counts": counts, "refused": [one._asdict() for one in refused]})
    elif not counts:
        output.write("no jobs match")
    elif dry:
        output.write(f"would {verb} {counts['matching']:,} jobs")
    else:
        output.write(", ".join(f"{count:,} {answer}" for answer, count in counts.most_common()))
    if any(answer not in moving.GOOD for answer in counts if answer != "matching"):
        raise typer.Exit(1)


def failed(
    queue: filters.Queue = None,
    task: filters.Task = None,
    since: filters.Since = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many classes.")] = 50,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """List failed jobs by the class of their error and their task, with the latest of each."""
    length = None if since is None else filters.duration(since, "--since")
    settings = options.settings(database_url=database_url, schema=schema)
    rows = asking.look(
        settings, lambda inspector: inspector.failure_classes(queue=queue, task=task, since=length, limit=limit)
    )
    if json:
        output.write_json(rows)
        return
    output.write_table(
        ["jobs", "error", "task", "last", "latest job", "its message"],
        [
            [row["jobs"], row["error_type"], row["task"], row["last"], row["sample"], output.shorten(row["error"], 80)]
            for row in rows
        ],
        empty="no failed jobs match",
    )


def export(
    state: filters.States = None,
    queue: filters.Queue = None,
    task: filters.Task = None,
    error_type: filters.ErrorType = None,
    since: filters.Since = None,
    limit: filters.Limit = None,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
) -> None:
    """Write jobs as JSON, one a line, with arguments, results and attempts.  [failed ones]"""
    wanted = chosen(STATES, ("failed",), state, queue, task, error_type, since)

    async def work(bulk: Bulk) -> None:
        async for ids in bulk.find(wanted, limit):
            for job in await bulk.read(ids):
                output.write(json_.dumps(job))

    filters.on_database(options.settings(database_url=database_url, schema=schema), work)


def names(*given: Any) -> bool:
    """Whether an option of a filter was given."""
    return any(value is not None for value in given)
