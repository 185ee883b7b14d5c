"""``uno-jobs queues``: lists queues, pauses, resumes and weighs them, waits until one is empty, empties one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from uno_jobs.cli import asking, draining, options, output
from uno_jobs.cli.status import describe_pause
from uno_jobs.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeVar

    from uno_jobs.queue import Queue
    from uno_jobs.settings import Settings

    T = TypeVar("T")

app = typer.Typer(help="Queues: list, pause, resume, drain, purge, weight.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.")]
Create = Annotated[bool, typer.Option("--create", help="Also where nothing names the queue yet.")]


@app.command("list")
def list_(database_url: options.DatabaseUrl = None, schema: options.Schema = None, json: options.Json = False) -> None:
    """List the queues: those with unfinished jobs, with settings, or served by a living worker."""
    rows = asking.look(
        options.settings(database_url=database_url, schema=schema), lambda inspector: inspector.queue_list()
    )
    if json:
        output.write_json(rows)
        return
    output.write_table(
        ["queue", "waiting", "scheduled", "ready", "running", "weight", "workers", "oldest ready", "paused"],
        [
            [
                row["queue"],
                *(output.count(row[state]) for state in ("waiting", "scheduled", "ready", "running")),
                row["weight"],
                row["workers"],
                output.ago(row["oldest_ready_seconds"]),
                describe_pause(row),
            ]
            for row in rows
        ],
        empty="no queues yet",
    )


@app.command()
def pause(
    queue: Name,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept with the queue.")] = None,
    create: Create = False,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
) -> None:
    """Let workers take nothing more from a queue; what runs goes on."""
    settings = options.settings(database_url=database_url, schema=schema)
    paused = _steer(settings, lambda it: it.pause_queue(queue, reason, create=create))
    output.write(f"{queue} is paused" if paused else f"{queue} was paused already; nothing was changed")


@app.command()
def resume(queue: Name, database_url: options.DatabaseUrl = None, schema: options.Schema = None) -> None:
    """Let workers take from a paused queue again."""
    settings = options.settings(database_url=database_url, schema=schema)
    resumed = _steer(settings, lambda it: it.resume_queue(queue))
    output.write(f"{queue} is resumed" if resumed else f"{queue} was not paused; nothing was changed")


@app.command()
def weight(
    queue: Name,
    share: Annotated[int, typer.Argument(metavar="WEIGHT", help="1 to 100; 1 unless set.")],
    create: Create = False,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
) -> None:
    """Give a queue its share of each worker's free slots, beside other queues that have work."""
    settings = options.settings(database_url=database_url, schema=schema)
    _steer(settings, lambda it: it.set_queue_weight(queue, share, create=create))
    output.write(f"{queue} has weight {share}")


@app.command()
def drain(
    queue: Name,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Give up after so many seconds; exit status 1.")
    ] = None,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
) -> None:
    """Wait until nothing of a queue runs or is ready or due. Of a paused queue: until nothing runs."""
    settings = options.settings(database_url=database_url, schema=schema)
    if not asking.run(draining.drain(settings, settings.database(), queue, timeout)):
        raise typer.Exit(1)


@app.command()
def purge(
    queue: Name,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept with each job.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many jobs it would be.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """Cancel all jobs of a queue that do not run. They stay to be seen, as cancelled."""
    settings = options.settings(database_url=database_url, schema=schema)
    if dry_run or not yes:
        found = _steer(settings, lambda it: it.count_purgeable(queue))
        if dry_run:
            if json:
                output.write_json({"queue": queue, "would_cancel": found})
            else:
                output.write(f"{found:,} jobs of {queue} would be cancelled; nothing was changed")
            return
        _ask(f"Cancel {found:,} jobs of {queue}?")
    purged = _steer(settings, lambda it: it.purge_queue(queue, reason))
    if json:
        output.write_json({"queue": queue, "cancelled": purged})
    else:
        output.write(
            f"{purged:,} jobs of {queue} were cancelled" if purged else f"nothing of {queue} was to be cancelled"
        )


def _ask(question: str) -> None:
    import sys

    if not sys.stdin.isatty():
        raise InvalidOption("nobody is there to be asked: say --yes, or --dry-run to see how many it would be")
    typer.confirm(question, abort=True)


def _steer(settings: Settings, what: Callable[[Queue], Coroutine[Any, Any, T]]) -> T:
    from uno_jobs.queue import Queue

    async def work() -> T:
        async with Queue(
            settings.database(), schema=settings.schema, notify=settings.notify, pooled=settings.pooled
        ) as queue:
            return await what(queue)

    return asking.run(work())
