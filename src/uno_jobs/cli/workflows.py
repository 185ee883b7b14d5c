"""``uno-jobs workflows``: lists workflows, shows one as a tree or as a diagram."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from uno_jobs.cli import asking, options, output

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from uno_jobs.queue.queue import Queue
    from uno_jobs.queue.workflow_status import WorkflowGraph, WorkflowState, WorkflowStatus
    from uno_jobs.settings import Settings

app = typer.Typer(help="Workflows (chains and groups): list, show.", no_args_is_help=True)

EVERY: Final = 0.5
"""Seconds between two looks of --watch."""


class State(enum.StrEnum):
    """The states of a workflow."""

    waiting = "waiting"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"


@app.command("list")
def list_(
    state: Annotated[
        State | None, typer.Option("--state", help="Only those in this state, among the newest 10,000.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many.")] = 20,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """List workflows, the newest first."""
    settings = options.settings(database_url=database_url, schema=schema)
    wanted: WorkflowState | None = None if state is None else state.value
    found = _ask(settings, lambda queue: queue.workflows(limit=limit, state=wanted))
    if json:
        output.write_json([dataclasses.asdict(one) for one in found])
    else:
        _write_list(found)


@app.command()
def show(
    workflow: Annotated[str, typer.Argument(metavar="ID", help="The workflow's id, or that of any job in it.")],
    mermaid: Annotated[bool, typer.Option("--mermaid", help="A mermaid flowchart instead of a tree.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show the tree again and again, until all has ended.")] = False,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """Show a workflow: its steps in order, with their states, durations and errors."""
    from uno_jobs.errors import InvalidOption

    if mermaid + watch + json > 1:
        raise InvalidOption("--json, --mermaid and --watch exclude each other")
    settings = options.settings(database_url=database_url, schema=schema)
    if watch:
        _ask(settings, lambda queue: _watch(queue, workflow))
        return
    graph = _ask(settings, lambda queue: queue.workflow_graph(workflow))
    if json:
        output.write_json(_document(graph))
    elif mermaid:
        from uno_jobs.cli.mermaid import flowchart

        output.write(flowchart(graph).rstrip("\n"))
    else:
        from uno_jobs.cli.tree import tree

        output.console().print(tree(graph))


def _ask(settings: Settings, question: Callable[[Queue], Coroutine[Any, Any, Any]]) -> Any:
    """Ask what a program could ask as well."""
    from uno_jobs.queue.queue import Queue

    url = settings.database()

    async def ask() -> Any:
        async with Queue(url, schema=settings.schema, pooled=settings.pooled) as queue:
            return await question(queue)

    return asking.run(ask())


async def _watch(queue: Queue, workflow: str) -> None:
    """Show a workflow until it has ended; where nobody watches a screen, how it ended."""
    import asyncio

    from rich.live import Live

    from uno_jobs.cli.tree import tree

    graph = await queue.workflow_graph(workflow)
    with Live(tree(graph), console=output.console(), auto_refresh=False, vertical_overflow="crop") as live:
        while not graph.status.is_finished:
            await asyncio.sleep(EVERY)
            graph = await queue.workflow_graph(graph.status.workflow_id)
            live.update(tree(graph), refresh=True)
        # What a screen has no room for is there to scroll back to at the end.
        live.vertical_overflow = "visible"


def _document(graph: WorkflowGraph) -> dict[str, Any]:
    """Return a workflow as JSON has it: the row of ``workflow_status`` and its steps."""
    return {**dataclasses.asdict(graph.status), "steps": [dataclasses.asdict(step) for step in graph.steps]}


def _write_list(found: list[WorkflowStatus]) -> None:
    output.write_table(
        ["workflow", "state", "steps", "ended %", "running", "failed", "created", "started", "finished", "error"],
        [
            [
                one.workflow_id,
                one.state,
                one.jobs,
                one.percent,
                one.running,
                one.failed,
                one.created_at,
                one.started_at,
                one.finished_at,
                output.shorten(": ".join(part for part in (one.failed_task, one.error_type, one.error) if part), 80),
            ]
            for one in found
        ],
        empty="no such workflows",
    )
