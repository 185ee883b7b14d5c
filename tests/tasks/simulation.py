"""Runs a laid-out workflow in memory, node by node, as workers do: arguments and results go through JSON."""

from __future__ import annotations

import asyncio
import inspect
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from uno_jobs.tasks.binding import Before, Binder
from uno_jobs.tasks.graph import lay_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from uno_jobs.tasks.graph import Graph, Node
    from uno_jobs.tasks.step import Step


@dataclass
class Run:
    """What a run came to."""

    graph: Graph
    results: list[Any] = field(default_factory=list[Any])
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    """Each step's task and what it got, by name, in the order of the nodes."""
    warnings: list[str] = field(default_factory=list[str])

    @property
    def result(self) -> Any:
        return self.results[-1]

    def before(self, node: Node) -> Before:
        """Return what a node finds before it."""
        previous = [self.results[parent] for parent in node.parents]
        return Before(previous if node.kind == "member" else previous[0], self.flow(node))

    def flow(self, node: Node) -> dict[str, Any]:
        """Return the flow before a node, from the node that gives it back to the first."""
        merged: dict[str, Any] = {}
        source = node.flow_from
        while source is not None:
            if isinstance(self.results[source], dict):
                merged = {**self.results[source], **merged}
            source = self.graph.nodes[source].flow_from
        return merged


def simulate(workflow: Step[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Run:
    """Lay out a workflow, check each step as an enqueue does, and run the steps."""
    run = Run(lay_out(workflow, args, kwargs))
    stored = [_stored(node) for node in run.graph.nodes]
    for node, texts in zip(run.graph.nodes, stored, strict=True):
        if node.signature is None:
            run.results.append([run.results[parent] for parent in node.parents] if node.kind == "member" else [])
            continue
        task = node.signature.task
        loaded = [json.loads(text) for text in texts]
        bound = Binder(task.parameters).load(*loaded, run.before(node) if node.follows else None)
        if bound.warning is not None:
            run.warnings.append(bound.warning)
        run.received.append((task.name, task.parameters.by_name(bound.args, bound.kwargs)))
        returned = task(*bound.args, **bound.kwargs)
        result = asyncio.run(returned) if inspect.iscoroutine(returned) else returned
        run.results.append(json.loads(task.dump_result(result)))
    return run


def _stored(node: Node) -> tuple[str, str]:
    if node.signature is None:
        return "[]", "{}"
    parameters = node.signature.task.parameters
    if node.follows:
        return Binder(parameters).dump(node.args, node.kwargs)
    bound = parameters.dump(node.args, node.kwargs)
    return bound.args_json, bound.kwargs_json
