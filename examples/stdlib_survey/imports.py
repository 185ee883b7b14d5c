"""What a module imports, read from its source: nothing of it is run."""

from __future__ import annotations

import ast
import sys
import warnings
from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

TESTS = {"test", "tests", "idle_test"}
PROGRAMS = {"distutils", "ensurepip", "idlelib", "lib2to3", "turtledemo"}
"""Folders that come with the standard library and are programs, or tools to build with."""
INSTALLED = {"site-packages", "dist-packages", "lib-dynload"}
COMPILED = frozenset(sys.stdlib_module_names)
"""The names of the library itself; those without a source file are compiled into the interpreter, or beside it."""


class ModuleImports(BaseModel):
    """A module and the modules that it imports."""

    name: str
    lines: int = 0
    package: bool = False
    loads: list[str] = []
    """What is imported when the module is."""
    later: list[str] = []
    """What is imported inside functions only, or if the module is run as a program."""
    error: str | None = None
    """Why the file could not be parsed, where it could not."""


def find_sources(folder: Path) -> dict[str, Path]:
    """Return the source files of a folder of modules and packages by the modules' names, in order."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if (TESTS | PROGRAMS | INSTALLED).isdisjoint(parts) and all(part.isidentifier() for part in parts):
            name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
            found[name] = path
    return dict(sorted(found.items()))


def read_imports(name: str, path: Path, known: Container[str]) -> ModuleImports:
    """Parse a module; a file that cannot be read or parsed is reported in ``error``.

    Args:
        name: The module's name, against which relative imports are resolved.
        path: Its source file.
        known: The names of the modules that are of interest.
    """
    package = path.name == "__init__.py"
    try:
        source = path.read_bytes()
        with warnings.catch_warnings():
            # Questionable escapes and the like: the source is not ours.
            warnings.simplefilter("ignore")
            tree = ast.parse(source, path)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return ModuleImports(name=name, package=package, error=f"{type(error).__name__}: {error}")
    loads: set[str] = set()
    later: set[str] = set()
    for statement, at_once in _statements(tree, at_once=True):
        for target in _targets(statement, name, package=package):
            if (module := _module_of(target, known)) not in {None, name}:
                (loads if at_once else later).add(str(module))
    return ModuleImports(
        name=name,
        lines=source.count(b"\n"),
        package=package,
        loads=sorted(loads),
        later=sorted(later - loads),
    )


def _statements(node: ast.AST, *, at_once: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Yield the import statements below a node, and whether each is executed when the module is imported."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import() | ast.ImportFrom():
                yield child, at_once
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _statements(child, at_once=False)
            case ast.If(test=test) if "TYPE_CHECKING" in (words := ast.dump(test)) or "__main__" in words:
                yield from _statements(child, at_once=False)
            case _:
                yield from _statements(child, at_once=at_once)


def _targets(statement: ast.Import | ast.ImportFrom, name: str, *, package: bool) -> Iterator[str]:
    """Yield the names that a statement imports, in full; what stands for a module's content is one part longer."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
        return
    parts = statement.module.split(".") if statement.module else []
    if statement.level:
        here = name.split(".") if package else name.split(".")[:-1]
        if statement.level > len(here):
            return  # leads out of the folder: an error, if it were run
        parts = here[: len(here) - statement.level + 1] + parts
    yield from (".".join([*parts, alias.name]) for alias in statement.names)


def _module_of(target: str, known: Container[str]) -> str | None:
    """Return the module that a name stands for: itself, or else what it is in."""
    while target and target not in known and target not in COMPILED:
        target = target.rpartition(".")[0]
    return target or None
