"""The registry: which tasks this process knows."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

from uno_jobs.errors import InvalidOption, TaskAlreadyRegistered, TaskDefinitionError, TaskNotFound
from uno_jobs.tasks import checks
from uno_jobs.tasks.annotations import innermost
from uno_jobs.tasks.options import TaskOptionsArgs, suggest
from uno_jobs.tasks.versions import highest, sort_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from uno_jobs.middleware import TaskMiddleware
    from uno_jobs.tasks.definition import Task

    AnyTask = Task[..., Any, Any]
    Upgrade = Callable[..., Any]


class Registry:
    """Tasks by (name, version), and the global middleware. Safe under threads.

    What is read is replaced whole when something is added, so that readers need no lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, str], AnyTask] = {}
        self._runnable: dict[tuple[str, str], tuple[AnyTask, Upgrade | None]] = {}
        self._versions: dict[str, list[str]] = {}
        self.middleware: tuple[TaskMiddleware, ...] = ()
        """The global middleware in order of registration."""
        self.generation = 0
        """Goes up with every change: whoever keeps something made from the registry compares it."""

    def add(self, task: AnyTask) -> None:
        """Register a task; the same function imported again takes its own place.

        Raises:
            TaskAlreadyRegistered: Another function has this name and version.
        """
        key = task.config.name, task.config.version
        with self._lock:
            present = self._tasks.get(key)
            if present is task:
                return
            if present is not None and not _same_definition(present, task):
                raise TaskAlreadyRegistered(
                    f"task {key[0]!r} version {key[1]!r} is defined twice: "
                    f"{_place(present)} and {_place(task)}. "
                    "Give one of them another name (name=...) or version"
                )
            self._replace({**self._tasks, key: task})

    def add_middleware(self, middleware: TaskMiddleware) -> None:
        """Register global middleware; the same instance again changes nothing."""
        with self._lock:
            if not any(middleware is one for one in self.middleware):
                self.middleware = (*self.middleware, middleware)
                self.generation += 1

    def all(self) -> list[AnyTask]:
        """Return all tasks, by name and then by version, the highest last."""
        return [task for _, task in sorted(self._tasks.items(), key=lambda item: (item[0][0], sort_text(item[0][1])))]

    def find(self, name: str, version: str | None = None) -> AnyTask | None:
        """Return the task of this name and version (without one: the highest), or None."""
        if version is None:
            versions = self._versions.get(name)
            if not versions:
                return None
            version = highest(versions)
        return self._tasks.get((name, version))

    def get(self, name: str, version: str | None = None) -> AnyTask:
        """Return the task of this name and version (without one: the highest).

        Raises:
            TaskNotFound: There is none.
        """
        task = self.find(name, version)
        if task is not None:
            return task
        versions = self._versions.get(name)
        if versions:
            known = ", ".join(repr(one) for one in sorted(versions, key=sort_text))
            raise TaskNotFound(f"task {name!r} has no version {version!r} here; it has {known}")
        raise TaskNotFound(
            f"no task {name!r} is registered in this process{suggest(name, self._versions)}: "
            "import the module that defines it, or call discover_tasks(...)"
        )

    def known(self) -> tuple[tuple[str, str], ...]:
        """Return each (name, version) that can be run here, older ones by ``upgrade_from`` included."""
        return tuple(self._runnable)

    def resolve(self, name: str, version: str) -> tuple[AnyTask, Upgrade | None]:
        """Return the task that runs jobs of this name and version, and what rewrites their arguments.

        Raises:
            TaskNotFound: There is none.
        """
        found = self._runnable.get((name, version))
        if found is None:
            return self.get(name, version), None  # raises, saying what is known
        return found

    def copy(self) -> Registry:
        """Return a registry with the same tasks and middleware."""
        twin = Registry()
        with self._lock:
            twin.middleware = self.middleware
            twin._replace(dict(self._tasks))
        return twin

    def _replace(self, tasks: dict[tuple[str, str], AnyTask]) -> None:
        runnable: dict[tuple[str, str], tuple[AnyTask, Upgrade | None]] = {}
        versions: dict[str, list[str]] = {}
        # From low to high: where two versions can upgrade from one, the higher does.
        for (name, version), task in sorted(tasks.items(), key=lambda item: sort_text(item[0][1])):
            versions.setdefault(name, []).append(version)
            for old, rewrite in task.config.upgrade_from.items():
                runnable[name, old] = task, rewrite
        runnable.update({key: (task, None) for key, task in tasks.items()})
        self._tasks, self._runnable, self._versions = tasks, runnable, versions
        self.generation += 1


_current = Registry()
_swap_lock: Final = threading.Lock()


class TaskRegistry:
    """The tasks of this process. All methods are of the class: there is one registry at a time."""

    @staticmethod
    def current() -> Registry:
        """Return the registry in force."""
        return _current

    @staticmethod
    def get_all_tasks() -> list[AnyTask]:
        """Return all registered tasks, by name and then by version, the highest last."""
        return _current.all()

    @staticmethod
    def get_task(name: str, version: str | None = None) -> AnyTask:
        """Return a task by name; without a version, the highest.

        Raises:
            TaskNotFound: There is none; the message says what there is.
        """
        return _current.get(name, version)

    @staticmethod
    def has_task(name: str, version: str | None = None) -> bool:
        """Say whether there is a task of this name (and version)."""
        return _current.find(name, version) is not None

    @staticmethod
    def register(
        function: Callable[..., Any],
        *,
        base: type[AnyTask] | None = None,
        **options: Unpack[TaskOptionsArgs],
    ) -> AnyTask:
        """Make a task of a function without decorating it, with the options of ``@task``, and return it.

        Raises:
            TaskDefinitionError: An option is wrong.
            TaskAlreadyRegistered: Another function has this name and version.
        """
        from uno_jobs.tasks.decorator import make_task
        from uno_jobs.tasks.definition import Task

        return make_task(function, Task if base is None else base, options, {})

    @staticmethod
    def known() -> tuple[tuple[str, str], ...]:
        """Return each (name, version) that can be run here, older ones by ``upgrade_from`` included."""
        return _current.known()

    @staticmethod
    def resolve(name: str, version: str) -> tuple[AnyTask, Upgrade | None]:
        """Return the task that runs jobs of this name and version, and what rewrites their arguments.

        Raises:
            TaskNotFound: There is none.
        """
        return _current.resolve(name, version)

    @staticmethod
    @contextlib.contextmanager
    def isolated(*, keep: bool = False) -> Generator[Registry]:
        """Put a registry of its own in force, for a test: ``with TaskRegistry.isolated(): ...``.

        It is in force for the whole process, threads included, until the block ends.

        Args:
            keep: Start with the tasks and the middleware there are, instead of none.
        """
        global _current
        with _swap_lock:
            outer = _current
            _current = inner = outer.copy() if keep else Registry()
        try:
            yield inner
        finally:
            with _swap_lock:
                _current = outer


def register_middleware(middleware: TaskMiddleware) -> None:
    """Register middleware for all tasks; it stands outside the tasks' own, in order of registration.

    Raises:
        TaskDefinitionError: It is not an instance of ``TaskMiddleware``.
    """
    try:
        _current.add_middleware(checks.middleware(middleware))
    except InvalidOption as error:
        raise TaskDefinitionError(f"register_middleware: {error}") from None


def _same_definition(one: AnyTask, other: AnyTask) -> bool:
    """Say whether two tasks are of one definition, loaded twice."""
    first, second = innermost(one.function), innermost(other.function)
    if first is second:
        return True
    if getattr(first, "__qualname__", "") != getattr(second, "__qualname__", None):
        return False
    here, there = getattr(first, "__code__", None), getattr(second, "__code__", None)
    if here is None or there is None:
        return False
    same_file = Path(here.co_filename).resolve() == Path(there.co_filename).resolve()
    if same_file and here.co_firstlineno == there.co_firstlineno:
        return True  # by two paths, or imported again
    if first.__module__ != second.__module__:
        return False
    # Reloading gives the module a new spec; a notebook gives each cell a file of its own.
    return not same_file or one.loaded_by is not other.loaded_by


def _place(task: AnyTask) -> str:
    function = innermost(task.function)
    code = getattr(function, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}{place}"
