"""Finding tasks: imports the modules that names and patterns stand for."""

from __future__ import annotations

import fnmatch
import importlib
import importlib.util
import pkgutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from uno_jobs.errors import DiscoveryError
from uno_jobs.tasks.definition import Task
from uno_jobs.tasks.registry import TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

    AnyTask = Task[..., Any, Any]


def discover_tasks(modules: str | Iterable[str]) -> list[AnyTask]:
    """Import modules and return the tasks found in them.

    Args:
        modules: ``"myapp.tasks"``, a list of such names, or patterns: ``*`` stands for one level or a part of
            a name (``"myapp.tasks.*"``, ``"myapp.*.tasks"``), ``**`` for any number of levels. A package's
            name alone imports that module only. ``__main__`` modules are left out.

    Returns:
        The tasks defined in these modules or imported into them, by name and version.

    Raises:
        DiscoveryError: A module does not exist or does not import (the message names it and the cause), or a
            pattern stands for none.
    """
    importlib.invalidate_caches()
    names = [modules] if isinstance(modules, str) else list(modules)
    found: dict[str, ModuleType] = {}
    for name in names:
        for module in _expand(name):
            found[module.__name__] = module
    registry = TaskRegistry.current()
    members = [value for module in found.values() for value in list(vars(module).values())]
    for value in members:
        # Also tasks of a module that was imported before this registry was put in force.
        if isinstance(value, Task) and "config" in vars(cast("AnyTask", value)):
            registry.add(cast("AnyTask", value))
    imported = {id(value) for value in members}
    return [
        task for task in registry.all() if id(task) in imported or getattr(task.function, "__module__", None) in found
    ]


def _expand(pattern: object) -> Iterator[ModuleType]:
    """Import and yield what one name or pattern stands for."""
    if not isinstance(pattern, str) or not all(part.replace("*", "a").isidentifier() for part in pattern.split(".")):
        raise DiscoveryError(
            f"discover_tasks takes module names such as 'myapp.tasks' or 'myapp.tasks.*', not {pattern!r}"
        )
    parts = pattern.split(".")
    fixed = next((index for index, part in enumerate(parts) if "*" in part), len(parts))
    if fixed == 0:
        raise DiscoveryError(f"discover_tasks: {pattern!r} must begin with the name of a package")
    root = _import(".".join(parts[:fixed]))
    if fixed == len(parts):
        yield root
        return
    if not hasattr(root, "__path__"):
        raise DiscoveryError(
            f"discover_tasks: {root.__name__!r} is a module, not a package, so {pattern!r} stands for nothing"
        )
    matched = list(_below(root, parts[fixed:]))
    if not matched:
        raise DiscoveryError(f"discover_tasks: no module matches {pattern!r}")
    yield from matched


def _below(package: ModuleType, parts: list[str]) -> Iterator[ModuleType]:
    """Yield the modules below a package that match the parts of a pattern."""
    if not hasattr(package, "__path__"):
        return
    part, rest = parts[0], parts[1:]
    for name in _children(package):
        if part == "**":
            # Any number of levels: one with this child, then the same again, or what follows.
            child = _import(f"{package.__name__}.{name}")
            if not rest or fnmatch.fnmatchcase(name, rest[0]):
                yield from _matched(child, rest[1:] if rest else [])
            yield from _below(child, parts)
        elif fnmatch.fnmatchcase(name, part):
            yield from _matched(_import(f"{package.__name__}.{name}"), rest)


def _matched(module: ModuleType, rest: list[str]) -> Iterator[ModuleType]:
    if rest:
        yield from _below(module, rest)
    else:
        yield module


def _children(package: ModuleType) -> list[str]:
    """Return the names of a package's modules and subpackages, those without ``__init__.py`` included."""
    names: set[str] = set()
    maybe: set[str] = set()
    for place in map(Path, package.__path__):
        archive = next((parent for parent in place.parents if parent.is_file()), None)
        if archive is not None and zipfile.is_zipfile(archive):
            maybe.update(_in_archive(archive, place.relative_to(archive).as_posix()))
        else:
            names.update(found.name for found in pkgutil.iter_modules([str(place)]))
            maybe.update(_folders(place))
    # Not every folder can be imported from, in a zip file least of all.
    names.update(
        name
        for name in maybe - names
        if name.isidentifier() and name != "__pycache__" and _can_be_imported(f"{package.__name__}.{name}")
    )
    return sorted(names - {"__main__", "__init__"})


def _folders(place: Path) -> Iterator[str]:
    """Yield the folders in a folder that hold modules somewhere below."""
    for child in place.iterdir() if place.is_dir() else ():
        if child.is_dir() and not child.name.startswith(".") and next(child.rglob("*.py"), None):
            yield child.name


def _in_archive(archive: Path, folder: str) -> Iterator[str]:
    """Yield the modules and folders in a folder inside a zip file.

    Not by pkgutil, which in Python 3.13.0 fails on archives whose cached directory has been invalidated.
    """
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.startswith(f"{folder}/") and name.endswith((".py", ".pyc")):
                yield PurePosixPath(name[len(folder) + 1 :]).parts[0].partition(".")[0]


def _can_be_imported(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise DiscoveryError(
                f"discover_tasks: there is no module {error.name!r}: is its folder on the Python path?"
            ) from error
        raise DiscoveryError(f"discover_tasks: {name!r} does not import: {_said(error)}") from error
    except (Exception, SystemExit) as error:
        raise DiscoveryError(f"discover_tasks: {name!r} does not import: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
