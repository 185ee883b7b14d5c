"""Workflows put straight into the database: a list of nodes, each with its parents before it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uuid_utils.compat as uuids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tests.storage.lab import Lab


@dataclass(frozen=True)
class Node:
    """A step, or a join, and the places of the nodes that it waits for."""

    parents: tuple[int, ...] = ()
    run_anyway: bool = False
    join: bool = False
    key: str | None = None
    flow: int | None = None
    names: tuple[str, ...] | None = None
    """What the flow behind the node ``flow`` may fill; None: it takes nothing from before."""
    queue: str = "default"


async def put_workflow(lab: Lab, nodes: Sequence[Node], *, on: Any = None) -> list[UUID]:
    """Insert a workflow in one transaction, as the queue does."""
    connection = on or lab.eye
    workflow = uuids.uuid7()
    ids = [uuids.uuid7() for _ in nodes]
    async with connection.transaction():
        await _put_edges(connection, nodes, ids)
        await _put_steps(connection, workflow, nodes, ids, 0)
        empty = [id_ for id_, node in zip(ids, nodes, strict=True) if node.join and not node.parents]
        await connection.execute("SELECT uno_jobs.start_workflow($1, $2, $3, true)", workflow, empty, ["default"])
    return ids


async def succeed_adding(
    connection: Any, id_: UUID, lease: int, nodes: Sequence[Node], result: str = "null"
) -> list[UUID]:
    """Let a running job end with what it adds, in the open transaction: node 0 is the job, the last one the end."""
    ids = [id_, *(uuids.uuid7() for _ in nodes[1:])]
    workflow = await connection.fetchval(
        "SELECT coalesce(workflow_id, $2) FROM uno_jobs.jobs WHERE id = $1", id_, ids[-1]
    )
    await connection.execute(f"SET LOCAL unojobs.lease = '{lease}'")
    await connection.execute("SELECT uno_jobs.extend($1, $2, $3, $4, NULL)", id_, lease, workflow, ids[-1])
    await _put_edges(connection, nodes, ids)
    await _put_steps(connection, workflow, nodes, ids, 1)
    await connection.execute("SELECT uno_jobs.finish_in_transaction($1, $2, $3)", id_, lease, result)
    return ids[1:]


async def _put_edges(connection: Any, nodes: Sequence[Node], ids: Sequence[UUID]) -> None:
    edges = [(ids[parent], ids[n], at) for n, node in enumerate(nodes) for at, parent in enumerate(node.parents)]
    await connection.execute(
        "SELECT uno_jobs.enqueue_edges($1, $2, $3, $4)",
        [edge[0] for edge in edges],
        [edge[1] for edge in edges],
        [kind_of(node) for node in nodes for _ in node.parents],
        [edge[2] for edge in edges],
    )


async def _put_steps(connection: Any, workflow: UUID, nodes: Sequence[Node], ids: Sequence[UUID], start: int) -> None:
    steps = [step_of(node, ids) for node in nodes[start:]]
    nodes, ids = nodes[start:], ids[start:]
    count = len(nodes)
    await connection.execute(
        "SELECT uno_jobs.enqueue_steps($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        workflow,
        ids,
        [None if node.join else "t" for node in nodes],
        [None if node.join else "1" for node in nodes],
        [node.queue for node in nodes],
        [5] * count,
        ["[]"] * count,
        ["{}"] * count,
        [None] * count,
        [None] * count,
        [None] * count,
        [None] * count,
        [node.key for node in nodes],
        [None] * count,
        [False] * count,
        steps,
        [node.run_anyway for node in nodes],
    )


def step_of(node: Node, ids: Sequence[UUID]) -> str | None:
    """What is stored of a node in jobs.step."""
    flow = None if node.flow is None else str(ids[node.flow])
    if node.names is None:
        return None if flow is None else json.dumps({"takes": False, "flow": flow})
    return json.dumps({"kind": kind_of(node), "flow": flow, "names": node.names})


def kind_of(node: Node) -> str:
    """What the edges to a node's parents are."""
    return "member" if node.join or len(node.parents) != 1 else "chain"
