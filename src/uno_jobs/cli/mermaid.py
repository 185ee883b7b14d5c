"""A workflow as a mermaid flowchart: one box a step, one arrow an edge, the states as classes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from uno_jobs.cli import output
from uno_jobs.cli.shape import ChainShape, GroupShape, runs, shape, shown, summarise, walk
from uno_jobs.cli.tree import SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from uuid import UUID

    from uno_jobs.queue.status import JobState
    from uno_jobs.queue.workflow_status import WorkflowGraph, WorkflowStep

COLOURS: Final[Mapping[JobState, str]] = {
    "succeeded": "fill:#d7f5dd,stroke:#2b8a3e,color:#1b4d2a",
    "failed": "fill:#ffd8d8,stroke:#c92a2a,color:#7a1414",
    "cancelled": "fill:#f3e2f7,stroke:#862e9c,color:#4a1a57",
    "running": "fill:#d6efff,stroke:#1971c2,color:#0b3b66",
    "ready": "fill:#fff3cd,stroke:#e67700,color:#663c00",
    "scheduled": "fill:#fff3cd,stroke:#e67700,color:#663c00,stroke-dasharray:4",
    "waiting": "fill:#f1f3f5,stroke:#868e96,color:#343a40",
}
LABEL: Final = 80
"""Longest label, in characters."""


def flowchart(graph: WorkflowGraph) -> str:
    """Return the text of the diagram. Joins are circles; what the tree folds is one box here too."""
    return "\n".join(_Chart(graph).lines()) + "\n"


class _Chart:
    """The boxes by name, and which of them each step is in."""

    def __init__(self, graph: WorkflowGraph) -> None:
        self._graph = graph
        self._boxes: dict[str, tuple[str, JobState]] = {}
        self._box_of: dict[UUID, str] = {}
        self._folded: set[str] = set()
        self._chain(shape(graph.steps))
        for step in graph.steps:
            if step.task is None:
                self._join(step)

    def lines(self) -> Iterator[str]:
        """Yield the diagram's lines."""
        yield "flowchart TD"
        for name, (box, state) in self._boxes.items():
            yield f"    {name}{box}:::{state}"
        edges = {
            (self._box_of[parent], self._box_of[step.id]): None
            for step in self._graph.steps
            for parent in step.parents
            if parent in self._box_of
        }
        for start, end in edges:
            if start != end:
                yield f"    {start} --> {end}"
        present = {state for _, state in self._boxes.values()}
        for state, style in COLOURS.items():
            if state in present:
                yield f"    classDef {state} {style}"

    def _chain(self, chain: ChainShape) -> None:
        for part in runs(chain):
            if isinstance(part, GroupShape):
                self._group(part)
            elif isinstance(part, list):
                label = f"{len(part):,} steps, {part[0].task} to {part[-1].task}"
                self._fold(label, part[0].state, part)
            else:
                self._add(f'["{SYMBOLS[part.state]} {_label(part.task)}"]', part.state, [part])

    def _group(self, group: GroupShape) -> None:
        alone = shown(group.members)
        known = {id(member) for member in alone}
        rest = [member for member in group.members if id(member) not in known]
        for member in alone:
            self._chain(member)
        if rest:
            counts: Counter[JobState] = Counter(member.state for member in rest)
            said = ", ".join(f"{counts[state]:,} {state}" for state in SYMBOLS if counts[state])
            self._fold(said, summarise(counts), [step for member in rest for step in walk(member)])

    def _fold(self, label: str, state: JobState, steps: Iterable[WorkflowStep]) -> None:
        self._folded.add(self._add(f'[["{SYMBOLS[state]} {_label(label)}"]]', state, steps))

    def _join(self, step: WorkflowStep) -> None:
        """Give a join its circle, unless all that it waits for is folded into one box."""
        boxes = {self._box_of.get(parent) for parent in step.parents}
        box = boxes.pop() if len(boxes) == 1 else None
        if box in self._folded:
            self._box_of[step.id] = box
        else:
            self._add('(("all"))', step.state, [step])

    def _add(self, box: str, state: JobState, steps: Iterable[WorkflowStep]) -> str:
        name = f"s{len(self._boxes) + 1}"
        self._boxes[name] = (box, state)
        self._box_of.update((step.id, name) for step in steps)
        return name


def _label(text: str | None) -> str:
    return escape(output.shorten(text, LABEL))


def escape(text: str) -> str:
    """Return a text for a quoted label: what is not a plain character becomes an entity, as mermaid writes them.

    A hash begins such an entity, quotes end the label, angle brackets are HTML, backticks make Markdown of it.
    """
    return "".join(
        one if one.isalnum() or one in " _.:,-/()+=@*" else f"#{ord(one)};" for one in output.printable(text)
    )
