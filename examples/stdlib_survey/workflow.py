"""A workflow on real input: find the library's modules, parse them side by side, draw what imports what."""

from __future__ import annotations

import sysconfig
from itertools import islice
from pathlib import Path
from typing import Any

from examples.stdlib_survey import graph
from examples.stdlib_survey.imports import ModuleImports, find_sources, read_imports
from examples.stdlib_survey.picture import to_svg
from pydantic import BaseModel

from uno_jobs import task
from uno_jobs.context import get_current_job
from uno_jobs.tasks import Chain, chain, group

SHARES = 12
"""How many jobs parse, each its share of the modules."""
SHOWN = 64
"""How many modules the picture shows."""


class Findings(BaseModel):
    """What the last step tells of the graph that it drew."""

    modules: int
    lines: int
    edges: int
    most_imported: list[tuple[str, int]]
    largest_cycle: list[str]
    """Modules that import each other in a circle, while they are being imported."""
    unparsed: dict[str, str]
    """The files that could not be parsed, by their modules' names, and why."""
    dot: str
    svg: str


@task(queue="survey", max_retries=0)
def find_modules(folder: str, limit: int | None = None) -> dict[str, dict[str, str]]:
    """Return the source files of a folder by their modules' names, as ``modules``."""
    found = find_sources(Path(folder))
    return {"modules": {name: str(path) for name, path in islice(found.items(), limit)}}


@task(queue="survey", max_retries=2, retry_delay=1)
def parse_modules(modules: dict[str, str], share: int, shares: int) -> list[ModuleImports]:
    """Read the imports of every ``shares``-th module, from number ``share`` on."""
    job = get_current_job()
    own = list(modules)[share::shares]
    parsed: list[ModuleImports] = []
    for number, name in enumerate(own):
        job.set_progress(number / len(own), name)
        parsed.append(read_imports(name, Path(modules[name]), modules))
    return parsed


@task(queue="survey", max_retries=2, retry_delay=1)
def draw_imports(parsed: list[list[ModuleImports]], output: str, title: str) -> Findings:
    """Merge what was parsed, and write ``stdlib.dot`` and ``stdlib.svg`` into the folder ``output``."""
    modules = [module for share in parsed for module in share]
    imports = graph.merge(modules)
    best = graph.core(imports, SHOWN)
    folder = Path(output)
    dot, svg = folder / "stdlib.dot", folder / "stdlib.svg"
    note = (
        f"{len(best)} of {len(imports)} modules; each stands on those that it imports, "
        "and is the larger the more import it"
    )
    dot.write_text(graph.to_dot(imports, "stdlib"), encoding="utf-8")
    svg.write_text(to_svg(best, title, note), encoding="utf-8")
    return Findings(
        modules=len(modules),
        lines=sum(module.lines for module in modules),
        edges=imports.number_of_edges(),
        most_imported=graph.most_imported(imports)[:6],
        largest_cycle=graph.largest_cycle(graph.loaded(imports)),
        unparsed={module.name: module.error for module in modules if module.error is not None},
        dot=str(dot),
        svg=str(svg),
    )


def import_graph(output: Path, title: str, folder: Path | None = None, limit: int | None = None) -> Chain[Any]:
    """Return the workflow that draws a folder's modules, those of the standard library unless another is given.

    ``parse_modules`` takes ``modules`` by name from the dict that ``find_modules`` returns; ``draw_imports`` takes
    the group's list of results as its first argument.
    """
    library = folder or Path(sysconfig.get_path("stdlib"))
    return chain(
        find_modules.s(str(library), limit),
        group(parse_modules.s(share, SHARES) for share in range(SHARES)),
        draw_imports.s(str(output), title),
    )
