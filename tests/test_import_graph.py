"""The demo's workflow, part by part: what is read of a module, the graph, its layout, DOT and picture."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import networkx as nx
import pydot
import pytest
from examples.stdlib_survey import graph
from examples.stdlib_survey.imports import ModuleImports, find_sources, read_imports
from examples.stdlib_survey.layers import arrange
from examples.stdlib_survey.picture import to_svg
from hypothesis import given, settings
from hypothesis import strategies as st

from uno_jobs.tasks import TaskRegistry
from uno_jobs.testing import test_task

if TYPE_CHECKING:
    from pathlib import Path

# pydot reads DOT with pyparsing, by functions that the newest pyparsing deprecates.
reads_dot = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder of modules, some of which are broken."""
    folder = tmp_path / "library"
    files = {
        "alone.py": b"x = 1\n",
        "text.py": b"import sys, json.decoder\nfrom nowhere import a\n\ndef f():\n    import alone, sys\n",
        "pack/__init__.py": b"from . import one\nfrom .two import f\nimport pack\n",
        "pack/one.py": b"from . import two\nfrom .. import text\nif __name__ == '__main__':\n    import alone\n",
        "pack/two.py": b"from pack.one import f\nfrom text import f\n",
        "pack/tests/inner.py": b"import alone\n",
        "lib2to3/main.py": b"import alone\n",
        "not-a-name.py": b"import alone\n",
        "syntax.py": b"def (:\n",
        "encoding.py": b"# coding: utf-8\nname = '\xff'\n",
        "unheard.py": b"# coding: of-no-kind\n",
        "nul.py": b"x = '\0'\n",
        "escape.py": b"x = '\\d'\nimport alone\n",
        "graph.py": b"import text\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "gone.py").symlink_to(folder / "nothing")
    (folder / "deep.py").write_bytes(b"x = " + b"-" * 100_000 + b"1\n")
    return folder


def read(library: Path) -> dict[str, ModuleImports]:
    sources = find_sources(library)
    return {name: read_imports(name, path, sources) for name, path in sources.items()}


def test_tests_and_programs_are_no_modules_of_the_library(library: Path) -> None:
    assert list(find_sources(library)) == [
        *("alone", "deep", "encoding", "escape", "gone", "graph", "nul", "pack", "pack.one", "pack.two"),
        *("syntax", "text", "unheard"),
    ]


def test_imports_are_resolved(library: Path) -> None:
    found = {name: (module.loads, module.later) for name, module in read(library).items()}
    assert found["text"] == (["json", "sys"], ["alone"])
    assert found["pack"] == (["pack.one", "pack.two"], [])
    assert found["pack.one"] == (["pack.two"], ["alone"])  # ``from ..`` leads out of the folder
    assert found["pack.two"] == (["pack.one", "text"], [])
    assert found["escape"] == (["alone"], [])


def test_broken_files_are_data(library: Path) -> None:
    errors = {name: module.error for name, module in read(library).items() if module.error is not None}
    assert errors.keys() == {"syntax", "encoding", "unheard", "nul", "gone", "deep"}
    assert str(errors["syntax"]).startswith("SyntaxError: ")
    assert str(errors["gone"]).startswith("FileNotFoundError: ")


def test_the_graph_is_the_same_in_whatever_order_it_comes(library: Path) -> None:
    modules = list(read(library).values())
    drawn = graph.merge(modules)
    assert graph.to_dot(drawn, "d") == graph.to_dot(graph.merge(modules[::-1]), "d")
    assert graph.most_imported(drawn)[:3] == [("alone", 3), ("pack.one", 2), ("pack.two", 2)]
    assert graph.largest_cycle(drawn) == ["pack.one", "pack.two"]
    assert graph.largest_cycle(nx.DiGraph([("a", "b")])) == []
    assert ("text", "alone") not in graph.loaded(drawn).edges
    assert not drawn.nodes["json"]["source"]


@reads_dot
def test_dot_is_read_back(library: Path) -> None:
    drawn = graph.merge(read(library).values())
    (parsed,) = pydot.graph_from_dot_data(graph.to_dot(drawn, "of a library")) or ()
    unquoted = nx.relabel_nodes(nx.DiGraph(nx.nx_pydot.from_pydot(parsed)), lambda name: name.strip('"'))
    assert set(unquoted.nodes) == set(drawn.nodes)
    assert set(unquoted.edges) == set(drawn.edges)
    dashed = {edge for edge in unquoted.edges if unquoted.edges[edge].get("style") == "dashed"}
    assert dashed == {(start, end) for start, end, later in drawn.edges(data="later") if later}


def test_the_core_keeps_what_does_not_follow_from_the_rest() -> None:
    modules = [
        ModuleImports(name="top", loads=["_hidden", "base", "middle"]),
        ModuleImports(name="middle", loads=["base"], later=["top"]),
        ModuleImports(name="_hidden", loads=["other"]),
        ModuleImports(name="other", loads=["another"]),
        ModuleImports(name="another", loads=["other", "base"]),
        ModuleImports(name="base"),
        ModuleImports(name="lonely"),
    ]
    best = graph.core(graph.merge(modules), 4)
    # ``another`` and ``other`` import each other, and are one; ``_hidden`` is passed through.
    assert sorted(best.edges) == [("middle", "base"), ("other", "base"), ("top", "middle"), ("top", "other")]
    assert best.nodes["base"]["imported"] == 3


@settings(deadline=None)  # however busy the machine is
@given(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=30))
def test_layout(pairs: set[tuple[int, int]]) -> None:
    acyclic: nx.DiGraph[str] = nx.DiGraph()
    acyclic.add_nodes_from(str(number) for number in range(13))
    acyclic.add_edges_from((str(max(pair)), str(min(pair))) for pair in sorted(pairs) if pair[0] != pair[1])
    widths = {node: 20.0 + 7 * int(node) for node in acyclic}
    layout = arrange(acyclic, widths)
    assert layout == arrange(acyclic, widths)
    assert {layer for _, layer in layout.nodes.values()} == set(range(layout.layers))
    for start, end in acyclic.edges:
        points = layout.edges[start, end]
        assert (points[0], points[-1]) == (layout.nodes[start], layout.nodes[end])
        layers = [layer for _, layer in points]
        assert layers == list(range(layout.nodes[start][1], layout.nodes[end][1] - 1, -1))
        assert len(layers) > 1
    for (one, (x, row)), (other, (y, its)) in itertools.combinations(layout.nodes.items(), 2):
        assert row != its or abs(x - y) >= (widths[one] + widths[other]) / 2 - 0.001
    for node, (x, _) in layout.nodes.items():
        assert widths[node] / 2 - 0.001 <= x <= layout.width - widths[node] / 2 + 0.001


def test_picture_shows_each_module_and_import(library: Path) -> None:
    best = graph.core(graph.merge(read(library).values()), 5)
    root = ET.fromstring(to_svg(best, "A <small> library", "one & all"))
    assert [text.text for text in root.iter(f"{SVG}text")][:2] == ["A <small> library", "one & all"]
    labels = {text.text for text in root.iter(f"{SVG}text") if text.get("class") == "label"}
    assert labels == set(best.nodes)
    assert len(list(root.iter(f"{SVG}path"))) == best.number_of_edges()
    assert to_svg(best, "t", "n") == to_svg(best, "t", "n")


def test_picture_of_nothing() -> None:
    ET.fromstring(to_svg(graph.core(graph.merge([]), 5), "t", "n"))


@reads_dot
async def test_tasks(library: Path, tmp_path: Path) -> None:
    """The three tasks, each with what the one before returned, on a library in which half is broken."""
    with TaskRegistry.isolated():
        from examples.stdlib_survey.workflow import draw_imports, find_modules, parse_modules

        modules = (await test_task(find_modules, args=[str(library)]))["modules"]
        parsed = [await test_task(parse_modules, args=[modules, share, 5]) for share in range(5)]
        assert sorted(module.name for share in parsed for module in share) == list(modules)
        findings = await test_task(draw_imports, args=[parsed, str(tmp_path), "A library"])
    assert findings.unparsed.keys() == {"syntax", "encoding", "unheard", "nul", "gone", "deep"}
    assert findings.largest_cycle == ["pack.one", "pack.two"]
    assert (findings.modules, findings.edges) == (13, 11)
    assert pydot.graph_from_dot_file(findings.dot)
    assert ET.parse(findings.svg).getroot().tag == f"{SVG}svg"
