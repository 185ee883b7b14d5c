"""The import graph: merged from what the modules import, measured, written as DOT, and cut down to a picture's size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx

if TYPE_CHECKING:
    from collections.abc import Iterable

    from examples.stdlib_survey.imports import ModuleImports


def merge(modules: Iterable[ModuleImports]) -> nx.DiGraph[str]:
    """Return the graph with an edge from each module to each that it imports; ``later`` marks those not loaded with it.

    Nodes and edges are in the order of their names, so that whatever is made of the graph is the same each time.
    """
    modules = sorted(modules, key=lambda module: module.name)
    known = {module.name: module for module in modules}
    named = {target for module in modules for target in (*module.loads, *module.later)}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for name in sorted(known.keys() | named):
        module = known.get(name)
        graph.add_node(name, lines=module.lines if module else 0, source=module is not None)
    for module in modules:
        graph.add_edges_from((module.name, target, {"later": False}) for target in module.loads)
        graph.add_edges_from((module.name, target, {"later": True}) for target in module.later)
    return graph


def loaded(graph: nx.DiGraph[str]) -> nx.DiGraph[str]:
    """Return the graph of what is imported when a module is, without the imports inside functions."""
    edges = [(start, end) for start, end, later in graph.edges(data="later") if not later]
    only: nx.DiGraph[str] = nx.DiGraph()
    only.add_nodes_from(graph.nodes(data=True))
    only.add_edges_from(edges)
    return only


def most_imported(graph: nx.DiGraph[str]) -> list[tuple[str, int]]:
    """Return the modules with the number of modules that import them, the most imported first."""
    return sorted(graph.in_degree(), key=lambda pair: (-pair[1], pair[0]))


def largest_cycle(graph: nx.DiGraph[str]) -> list[str]:
    """Return the names of the largest set of modules each of which imports all the others, if indirectly."""
    sets = [sorted(names) for names in nx.strongly_connected_components(graph)]
    largest = min(sets, key=lambda names: (-len(names), names), default=[])
    return largest if len(largest) > 1 else []


def core(graph: nx.DiGraph[str], size: int) -> nx.DiGraph[str]:
    """Return the best connected public modules, with only those imports that do not follow from others.

    An import by way of modules that are left out counts. Of modules that import each other in a circle the most
    imported stands for all, so that the result has no cycles.
    """
    imports = loaded(graph)
    degrees = dict(graph.in_degree())
    whole = nx.condensation(imports)
    heads = {
        node: min(names, key=lambda name: (name.startswith("_"), -degrees[name], name))
        for node, names in whole.nodes(data="members")
    }
    weights = {node: whole.in_degree(node) + whole.out_degree(node) for node in whole}
    public = [node for node, name in heads.items() if not any(part.startswith("_") for part in name.split("."))]
    chosen = sorted(public, key=lambda node: (-weights[node], heads[node]))[:size]
    closure = nx.transitive_closure_dag(whole).subgraph(chosen)
    reduced = nx.relabel_nodes(nx.transitive_reduction(closure), heads)
    result: nx.DiGraph[str] = nx.DiGraph()
    for name in sorted(reduced):
        result.add_node(name, imported=degrees[name], source=graph.nodes[name]["source"])
    result.add_edges_from(sorted(reduced.edges))
    return result


def to_dot(graph: nx.DiGraph[str], name: str) -> str:
    """Return the graph in the language of Graphviz; dashed where inside functions, dotted without source."""
    lines = [f"digraph {_quote(name)} {{", "  rankdir=BT;", "  node [shape=box, fontname=Helvetica];"]
    lines += [f"  {_quote(node)}{'' if source else ' [style=dotted]'};" for node, source in graph.nodes(data="source")]
    lines += [
        f"  {_quote(start)} -> {_quote(end)}{' [style=dashed]' if later else ''};"
        for start, end, later in graph.edges(data="later")
    ]
    return "\n".join([*lines, "}", ""])


def _quote(name: str) -> str:
    # Within quotes DOT knows one escape; unquoted, a module called "graph" or "node" would be a keyword.
    return '"' + name.replace('"', '\\"') + '"'
