"""``uno-jobs prune``: removes finished jobs by hand. ``uno-jobs retention``: for how long they are kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uno_jobs.cli import asking, filters, options, output
from uno_jobs.errors import InvalidOption

if TYPE_CHECKING:
    from uno_jobs.storage.bulk import Bulk

FINAL = ("succeeded", "failed", "cancelled")

app = typer.Typer(help="Rules: for how long finished jobs are kept.", no_args_is_help=True)


def prune(
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", help="Those that ended longer ago than 7d, 12h, …  [what the rules no longer keep]"
        ),
    ] = None,
    state: filters.States = None,
    queue: filters.Queue = None,
    task: filters.Task = None,
    dry_run: filters.DryRun = False,
    yes: filters.Yes = False,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """Remove finished jobs; a workflow's only when all of them match."""
    from uno_jobs.storage.bulk import Filter

    wanted = Filter(states=filters.states(state, FINAL, FINAL), queue=queue, task=task)
    age = None if older_than is None else filters.duration(older_than, "--older-than")
    if not dry_run and not yes:
        raise InvalidOption("this removes jobs for good: look with --dry-run, then say --yes")

    async def work(bulk: Bulk) -> dict[str, int]:
        done: dict[str, int] = {}
        async for done in bulk.prune(age, wanted, dry=dry_run):
            if not json and sys.stderr.isatty():
                sys.stderr.write(f"\r{done['walked']:,} jobs looked at, {sum(done[s] for s in FINAL):,} removed")
        return dict(done)

    settings = options.settings(database_url=database_url, schema=schema)
    done = filters.on_database(settings, work)
    if not json and sys.stderr.isatty():
        sys.stderr.write("\n")
    if json:
        output.write_json({"dry_run": dry_run, **done})
        return
    removed = sum(done[name] for name in FINAL)
    if removed == 0:
        output.write("no finished jobs match")
    else:
        counts = ", ".join(f"{done[name]:,} {name}" for name in FINAL if done[name])
        output.write(f"{'would remove' if dry_run else 'removed'} {removed:,} jobs: {counts}")
    if done["kept"]:
        output.write(f"{done['kept']:,} are kept: their workflow is not over, or others wait for them")


@app.command("list")
def list_(database_url: options.DatabaseUrl = None, schema: options.Schema = None, json: options.Json = False) -> None:
    """Show the rules."""
    settings = options.settings(database_url=database_url, schema=schema)
    rows = asking.look(settings, lambda inspector: inspector.retention())
    if json:
        output.write_json(rows)
        return
    output.write_table(
        ["for", "name", "ended as", "kept for"],
        [[row["scope"], row["name"], row["state"], _spoken(row["keep"])] for row in rows],
    )


@app.command("set")
def set_(
    keep: Annotated[str, typer.Argument(help="Such as 12h, 7d or 'forever'.")],
    state: Annotated[str, typer.Option("--state", help="How they ended; several are separated by commas.")],
    queue: filters.Queue = None,
    task: filters.Task = None,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
) -> None:
    """Set for how long jobs are kept: those of a queue or a task, or by default all."""
    length = None if keep == "forever" else filters.duration(keep, "a time to keep jobs")
    states = filters.states(state, FINAL, FINAL)
    settings = options.settings(database_url=database_url, schema=schema)
    filters.on_database(settings, lambda bulk: bulk.set_retention(states, length, queue, task))
    output.write(f"{', '.join(states)}: kept {'for ever' if length is None else f'for {keep}'}")


@app.command()
def unset(
    state: Annotated[
        str | None, typer.Option("--state", help="Only the rule for those that ended so; several as for set.")
    ] = None,
    queue: filters.Queue = None,
    task: filters.Task = None,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
) -> None:
    """Remove the rules of a queue or a task."""
    states = None if state is None else filters.states(state, FINAL, FINAL)
    settings = options.settings(database_url=database_url, schema=schema)
    removed = filters.on_database(settings, lambda bulk: bulk.unset_retention(states, queue, task))
    output.write(f"removed {removed} rules" if removed else "there are no such rules")


def _spoken(keep: Any) -> str:
    if keep is None:
        return "for ever"
    return f"{keep.days} d" if keep.seconds == 0 and keep.days else output.ago(keep.total_seconds())
