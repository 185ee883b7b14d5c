"""A task: a function with options, and the base class of users' own task classes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Unpack, cast

from typing_extensions import ParamSpec, TypeVar

from uno_jobs.errors import TaskDefinitionError
from uno_jobs.tasks import enqueueing
from uno_jobs.tasks.annotations import Annotations, innermost
from uno_jobs.tasks.parameter import is_json
from uno_jobs.tasks.parameters import BoundArguments, Parameters
from uno_jobs.tasks.results import MAX_RESULT_SIZE, ResultType
from uno_jobs.tasks.signature import Signature
from uno_jobs.tasks.step import Step
from uno_jobs.tasks.uniqueness import KeyFunction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from uno_jobs.middleware import TaskMiddleware
    from uno_jobs.queue.handles import JobHandle, SyncJobHandle
    from uno_jobs.tasks.options import (
        OnDuplicate,
        PriorityName,
        RunsIn,
        TaskOptions,
        TimeoutAction,
        UniqueKey,
        UniqueUntil,
    )

P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)
C = TypeVar("C", default=Any)
"""What calling the task returns: R, or a coroutine of it."""

SuccessHook = TypeVar("SuccessHook", bound=Callable[..., Any])
FailureHook = TypeVar("FailureHook", bound=Callable[..., Any])
RetryHook = TypeVar("RetryHook", bound=Callable[..., Any])


class Task(Step[R], Generic[P, R, C]):
    """A task. ``@task`` makes one of a function; it can still be called as that function.

    Subclass it to share options (as class attributes) and behaviour (``validate_input``, ``report_result``)
    among tasks, and name the subclass in ``@task(base=…)``. The decorator's options win over the class's, a
    subclass's over its parents'. An instance is made without arguments, one for each task.
    """

    name: str
    version: str = "1.0"
    queue: str = "default"
    priority: PriorityName | int = "normal"
    description: str = ""
    max_retries: int = 3
    retry_delay: float | timedelta = 60
    retry_backoff: bool = False
    retry_backoff_factor: float = 2
    retry_jitter: bool = False
    retry_max_delay: float | timedelta = 86400
    retry_for_exceptions: Sequence[type[BaseException]] | None = None
    timeout: float | timedelta | None = None
    timeout_action: TimeoutAction = "cancel"
    terminate_grace: float | timedelta = 5
    unique: bool = False
    unique_key: UniqueKey | None = None
    unique_until: UniqueUntil = "finished"
    on_duplicate: OnDuplicate = "return"
    max_memory: str | int | None = None
    cpu_limit: float | None = None
    runs_in: RunsIn | None = None
    asynchronous: bool | None = None
    middleware: Sequence[TaskMiddleware] = ()
    upgrade_from: Mapping[str, Callable[..., Any]] = {}
    expires: float | timedelta | None = None

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]
    __hash__: ClassVar[Callable[[object], int]] = object.__hash__  # pyright: ignore[reportIncompatibleMethodOverride] - the identity, said aloud

    function: Callable[P, C]
    """The function that was decorated."""
    config: TaskOptions
    """The checked options."""
    success_hooks: list[Callable[..., Any]]
    failure_hooks: list[Callable[..., Any]]
    retry_hooks: list[Callable[..., Any]]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call the function itself, here and now."""
        return self.function(*args, **kwargs)

    # --- enqueueing ---

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Enqueue a job of this task with these arguments, through the process's default queue.

        Raises:
            InvalidArguments, NotSerializable: The arguments do not fit; nothing was written.
            EnqueueError, DatabaseError: As ``Queue.enqueue``.
        """
        return await enqueueing.enqueue(self, args, kwargs, {})

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> SyncJobHandle[R]:
        """Enqueue as ``enqueue`` does, blocking, for synchronous programs."""
        return enqueueing.enqueue_sync(self, args, kwargs, {})

    def options(self, **options: Unpack[enqueueing.EnqueueOptions]) -> enqueueing.BoundOptions[P, R]:
        """Set options for one enqueue: ``task.options(delay=60, connection=session).enqueue("a")``.

        Raises:
            InvalidOption: There is no such option.
        """
        return enqueueing.BoundOptions(self, cast("Mapping[str, Any]", options))

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Bind arguments, not necessarily all: a step of a workflow, or something to enqueue."""
        return Signature(self, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Bind arguments; as a step of a workflow it takes nothing from the steps before."""
        return Signature(self, args, kwargs, immutable=True)

    # --- hooks: run once the outcome is durable; the decorated function is returned as it is ---

    def on_success(self, hook: SuccessHook) -> SuccessHook:
        """Call ``hook(job, result)`` when a job of this task has succeeded."""
        self.success_hooks.append(hook)
        return hook

    def on_failure(self, hook: FailureHook) -> FailureHook:
        """Call ``hook(job, error)`` when a job of this task has failed for good."""
        self.failure_hooks.append(hook)
        return hook

    def on_retry(self, hook: RetryHook) -> RetryHook:
        """Call ``hook(job, error, retry_count)`` when an attempt has failed and another will follow."""
        self.retry_hooks.append(hook)
        return hook

    # --- shared behaviour, for subclasses to override, sync or async ---

    def validate_input(self, *args: Any, **kwargs: Any) -> Any:
        """Check the validated arguments before a run; what it returns is ignored.

        A ``ValueError`` or ``TypeError`` from it fails the job without retry, as wrong arguments do; other
        errors are retried by the usual rules.
        """

    def report_result(self, result: Any) -> Any:
        """Report or change the result after a run: what it returns, unless None, takes the result's place."""

    # --- arguments and results as JSON ---

    @functools.cached_property
    def parameters(self) -> Parameters:
        """The task's parameters; their annotations are resolved when this is first read.

        Raises:
            TaskDefinitionError: An annotation cannot be resolved.
        """
        return Parameters(self._annotations, str(self))

    @functools.cached_property
    def result_type(self) -> ResultType:
        """Writes and reads the task's results."""
        return ResultType(self._annotations, str(self))

    def dump_result(self, result: Any, limit: int = MAX_RESULT_SIZE) -> str:
        """Return a result as JSON text; see ``ResultType.dump``."""
        return self.result_type.dump(result, limit)

    def load_result(self, text: str) -> R:
        """Return a stored result as the return annotation's type."""
        return cast("R", self.result_type.load(text))

    def unique_key_of(self, bound: BoundArguments) -> str | None:
        """Return the unique key of a call: the fixed one, or what the task's function makes of the arguments.

        None where the task is not unique, or where the arguments themselves are the key
        (``bound.named_json``).

        Raises:
            InvalidOption: The function raised, or returned no text.
        """
        if self._key_function is not None:
            return self._key_function(bound.bound)
        return cast("str | None", self.config.unique_key)

    def record(self) -> dict[str, Any]:
        """Return what ``task_versions`` keeps of this task, as plain JSON values."""
        return {
            "options": self.config.record(),
            "parameters": self.parameters.describe(),
            "schema": self.parameters.schema(),
            "description": self.config.description,
        }

    def __str__(self) -> str:
        return f"{self.config.name!r} (version {self.config.version})"

    def __repr__(self) -> str:
        config = self.__dict__.get("config")
        return f"<{type(self).__name__} {config.name} {config.version}>" if config else super().__repr__()

    # --- making ---

    _annotations: Annotations
    _key_function: KeyFunction | None
    loaded_by: object
    """The import that ran the function's module, to tell a reload from a second definition."""

    def bind(self, function: Callable[P, C], config: TaskOptions, local_names: Mapping[str, Any]) -> None:
        """Make this instance the task of a function; called once, by ``@task``.

        Raises:
            TaskDefinitionError: The function cannot be a task.
        """
        where = f"{config.name!r}"
        try:
            self._annotations = Annotations(function, local_names)
        except (TypeError, ValueError) as error:
            raise TaskDefinitionError(f"task {where}: {function!r} has no signature to read: {error}") from error
        self.function = function
        self.config = config
        self.success_hooks, self.failure_hooks, self.retry_hooks = [], [], []
        parameters = self._annotations.signature.parameters
        key = config.unique_key
        self._key_function = KeyFunction(key, where, len(parameters)) if callable(key) else None
        for option in ("name", *OPTION_ATTRIBUTES):
            self.__dict__[option] = getattr(config, option)
        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            if (value := getattr(function, attribute, None)) is not None:
                self.__dict__[attribute] = value
        self.__dict__.setdefault("__name__", config.name)
        self.__dict__["__wrapped__"] = function
        for parameter in parameters.values():
            if parameter.default is not inspect.Parameter.empty and (why := is_json(parameter.default)):
                raise TaskDefinitionError(
                    f"task {where}: the default of parameter {parameter.name!r} is not JSON: {why}"
                )
        inner = innermost(function)
        self.loaded_by = getattr(inner, "__globals__", {}).get("__spec__")
        if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
            raise TaskDefinitionError(f"task {where}: a generator function cannot be a task: return a list")


OPTION_ATTRIBUTES = tuple(name for name in Task.__annotations__ if name in Task.__dict__ and not name.startswith("_"))
"""The class attributes that are options."""
