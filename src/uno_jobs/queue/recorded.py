"""Tasks that this process does not know: enqueued by name, from what workers recorded of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from uno_jobs.errors import InvalidArguments, InvalidOption, NotSerializable, TaskNotFound
from uno_jobs.queue.options import Defaults
from uno_jobs.storable import from_json, to_json
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema
from uno_jobs.tasks.options import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from uno_jobs.queue.options import Arguments, JobOptions
    from uno_jobs.storage.connections.link import Rows, Steps

_LOOK_UP = (
    "SELECT version, options::text, parameters::text, schema::text FROM {schema}.recorded_task($1::text, $2::text)"
)


class RecordedTask:
    """A row of ``task_versions``."""

    def __init__(self, name: str, version: str, options: str, parameters: str, schema: str) -> None:
        self._what = f"{name!r} (version {version})"
        self._parameters: list[dict[str, Any]] = from_json(parameters)
        self._schema = schema
        recorded: dict[str, Any] = from_json(options)
        key = recorded.get("unique_key")
        self._key = key if isinstance(key, str) else None
        self._computed = isinstance(key, dict)
        expires = recorded.get("expires")
        self.defaults = Defaults(
            name,
            version,
            recorded.get("queue", "default"),
            str(recorded.get("priority", 5)),
            None if expires is None else repr(float(expires)),
            bool(recorded.get("unique")),
            recorded.get("unique_until") == "started",
            recorded.get("on_duplicate") or "return",
        )

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: JobOptions) -> Arguments:
        """See ``Definition``; checked against the JSON schema that was recorded."""
        texts = self._text(list(args), "args"), self._text(dict(kwargs), "kwargs")
        given, named = self._by_name(from_json(texts[0]), from_json(texts[1]))
        self._validate(given)
        if not options.unique:
            return *texts, None, None
        key = options.unique_key or self._key
        if key is None and self._computed:
            raise InvalidOption(
                f"the unique key of task {self._what} is computed by its own code, which is not registered in "
                "this process: pass unique_key="
            )
        return *texts, key, to_json(named) if key is None else None

    def _by_name(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what was given, flat, and all arguments with their defaults, as SQL's bind_arguments does."""
        given: dict[str, Any] = {}
        named: dict[str, Any] = {}
        rest, taken = dict(kwargs), 0
        open_args = open_kwargs = False
        for parameter in self._parameters:
            name, kind = parameter["name"], parameter["kind"]
            if kind == "var_positional":
                named[name] = given[name] = args[taken:]
                taken, open_args = len(args), True
            elif kind == "var_keyword":
                named[name], open_kwargs = rest, True
            elif kind != "keyword_only" and taken < len(args):
                if name in rest and kind != "positional_only":
                    raise self._invalid(f"parameter {name!r} was given twice, by position and by name")
                named[name] = given[name] = args[taken]
                taken += 1
            elif name in rest and kind != "positional_only":
                named[name] = given[name] = rest.pop(name)
            elif parameter["required"]:
                raise self._invalid(f"missing {name!r}")
            else:
                named[name] = parameter.get("default")
        if taken < len(args) and not open_args:
            raise self._invalid(f"takes at most {taken} positional arguments, but {len(args)} were given")
        if rest and not open_kwargs:
            name = min(rest)
            names = [parameter["name"] for parameter in self._parameters]
            raise self._invalid(f"has no parameter {name!r}{suggest(name, names)}")
        return {**given, **rest}, named

    def _validate(self, given: dict[str, Any]) -> None:
        if (error := _best_match(self._validator.iter_errors(given))) is not None:
            where = ".".join(str(part) for part in error.absolute_path)
            raise self._invalid(f"parameter {where!r}: {error.message}" if where else error.message)

    @functools.cached_property
    def _validator(self) -> Any:
        from jsonschema import Draft202012Validator

        return Draft202012Validator(from_json(self._schema))

    def _text(self, value: object, what: str) -> str:
        try:
            return to_json(value)
        except NotSerializable as error:
            raise NotSerializable(f"task {self._what}: {what}: {error}") from error

    def _invalid(self, reason: str) -> InvalidArguments:
        return InvalidArguments(f"task {self._what}: {reason}")


def _best_match(errors: Any) -> Any:
    from jsonschema import exceptions

    return cast("Any", exceptions).best_match(errors)


def look_up(schema: str, name: str, version: str | None) -> Steps[RecordedTask]:
    """Find a task in the database; one statement.

    Raises:
        TaskNotFound: No living worker knows it; with a version, none ever did.
    """
    rows: Rows = yield Statement(_LOOK_UP.format(schema=quote_schema(schema)), (name, version))
    if not rows:
        if version is None:
            raise TaskNotFound(
                f"no task {name!r} is registered in this process, and no living worker knows one: import the module "
                "that defines it (or call discover_tasks), start a worker that has it, or give a version="
            )
        raise TaskNotFound(
            f"version {version!r} of task {name!r} is not registered in this process, and no worker has ever "
            "registered it: see 'uno-jobs tasks'"
        )
    return RecordedTask(name, *rows[0])
