"""``@task``: makes a task of a function and registers it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack, cast, overload

from typing_extensions import ParamSpec

from uno_jobs.errors import TaskDefinitionError
from uno_jobs.tasks.annotations import innermost
from uno_jobs.tasks.definition import OPTION_ATTRIBUTES, Task
from uno_jobs.tasks.options import TaskOptions, TaskOptionsArgs, build_options

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

P = ParamSpec("P")
R = TypeVar("R")


class TaskDecorator(Protocol):
    """What ``@task(...)`` returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R, R]: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...
@overload
def task(function: Callable[P, R], /) -> Task[P, R, R]: ...
@overload
def task(*, base: type[Task[..., Any, Any]] = Task, **options: Unpack[TaskOptionsArgs]) -> TaskDecorator: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    base: Any = Task,
    **options: Any,
) -> Any:
    """Make a task of a function: ``@task`` or ``@task(queue="uploads", max_retries=5, …)``.

    Args:
        function: The function, sync or async.
        base: A subclass of ``Task`` whose class attributes are the defaults and whose methods are shared.
        options: See ``TaskOptionsArgs`` and the guide to tasks.

    Raises:
        TaskDefinitionError: An option is wrong; the message names it and the task.
        TaskAlreadyRegistered: Another function has this name and version.
    """
    local_names = _surrounding_locals()
    if function is not None:
        return make_task(function, base, options, local_names)

    def decorate(function: Callable[..., Any]) -> Task[..., Any, Any]:
        return make_task(function, base, options, local_names)

    return decorate


def make_task(
    function: object, base: object, options: Mapping[str, Any], local_names: Mapping[str, Any]
) -> Task[..., Any, Any]:
    """Make a task of a function and register it: what ``task`` and ``TaskRegistry.register`` share."""
    from uno_jobs.tasks.registry import TaskRegistry

    if isinstance(function, Task):
        raise TaskDefinitionError(
            f"{function!r} is a task already: decorate a function once, or register its .function under another name"
        )
    if isinstance(function, staticmethod | classmethod) or not callable(function):
        raise TaskDefinitionError(f"@task takes a function, not {function!r}")
    where = _where(function, options)
    if not (isinstance(base, type) and issubclass(base, Task)):
        raise TaskDefinitionError(f"task {where}: base must be a subclass of Task, not {base!r}")
    config = _configure(function, cast("type[Task[..., Any, Any]]", base), options, where)
    try:
        made = cast("Task[..., Any, Any]", base())
    except TypeError as error:
        raise TaskDefinitionError(
            f"task {where}: base {base.__name__} cannot be made without arguments: {error}"
        ) from error
    made.bind(function, config, local_names)
    TaskRegistry.current().add(made)
    return made


def _configure(
    function: Callable[..., Any], base: type[Task[..., Any, Any]], options: Mapping[str, Any], where: str
) -> TaskOptions:
    values: dict[str, object] = {option: inspect.getattr_static(base, option) for option in OPTION_ATTRIBUTES}
    values.update(options)
    if "name" not in options:
        values["name"] = inspect.getattr_static(base, "name", None) or getattr(function, "__name__", "")
        if values["name"] in {"<lambda>", ""}:
            raise TaskDefinitionError(f"task {where}: a lambda or an object without __name__ needs a name=")
    if not values["description"]:
        values["description"] = (inspect.getdoc(function) or "").strip().partition("\n")[0]
    config = build_options(values, where=where, function_is_async=_is_async(function, options))
    if config.runs_in == "process" and "<locals>" in getattr(innermost(function), "__qualname__", ""):
        raise TaskDefinitionError(
            f"task {where}: it runs in a child process, which could not find a function defined inside "
            "another by importing: define it at the module's top level, or set runs_in='thread'"
        )
    return config


def _where(function: Callable[..., Any], options: Mapping[str, Any]) -> str:
    """Return what messages call a task whose name may itself be wrong."""
    name = options.get("name")
    if not isinstance(name, str):
        name = getattr(function, "__name__", repr(function))
    return repr(name)


def _is_async(function: Callable[..., Any], options: Mapping[str, Any]) -> bool:
    if inspect.iscoroutinefunction(function):
        return True
    # A plain wrapper of a coroutine function usually returns its coroutine; who knows better says so.
    return options.get("asynchronous") is not False and inspect.iscoroutinefunction(innermost(function))


def _surrounding_locals() -> Mapping[str, Any]:
    """Return the locals of the function that calls the decorator; nothing at a module's top level."""
    here = inspect.currentframe()
    caller = here.f_back.f_back if here is not None and here.f_back is not None else None
    return {} if caller is None or caller.f_locals is caller.f_globals else caller.f_locals
