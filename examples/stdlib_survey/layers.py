"""A layered layout of a graph without cycles: each node above all that it points to, few crossings, short edges.

This is the method of Sugiyama, Tagawa and Toda: put nodes on layers, let long edges pass through slots in the layers
between, order each layer by the places of its neighbours, and then move everything as near to them as it will go.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import networkx as nx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SWEEPS = 60
PULL = 0.93
LANE = 7.0
"""The width that an edge takes in a layer that it passes."""

Slot: TypeAlias = tuple[str, str, int]
"""A place in a layer: of an edge (start, end, layer), or of a node (node, "", layer)."""


@dataclass(frozen=True)
class Layout:
    """Where each node has its middle, as (x, layer), and the points that each edge goes through, top to bottom."""

    nodes: dict[str, tuple[float, int]]
    edges: dict[tuple[str, str], list[tuple[float, int]]]
    width: float
    layers: int


def arrange(graph: nx.DiGraph[str], widths: Mapping[str, float]) -> Layout:
    """Return the layout of a graph whose nodes take these widths, the room around them included."""
    level = _levels(graph)
    paths = {edge: _path(edge, level) for edge in graph.edges}
    near: dict[Slot, list[Slot]] = defaultdict(list)
    rows: dict[int, dict[Slot, None]] = defaultdict(dict)
    for node in graph:
        rows[level[node]][node, "", level[node]] = None
    for path in paths.values():
        for upper, lower in pairwise(path):
            near[upper].append(lower)
            near[lower].append(upper)
        for slot in path:
            rows[slot[2]][slot] = None
    order = _ordered([list(rows[number]) for number in sorted(rows)], near)
    size = {slot: LANE if slot[1] else widths[slot[0]] for row in order for slot in row}
    x = _spread(order, near, size)
    left = min((x[slot] - size[slot] / 2 for slot in x), default=0.0)
    right = max((x[slot] + size[slot] / 2 for slot in x), default=0.0)
    return Layout(
        nodes={node: (x[node, "", level[node]] - left, level[node]) for node in graph},
        edges={edge: [(x[slot] - left, slot[2]) for slot in path] for edge, path in paths.items()},
        width=right - left,
        layers=len(order),
    )


def _levels(graph: nx.DiGraph[str]) -> dict[str, int]:
    """Return each node's layer: as low as what it points to allows, then where its edges are shortest."""
    upwards = list(nx.topological_sort(graph))[::-1]
    level: dict[str, int] = {}
    for node in upwards:
        level[node] = max((level[target] + 1 for target in graph.successors(node)), default=0)
    for _ in range(len(graph)):
        before = dict(level)
        for node in upwards[::-1]:
            # One more layer up makes the edges to its targets longer, and those from above shorter.
            if graph.in_degree(node) > graph.out_degree(node):
                level[node] = min(level[source] for source in graph.predecessors(node)) - 1
        if level == before:
            break
    used = {number: index for index, number in enumerate(sorted(set(level.values())))}
    return {node: used[number] for node, number in level.items()}


def _path(edge: tuple[str, str], level: Mapping[str, int]) -> list[Slot]:
    start, end = edge
    between = range(level[start] - 1, level[end], -1)
    return [(start, "", level[start]), *((start, end, number) for number in between), (end, "", level[end])]


def _ordered(rows: list[list[Slot]], near: Mapping[Slot, Sequence[Slot]]) -> list[list[Slot]]:
    """Return the rows with the fewest crossings that sweeping up and down finds."""
    best, fewest = [list(row) for row in rows], _crossings(rows, near)
    for sweep in range(SWEEPS):
        upwards = sweep % 2 == 0
        for number in range(1, len(rows)) if upwards else range(len(rows) - 2, -1, -1):
            other = rows[number - 1 if upwards else number + 1]
            at = {slot: place / max(len(other) - 1, 1) for place, slot in enumerate(other)}
            own = {slot: place / max(len(rows[number]) - 1, 1) for place, slot in enumerate(rows[number])}
            means = {slot: _mean([at[one] for one in near[slot] if one in at], own[slot]) for slot in own}
            rows[number] = sorted(rows[number], key=means.__getitem__)
        if (crossings := _crossings(rows, near)) < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _crossings(rows: Sequence[Sequence[Slot]], near: Mapping[Slot, Sequence[Slot]]) -> int:
    total = 0
    for lower, upper in pairwise(rows):
        at = {slot: place for place, slot in enumerate(lower)}
        ends = [at[one] for slot in upper for one in sorted(near[slot], key=lambda one: at.get(one, -1)) if one in at]
        total += sum(ends[j] < ends[i] for i in range(len(ends)) for j in range(i + 1, len(ends)))
    return total


def _spread(
    rows: Sequence[Sequence[Slot]], near: Mapping[Slot, Sequence[Slot]], size: Mapping[Slot, float]
) -> dict[Slot, float]:
    """Return the middle of each slot: near to the middle of its neighbours', with the order and the widths kept."""
    x: dict[Slot, float] = {}
    for row in rows:
        x |= dict(zip(row, _packed([0.0] * len(row), [size[slot] for slot in row], [1.0] * len(row)), strict=True))
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            # Drawn to the middle a little, or long edges would pull the whole askew.
            wanted = [PULL * _mean([x[one] for one in near[slot]], x[slot]) for slot in row]
            # Edges bend in their slots and are seen to; a node may stand a little aside.
            weights = [4.0 if slot[1] else 1.0 for slot in row]
            x |= dict(zip(row, _packed(wanted, [size[slot] for slot in row], weights), strict=True))
    return x


def _packed(wanted: Sequence[float], sizes: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the places nearest to the wanted ones (by least squares) at which nothing overlaps, in the same order."""
    offsets = [0.0]
    for left, right in pairwise(sizes):
        offsets.append(offsets[-1] + (left + right) / 2)
    # Without the room that they need, the places only have to ascend: pool those that do not.
    blocks: list[tuple[float, float, int]] = []
    for place, offset, weight in zip(wanted, offsets, weights, strict=True):
        block = (place - offset, weight, 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, heavy, many = blocks.pop()
            both = heavy + block[1]
            block = ((mean * heavy + block[0] * block[1]) / both, both, many + block[2])
        blocks.append(block)
    places = [mean for mean, _, many in blocks for _ in range(many)]
    return [place + offset for place, offset in zip(places, offsets, strict=True)]
