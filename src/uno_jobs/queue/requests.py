"""From what a caller asks to rows that can be stored: every check that needs no database."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from uuid_utils import uuid7

from uno_jobs.errors import InvalidArguments, InvalidOption, LargePayloadWarning, PayloadTooLarge, UnoJobsError
from uno_jobs.queue.options import NOTHING, Arguments, Asked, Defaults, JobOptions, check_options, join
from uno_jobs.tasks import checks
from uno_jobs.tasks.definition import Task
from uno_jobs.tasks.registry import TaskRegistry
from uno_jobs.tasks.signature import Signature

if TYPE_CHECKING:
    AnyTask = Task[..., Any, Any]

LARGE_PAYLOAD: Final = 300_000
"""From here on there is a warning, in bytes of JSON."""

OF_WORKFLOWS: Final = {"on_parent_failure"}
OF_THE_CALL: Final = {"connection", "notify", "via"}


class EnqueueRequest(NamedTuple):
    """One job, ready to be stored. All texts; the id is a UUIDv7, or the caller's own."""

    options: JobOptions
    id: str
    args: str
    kwargs: str
    unique_key: str | None
    unique_args: str | None


class ByName(NamedTuple):
    """One job of a task that this process does not know: what workers recorded of it decides."""

    task: str
    asked: Asked
    args: list[Any] | tuple[Any, ...]
    kwargs: Mapping[str, Any]


Seen = dict[tuple[int, int], tuple[JobOptions, Mapping[str, Any]]]
"""The options of a bulk's jobs, by the identity of the task and of the dict that the caller wrote, which is held with
them: an address must stay that dict's, though a generator lets its signatures go."""


class Registered:
    """A task of this process."""

    __slots__ = ("_bind", "defaults", "dump_plain", "plain", "task")

    def __init__(self, task: AnyTask) -> None:
        config = task.config
        self.task = task
        self._bind = task.parameters.dump
        self.dump_plain = task.parameters.dump_plain
        self.defaults = Defaults(
            config.name,
            config.version,
            config.queue,
            str(config.priority),
            None if config.expires is None else repr(config.expires),
            config.unique,
            config.unique_until == "started",
            config.on_duplicate,
        )
        self.plain = join(self, NOTHING)
        """The options of a job of which the caller says nothing."""

    def bind(self, args: list[Any] | tuple[Any, ...], kwargs: Mapping[str, Any], options: JobOptions) -> Arguments:
        """See ``Definition``."""
        if not options.unique and (text := self.dump_plain(args, kwargs)) is not None:
            return text, "{}", None, None
        bound = self._bind(args, kwargs)
        if not options.unique:
            return bound.args_json, bound.kwargs_json, None, None
        key = options.unique_key or self.task.unique_key_of(bound)
        return bound.args_json, bound.kwargs_json, key, bound.named_json if key is None else None


class Requests:
    """Makes the requests of calls. What several jobs share is checked once."""

    def __init__(self, max_payload_size: int) -> None:
        self._limit = max_payload_size
        # No character has more than four bytes, so shorter texts need no counting.
        self._short = min(LARGE_PAYLOAD, max_payload_size) // 4
        # By the task's identity, whatever its class holds to be equal; held, so that nothing else comes to lie there.
        self._registered: dict[int, Registered] = {}

    def one(
        self, task: object, args: object, kwargs: object, options: Mapping[str, Any]
    ) -> tuple[EnqueueRequest | ByName, AnyTask | None]:
        """Return the request for one job, and its task where this process has it.

        Raises:
            InvalidOption, InvalidArguments, NotSerializable, PayloadTooLarge: The call is wrong.
        """
        given, named = check_arguments(args, kwargs)
        known = self._registered.get(id(task))
        if known is not None and not options:
            return self.make(known.plain, given, named), known.task
        if isinstance(task, Signature):
            signature = cast("Signature[Any]", task)
            given = [*signature.args, *given]
            named = {**signature.kwargs, **named}
            options = {**_without(signature.options, OF_WORKFLOWS | OF_THE_CALL), **options}
            task = signature.task
        asked = check_options(options)
        name, found = _locate(task, asked.version)
        if found is None:
            return ByName(name, asked, given, named), None
        registered = self._of(found)
        return self.make(registered.plain if asked is NOTHING else join(registered, asked), given, named), found

    def many(self, items: Iterable[object]) -> tuple[list[EnqueueRequest | ByName], list[AnyTask | None]]:
        """Return the requests of a bulk, and the tasks where this process has them.

        Raises:
            InvalidOption, InvalidArguments, NotSerializable, PayloadTooLarge: An item is wrong; the error's
                notes say which.
        """
        requests: list[EnqueueRequest | ByName] = []
        tasks: list[AnyTask | None] = []
        seen: Seen = {}
        for index, item in enumerate(items):
            # What most bulks are made of, with nothing called that can be spared.
            if type(item) is Signature and not item.options:
                known = self._registered.get(id(item.task))
                if known is not None and not known.plain.unique:
                    text = known.dump_plain(item.args, item.kwargs)
                    if text is not None and len(text) < self._short:
                        requests.append(EnqueueRequest(known.plain, str(uuid7()), text, "{}", None, None))
                        tasks.append(known.task)
                        continue
            try:
                request, task = self._item(item, seen)
            except UnoJobsError as error:
                error.add_note(f"in item {index} of enqueue_many")
                raise
            requests.append(request)
            tasks.append(task)
        return requests, tasks

    def make(self, options: JobOptions, args: list[Any] | tuple[Any, ...], kwargs: Mapping[str, Any]) -> EnqueueRequest:
        """Check arguments against a task and return the request.

        Raises:
            InvalidArguments, NotSerializable, PayloadTooLarge: They do not fit, or are too large.
        """
        stored, named, key, key_args = options.definition.bind(args, kwargs, options)
        if len(stored) + len(named) + options.metadata_length > self._short:
            self._check_size(options, stored, named)
        return EnqueueRequest(options, options.id or str(uuid7()), stored, named, key, key_args)

    def _item(self, item: object, seen: Seen) -> tuple[EnqueueRequest | ByName, AnyTask | None]:
        if isinstance(item, Signature):
            signature = cast("Signature[Any]", item)
            options = self._of_signature(signature, seen) if signature.options else self._of(signature.task).plain
            return self.make(options, signature.args, signature.kwargs), signature.task
        if isinstance(item, tuple):
            parts = cast("tuple[object, ...]", item)
            if 1 <= len(parts) <= 3 and isinstance(parts[0], Task):
                task = cast("AnyTask", parts[0])
                args, kwargs = check_arguments(*parts[1:])
                return self.make(self._of(task).plain, args, kwargs), task
            if 1 <= len(parts) <= 3:
                args, kwargs = check_arguments(*parts[1:])
                return self.one(parts[0], args, kwargs, {})
        if isinstance(item, Task | str):
            return self.one(cast("object", item), None, None, {})
        raise InvalidOption(
            "enqueue_many takes signatures (task.s(...), task.options(...).s(...)) or tuples "
            f"(task, args, kwargs), not {item!r}"
        )

    def _of_signature(self, signature: Signature[Any], seen: Seen) -> JobOptions:
        key = id(signature.task), id(signature.options)
        found = seen.get(key)
        if found is None:
            for name in OF_THE_CALL & signature.options.keys():
                raise InvalidOption(f"{name}= is given to enqueue_many itself, not to single jobs")
            asked = check_options(_without(signature.options, OF_WORKFLOWS))
            found = seen[key] = join(self._of(signature.task), asked), signature.options
        return found[0]

    def _of(self, task: AnyTask) -> Registered:
        found = self._registered.get(id(task))
        if found is None:
            found = self._registered[id(task)] = Registered(task)
        return found

    def _check_size(self, options: JobOptions, args: str, kwargs: str) -> None:
        size = sum(len(text.encode()) for text in (args, kwargs, options.metadata or ""))
        advice = "store the data elsewhere and pass what names it"
        if size > self._limit:
            raise PayloadTooLarge(
                f"task {options.task!r}: arguments and metadata have {size:,} bytes, over the limit of "
                f"{self._limit:,} (max_payload_size): {advice}"
            )
        if size > LARGE_PAYLOAD:
            warnings.warn(
                f"task {options.task!r}: arguments and metadata have {size:,} bytes, a burden to readers: {advice}",
                LargePayloadWarning,
                stacklevel=_caller(),
            )


def _caller() -> int:
    """Return the stacklevel of the first frame outside this package, so that the warning points there."""
    level, frame = 1, inspect.currentframe()
    frame = frame.f_back if frame is not None else None
    while frame is not None and frame.f_globals.get("__name__", "").startswith("uno_jobs."):
        level, frame = level + 1, frame.f_back
    return level


def _locate(task: object, version: str | None) -> tuple[str, AnyTask | None]:
    if isinstance(task, Task):
        known = cast("AnyTask", task)
        if version is None or version == known.config.version:
            return known.config.name, known
        name = known.config.name
    elif isinstance(task, str):
        name = checks.task_name(task)
    else:
        hint = ": decorate it with @task" if callable(task) else ""
        raise InvalidOption(f"task must be a task, a signature or a task's name, not {task!r}{hint}")
    return name, TaskRegistry.current().find(name, version)


def check_arguments(
    args: object = None, kwargs: object = None
) -> tuple[list[Any] | tuple[Any, ...], Mapping[str, Any]]:
    """Check that arguments are a list and a dict.

    Raises:
        InvalidArguments: They are not.
    """
    if args is None:
        args = ()
    if not isinstance(args, (list, tuple)):
        raise InvalidArguments(f"args must be a list of positional arguments, not {args!r}")
    if kwargs is None:
        return cast("list[Any] | tuple[Any, ...]", args), {}
    if not isinstance(kwargs, Mapping):
        raise InvalidArguments(f"kwargs must be a dict of keyword arguments, not {kwargs!r}")
    for name in cast("Mapping[object, object]", kwargs):
        if not isinstance(name, str):
            raise InvalidArguments(f"kwargs must have texts as keys, not {name!r}")
    return cast("list[Any] | tuple[Any, ...]", args), cast("Mapping[str, Any]", kwargs)


def _without(options: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}
