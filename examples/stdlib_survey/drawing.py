"""The second half of the demo: enqueue the workflow, watch it as a tree, and tell what it found."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from examples.stdlib_survey import screen
from examples.stdlib_survey.worker import worker
from examples.stdlib_survey.workflow import SHARES, Findings, import_graph

from uno_jobs import Queue
from uno_jobs.cli.tree import tree

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncEngine

WORKER_OPTIONS = "--app examples.stdlib_survey.workflow --queue survey --child-processes 2"


async def draw_library(engine: AsyncEngine, url: str, output: Path, limit: int | None) -> Findings:
    """Run the workflow; returns what its last step did, once its files are in the folder ``output``.

    Raises:
        JobFailed: A step failed.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    screen.step("A workflow: what the standard library's modules import, as a picture")
    screen.say(f"chain(find_modules, group of {SHARES} parse_modules, draw_imports), enqueued in one transaction")
    screen.say(f"uno-jobs worker {WORKER_OPTIONS}")
    async with Queue(engine) as queue:
        workflow = import_graph(output, f"What the standard library of Python {version} stands on", limit=limit)
        handle = await queue.enqueue(workflow)
        with worker(url, WORKER_OPTIONS) as process:
            await _watch(queue, handle.id, process)
        return Findings.model_validate(await handle.result(timeout=1))


async def _watch(queue: Queue, job_id: UUID, process: subprocess.Popen[bytes]) -> None:
    """Show the workflow until it has ended, or its worker has."""
    with screen.live("steps done") as show:
        while True:
            ended = process.poll() is not None
            graph = await queue.workflow_graph(job_id)
            status = graph.status
            show(tree(graph, ids=False), status.succeeded + status.failed + status.cancelled, status.jobs)
            if status.is_finished or ended:
                return
            await asyncio.sleep(0.1)


def tell(findings: Findings) -> None:
    """Print what is the same each time for the same library."""
    screen.step("What was found")
    screen.say(f"{findings.modules:,} modules of {findings.lines:,} lines, {findings.edges:,} imports between them")
    screen.say("most imported: " + ", ".join(f"{name} ({number})" for name, number in findings.most_imported))
    if findings.largest_cycle:
        screen.say("largest circle of modules that load each other: " + ", ".join(findings.largest_cycle))
    for name, error in findings.unparsed.items():
        screen.say(f"could not be parsed: {name}: {error}")
    screen.say(f"the picture:   {os.path.relpath(findings.svg)}   (open it in a browser)")
    screen.say(f"for Graphviz:  {os.path.relpath(findings.dot)}")
