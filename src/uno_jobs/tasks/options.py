"""The options of a task: what may be written in ``@task(...)`` and in a base class, checked and kept."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, cast

from uno_jobs.errors import InvalidOption, TaskDefinitionError
from uno_jobs.tasks import checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from uno_jobs.middleware import TaskMiddleware

PriorityName = Literal["critical", "high", "normal", "low"]
RunsIn = Literal["loop", "thread", "process"]
TimeoutAction = Literal["cancel", "terminate"]
UniqueUntil = Literal["finished", "started"]
OnDuplicate = Literal["return", "raise", "replace"]
# Spelt out, since type checkers infer no parameters of a lambda from Callable[..., str].
UniqueKey = (
    str
    | Callable[[], str]
    | Callable[[Any], str]
    | Callable[[Any, Any], str]
    | Callable[[Any, Any, Any], str]
    | Callable[[Any, Any, Any, Any], str]
)


class TaskOptionsArgs(TypedDict, total=False):
    """The keyword arguments of ``@task`` (durations are seconds or a ``timedelta``)."""

    name: str
    version: str
    queue: str
    priority: PriorityName | int
    description: str
    max_retries: int
    retry_delay: float | timedelta
    retry_backoff: bool
    retry_backoff_factor: float
    retry_jitter: bool
    retry_max_delay: float | timedelta
    retry_for_exceptions: Sequence[type[BaseException]] | None
    timeout: float | timedelta | None
    timeout_action: TimeoutAction
    terminate_grace: float | timedelta
    unique: bool
    unique_key: UniqueKey | None
    unique_until: UniqueUntil
    on_duplicate: OnDuplicate
    max_memory: str | int | None
    cpu_limit: float | None
    runs_in: RunsIn | None
    asynchronous: bool | None
    middleware: Sequence[TaskMiddleware]
    upgrade_from: Mapping[str, Callable[..., Any]]
    expires: float | timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """The checked options of one task. Durations are seconds, sizes bytes, priorities numbers."""

    name: str
    version: str = "1.0"
    queue: str = "default"
    priority: int = 5
    description: str = ""
    max_retries: int = 3
    retry_delay: float = 60.0
    retry_backoff: bool = False
    retry_backoff_factor: float = 2.0
    retry_jitter: bool = False
    retry_max_delay: float = 86400.0
    retry_for_exceptions: tuple[type[BaseException], ...] | None = None
    timeout: float | None = None
    timeout_action: TimeoutAction = "cancel"
    terminate_grace: float = 5.0
    unique: bool = False
    unique_key: str | Callable[..., Any] | None = None
    unique_until: UniqueUntil = "finished"
    on_duplicate: OnDuplicate = "return"
    max_memory: int | None = None
    cpu_limit: float | None = None
    runs_in: RunsIn = "loop"
    asynchronous: bool = True
    middleware: tuple[TaskMiddleware, ...] = ()
    upgrade_from: Mapping[str, Callable[..., Any]]
    expires: float | None = None

    def record(self) -> dict[str, Any]:
        """Return the options as plain JSON values, as ``task_versions`` keeps them.

        ``unique_key`` is the fixed key, or ``{"callable": true}`` for a function.
        """
        record = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in {"middleware", "retry_for_exceptions", "unique_key", "upgrade_from"}
        }
        record["unique_key"] = {"callable": True} if callable(self.unique_key) else self.unique_key
        record["retry_for_exceptions"] = (
            None
            if self.retry_for_exceptions is None
            else [f"{cls.__module__}.{cls.__qualname__}" for cls in self.retry_for_exceptions]
        )
        record["upgrade_from"] = sorted(self.upgrade_from)
        return record


DEFAULTS: Final[Mapping[str, Any]] = {
    "version": "1.0",
    "queue": "default",
    "priority": "normal",
    "description": "",
    "max_retries": 3,
    "retry_delay": 60,
    "retry_backoff": False,
    "retry_backoff_factor": 2,
    "retry_jitter": False,
    "retry_max_delay": 86400,
    "retry_for_exceptions": None,
    "timeout": None,
    "timeout_action": "cancel",
    "terminate_grace": 5,
    "unique": False,
    "unique_key": None,
    "unique_until": "finished",
    "on_duplicate": "return",
    "max_memory": None,
    "cpu_limit": None,
    "runs_in": None,
    "asynchronous": None,
    "middleware": (),
    "upgrade_from": {},
    "expires": None,
}
"""Every option but ``name``, as it is where nobody gave one."""


def build_options(values: Mapping[str, object], *, where: str, function_is_async: bool) -> TaskOptions:
    """Check options and return them as they are kept.

    Args:
        values: Options by name, as written; ``name`` is among them.
        where: What messages call the task.
        function_is_async: Whether the task's function is a coroutine function.

    Raises:
        TaskDefinitionError: An option is unknown or wrong; the message names it and the task.
    """
    known = {"name", *DEFAULTS}
    for option in values:
        if option not in known:
            raise TaskDefinitionError(f"task {where}: there is no option {option!r}{suggest(option, known)}")
    merged: dict[str, Any] = {**DEFAULTS, **values}
    try:
        kept: dict[str, Any] = {option: _check(option, value) for option, value in merged.items()}
        _check_together(kept, merged, function_is_async=function_is_async)
    except InvalidOption as error:
        raise TaskDefinitionError(f"task {where}: {error}") from None
    return TaskOptions(**kept)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean …?)"`` for a word that resembles a known one, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _check(option: str, value: object) -> object:
    if value is None and DEFAULTS.get(option, "") is None:
        return None
    match option:
        case "name":
            return checks.task_name(value)
        case "version":
            return checks.version(value)
        case "queue":
            return checks.parse_queue(value)
        case "priority":
            return checks.parse_priority(value)
        case "description":
            return checks.text(value, option)
        case "max_retries":
            return checks.retries(value)
        case "retry_delay" | "retry_max_delay" | "terminate_grace":
            return checks.parse_seconds(value, option)
        case "timeout" | "expires":
            return checks.parse_seconds(value, option, above_zero=True)
        case "retry_backoff_factor":
            return checks.factor(value)
        case "retry_for_exceptions":
            return checks.exceptions(value)
        case "timeout_action":
            return checks.one_of(value, option, "cancel", "terminate")
        case "unique_key":
            return checks.unique_key(value)
        case "unique_until":
            return checks.one_of(value, option, "finished", "started")
        case "on_duplicate":
            return checks.one_of(value, option, "return", "raise", "replace")
        case "max_memory":
            return checks.memory(value)
        case "cpu_limit":
            return checks.cores(value)
        case "runs_in":
            return checks.one_of(value, option, "loop", "thread", "process")
        case "middleware":
            return checks.middlewares(value)
        case "upgrade_from":
            return checks.upgrades(value)
        case _:
            return checks.flag(value, option)


def _check_together(kept: dict[str, Any], written: Mapping[str, Any], *, function_is_async: bool) -> None:
    if kept["unique_key"] is not None and not kept["unique"]:
        raise InvalidOption("unique_key has no effect without unique=True: add it")
    if kept["retry_delay"] > kept["retry_max_delay"]:
        raise InvalidOption(
            f"retry_delay ({written['retry_delay']}) is over retry_max_delay ({written['retry_max_delay']}): "
            "raise retry_max_delay"
        )
    if kept["version"] in kept["upgrade_from"]:
        raise InvalidOption(f"upgrade_from names the task's own version {kept['version']!r}")
    if kept["asynchronous"] is None:
        kept["asynchronous"] = function_is_async
    elif function_is_async and not kept["asynchronous"]:
        raise InvalidOption("asynchronous=False, but the function is an 'async def'")
    kept["runs_in"] = _runs_in(kept)


def _runs_in(kept: dict[str, Any]) -> RunsIn:
    """Decide where the task runs; see "Running" in the documentation."""
    asked = cast("RunsIn | None", kept["runs_in"])
    needs = [f"{option}={kept[option]!r}" for option in ("max_memory", "cpu_limit") if kept[option] is not None]
    if kept["timeout_action"] == "terminate":
        needs.append("timeout_action='terminate'")
    if needs and asked in {"loop", "thread"}:
        raise InvalidOption(f"runs_in={asked!r} cannot be had with {needs[0]}, which needs a process of its own")
    if kept["asynchronous"] and asked == "thread":
        raise InvalidOption("runs_in='thread' is for synchronous functions, and this one is asynchronous")
    if not kept["asynchronous"] and asked == "loop":
        raise InvalidOption("runs_in='loop' is for asynchronous functions; a synchronous one would stop the worker")
    if asked is not None:
        return asked
    return "process" if needs or not kept["asynchronous"] else "loop"
