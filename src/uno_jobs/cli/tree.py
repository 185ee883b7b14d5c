"""A workflow as a tree for the terminal: steps in order, groups with their members, large ones folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text
from rich.tree import Tree

from uno_jobs.cli import output
from uno_jobs.cli.shape import FOLDED, NAMED, ChainShape, GroupShape, runs, shape, shown

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from uno_jobs.queue.queue import Queue
    from uno_jobs.queue.status import JobState
    from uno_jobs.queue.workflow_status import WorkflowGraph, WorkflowStatus, WorkflowStep

SYMBOLS: Final[Mapping[JobState, str]] = {
    "succeeded": "✓",
    "failed": "✗",
    "cancelled": "⊘",
    "running": "▶",
    "ready": "○",
    "scheduled": "◷",
    "waiting": "·",
}
STYLES: Final[Mapping[JobState, str]] = {
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "magenta",
    "running": "bold cyan",
    "ready": "yellow",
    "scheduled": "yellow",
    "waiting": "dim",
}


async def draw(queue: Queue, workflow_id: UUID | str, *, ids: bool = True, fold: int = FOLDED) -> Tree:
    """Read a workflow, by its id or a job's, and return it as ``tree`` does.

    Raises:
        WorkflowNotFound, InvalidOption, DatabaseError: As ``queue.workflow_graph``.
    """
    return tree(await queue.workflow_graph(workflow_id), ids=ids, fold=fold)


def tree(graph: WorkflowGraph, *, ids: bool = True, fold: int = FOLDED) -> Tree:
    """Return a workflow as something that rich prints.

    Args:
        graph: The workflow, as it stood at one moment.
        ids: Whether each step shows its job's id; a failed one always does.
        fold: Groups of more members are folded; those that failed are shown all the same.
    """
    root = Tree(headline(graph.status, graph.read_at), guide_style="dim")
    _Drawer(graph, ids=ids, fold=fold).draw(root, shape(graph.steps))
    return root


def headline(status: WorkflowStatus, now: datetime) -> Text:
    """Return a workflow's own line: its state, how far it is, for how long it has been running."""
    line = _badge(status.state, f"workflow {status.workflow_id}")
    done = status.succeeded + status.failed + status.cancelled
    line.append(f"  {done:,} of {status.jobs:,} steps, {status.percent:g} %")
    if status.started_at is not None:
        line.append(f"  {duration(((status.finished_at or now) - status.started_at).total_seconds())}", "dim")
    if status.failed and status.state == "running":
        line.append(f"  {status.failed:,} failed", STYLES["failed"])
    return line


def duration(seconds: float) -> str:
    """Return a duration as a person reads it, such as ``120 ms``, ``3.2 s`` or ``2 h 5 min``."""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def counted(states: Counter[JobState]) -> Text:
    """Return how many are in which state, in words."""
    parts = [Text(f"{states[state]:,} {state}", STYLES[state]) for state in SYMBOLS if states[state]]
    return Text(", ").join(parts)


class _Drawer:
    def __init__(self, graph: WorkflowGraph, *, ids: bool, fold: int) -> None:
        self._now = graph.read_at
        self._ids = ids
        self._fold = fold
        self._tasks = {step.id: step.task for step in graph.steps}

    def draw(self, node: Tree, chain: ChainShape) -> None:
        """Add a chain's steps and groups to a node, one after the other."""
        for part in runs(chain):
            if isinstance(part, list):
                first, last = self._name(part[0]), self._name(part[-1])
                node.add(_badge(part[0].state, f"{len(part):,} steps, {first} to {last}"))
            else:
                self._part(node, part)

    def _part(self, node: Tree, part: WorkflowStep | GroupShape) -> None:
        if not isinstance(part, GroupShape):
            node.add(self._step(part))
            return
        label = Text(f"group of {len(part.members):,}: ").append_text(counted(part.members_by_state))
        group = node.add(label)
        for member in shown(part.members, self._fold):
            self._member(group, member)
        if len(part.members) > self._fold and (more := part.members_by_state["failed"] - NAMED["failed"]) > 0:
            group.add(Text(f"… and {more:,} more that failed", STYLES["failed"]))

    def _member(self, group: Tree, member: ChainShape) -> None:
        if not member.parts:
            group.add(_badge("succeeded", "group of 0"))
        elif len(member.parts) == 1:
            self._part(group, member.parts[0])
        else:
            label = Text(f"chain of {len(member.parts):,}: ").append_text(counted(member.states))
            self.draw(group.add(label), member)

    def _step(self, step: WorkflowStep) -> Text:
        line = _badge(step.state, self._name(step))
        if step.started_at is not None:
            end = step.finished_at or (self._now if step.state == "running" else None)
            if end is not None:
                line.append(f"  {duration((end - step.started_at).total_seconds())}", "dim")
        if step.progress is not None:
            line.append(f"  {step.progress * 100:.0f} %", STYLES["running"])
            if step.progress_message:
                line.append(f" {output.shorten(output.printable(step.progress_message), 60)}")
        if step.next_attempt_at is not None:
            line.append(f"  due in {duration((step.next_attempt_at - self._now).total_seconds())}", "dim")
        if step.attempt > 1:
            line.append(f"  attempt {step.attempt}", "dim")
        if self._ids or step.state == "failed":
            line.append(f"  {step.id}", "dim")
        if why := self._why(step):
            line.append(f"\n  {why}", STYLES["failed"] if step.state == "failed" else "dim")
        return line

    def _why(self, step: WorkflowStep) -> str:
        """Return why a step ended as it did, on one line."""
        if step.cancelled_because is not None:
            task = self._tasks.get(step.cancelled_because)
            return f"because of {output.cell(task)} ({step.cancelled_because})" if task else ""
        return output.shorten(output.printable(": ".join(part for part in (step.error_type, step.error) if part)), 160)

    def _name(self, step: WorkflowStep) -> str:
        return output.cell(step.task)


def _badge(state: JobState, name: str) -> Text:
    return Text.assemble((SYMBOLS[state], STYLES[state]), f" {name}  ", (state, STYLES[state]))
