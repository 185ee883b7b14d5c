"""The parameters of a task: arguments of a caller to JSON, and JSON to the arguments of a run."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from uno_jobs.errors import InvalidArguments, NotSerializable
from uno_jobs.storable import to_json
from uno_jobs.tasks.annotations import EVERYTHING
from uno_jobs.tasks.options import suggest
from uno_jobs.tasks.parameter import Parameter, validation_message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from uno_jobs.tasks.annotations import Annotations

    Check = tuple[frozenset[type] | None, Callable[[Any], Any]]


class BoundArguments:
    """Arguments that fit a task's parameters, as they are stored."""

    __slots__ = ("_args", "_kwargs", "_named", "_parameters", "args_json", "kwargs_json")

    def __init__(
        self, parameters: Parameters, args: tuple[Any, ...], kwargs: dict[str, Any], texts: tuple[str, str]
    ) -> None:
        self._parameters = parameters
        self._args = args
        self._kwargs = kwargs
        self._named: str | None = None
        self.args_json, self.kwargs_json = texts
        """The positional arguments as a JSON list, the keyword arguments as a JSON object."""

    @property
    def bound(self) -> dict[str, Any]:
        """The validated values by parameter, in the task's own order, defaults filled in.

        ``*args`` is a tuple under its name, ``**kwargs`` a dict under its.
        """
        return self._parameters.by_name(self._args, self._kwargs)

    @property
    def named_json(self) -> str:
        """``bound`` as a JSON object; equal calls have equal ones, however they were written."""
        if self._named is None:
            self._named = self._parameters.named_json(self.bound)
        return self._named


class Parameters:
    """The parameters of one task, ready to check, write and read arguments.

    Raises:
        TaskDefinitionError: An annotation cannot be resolved or used; at construction, or where a value needs
            it.
    """

    def __init__(self, annotations: Annotations, task: str) -> None:
        self.task = task
        found = [Parameter(one, annotations, task) for one in annotations.signature.parameters.values()]
        self.all: tuple[Parameter, ...] = tuple(found)
        """All parameters, in the function's order."""
        self._positional = [one for one in found if one.kind in {"positional_only", "positional_or_keyword"}]
        self._named = {one.name: one for one in found if one.kind in {"positional_or_keyword", "keyword_only"}}
        self._var_positional = next((one for one in found if one.kind == "var_positional"), None)
        self._var_keyword = next((one for one in found if one.kind == "var_keyword"), None)
        self._required = frozenset(one.name for one in found if one.required)
        # A call is plain when it has positional arguments only, between these two numbers.
        self._most = len(self._positional)
        self._least = (
            sum(one.required for one in self._positional)
            if not any(one.required and one.kind == "keyword_only" for one in found)
            else self._most + 1
        )
        self._accept: list[Check] = [(one.exact, one.accept) for one in self._positional]
        self._restore: list[Check] = [(one.exact, one.restore) for one in self._positional]

    def load(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, unchecked: Collection[str] = ()
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Make the arguments of a run from stored JSON values.

        Args:
            args: Positional arguments, parsed from JSON.
            kwargs: Keyword arguments, parsed from JSON.
            unchecked: Parameters whose values are passed as they are (a step of a chain may need it).

        Returns:
            Positional and keyword arguments in the shape they were stored in; defaults are left to the
            function.

        Raises:
            InvalidArguments: They do not fit; the message names the parameter.
        """
        if not kwargs and not unchecked and self._least <= len(args) <= self._most:
            for (exact, _), value in zip(self._restore, args, strict=False):
                if exact is not None and type(value) not in exact:
                    break
            else:
                return tuple(args), {}  # each is what it was stored as, as in most calls
            with contextlib.suppress(ValidationError, NotSerializable):  # below, where the parameter is named
                return self._by_checks(self._restore, args), {}
        return self._convert(args, kwargs, Parameter.restore, unchecked=unchecked)

    def dump_plain(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
        """Write positional arguments as JSON where they are stored as they are, as most calls have it.

        Returns:
            None if ``dump`` has to look at them: to convert one, or to say what is wrong.
        """
        if kwargs or not self._least <= len(args) <= self._most:
            return None
        for (exact, _), value in zip(self._accept, args, strict=False):
            if exact is not None and type(value) not in exact:
                return None
        try:
            return to_json(args)
        except NotSerializable:
            return None

    def dump(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> BoundArguments:
        """Check a caller's arguments and write them as JSON.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.

        Raises:
            InvalidArguments: They do not fit; the message names the parameter.
            NotSerializable: One cannot be stored as JSON; the message names the parameter.
        """
        text = self.dump_plain(args, kwargs)
        if text is not None:
            return BoundArguments(self, tuple(args), {}, (text, "{}"))
        values: tuple[Any, ...] | None = None
        named: dict[str, Any] = {}
        if not kwargs and self._least <= len(args) <= self._most:
            with contextlib.suppress(ValidationError, NotSerializable):  # below, where the parameter is named
                values = self._by_checks(self._accept, args)
        if values is None:
            values, named = self._convert(args, kwargs, Parameter.accept)
        return BoundArguments(self, values, named, self._texts(values, named))

    def dump_partial(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], places: Sequence[Parameter]
    ) -> tuple[str, str]:
        """Check arguments that need not be complete, and write them as JSON.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.
            places: The parameters that the positional arguments are for; what is left goes to ``*args``.

        Raises:
            InvalidArguments: They do not fit; the message names the parameter.
            NotSerializable: One cannot be stored as JSON; the message names the parameter.
        """
        _, named = self._convert((), kwargs, Parameter.accept, partial=True)
        positional: list[Any] = []
        for index, value in enumerate(args):
            parameter = places[index] if index < len(places) else self._var_positional
            assert parameter is not None
            checked = self._checked(parameter, value, Parameter.accept, parameter.name)
            positional.append(self._storable(parameter, checked, parameter.name))
        return to_json(positional), self._texts((), named)[1]

    def by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments that fit by parameter, in the function's order, defaults filled in."""
        positional = {one.name: value for one, value in zip(self._positional, args, strict=False)}
        extra = {name: value for name, value in kwargs.items() if name not in self._named}
        named: dict[str, Any] = {}
        for one in self.all:
            if one.kind == "var_positional":
                named[one.name] = tuple(args[self._most :])
            elif one.kind == "var_keyword":
                named[one.name] = extra
            elif one.name in positional:
                named[one.name] = positional[one.name]
            elif one.name in self._named and one.name in kwargs:
                named[one.name] = kwargs[one.name]
            else:
                named[one.name] = one.default
        return named

    def named_json(self, bound: Mapping[str, Any]) -> str:
        """Return values by parameter as a JSON object."""
        named: dict[str, Any] = {}
        for one in self.all:
            value = bound[one.name]
            if one.kind == "var_positional":
                named[one.name] = [one.jsonable(item) for item in value]
            elif one.kind == "var_keyword":
                named[one.name] = {key: one.jsonable(item) for key, item in value.items()}
            else:
                named[one.name] = one.default_jsonable() if value is one.default else one.jsonable(value)
        return to_json(named)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the arguments as an object, name → value.

        ``*args`` is an array under its name; ``**kwargs`` are the additional properties.
        """
        typed = [one for one in self.all if one.exact is not EVERYTHING]
        # Generated together, so that two models of one name do not collide in the definitions.
        schemas, common = TypeAdapter.json_schemas(
            [(one.name, "validation", one.adapter) for one in typed], by_alias=True
        )
        properties: dict[str, Any] = {}
        additional: Any = False
        for one in self.all:
            schema: Any = dict(schemas.get((one.name, "validation"), {}))
            if one.kind == "var_keyword":
                additional = schema or True
                continue
            if one.kind == "var_positional":
                schema = {"type": "array", "items": schema}
            elif not one.required:
                schema["default"] = one.default_jsonable()
            properties[one.name] = schema
        return {
            "type": "object",
            "properties": properties,
            "required": [one.name for one in self.all if one.required],
            "additionalProperties": additional,
            **({"$defs": common["$defs"]} if "$defs" in common else {}),
        }

    def describe(self) -> list[dict[str, Any]]:
        """Return each parameter's name, kind, whether it is required, and else its default as JSON value."""
        described: list[dict[str, Any]] = []
        for one in self.all:
            entry: dict[str, Any] = {"name": one.name, "kind": one.kind, "required": one.required}
            if one.default is not inspect.Parameter.empty:
                entry["default"] = one.default_jsonable()
            described.append(entry)
        return described

    @staticmethod
    def _by_checks(checks: Sequence[Check], args: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            value if exact is None or type(value) in exact else check(value)
            for (exact, check), value in zip(checks, args, strict=False)
        )

    # --- the general way: any call, and every error by name ---

    def _convert(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        convert: Callable[[Parameter, Any], Any],
        *,
        unchecked: Collection[str] = (),
        partial: bool = False,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if len(args) > self._most and self._var_positional is None:
            raise self._invalid(
                f"takes at most {self._most} positional argument{'' if self._most == 1 else 's'}, "
                f"but {len(args)} were given"
            )
        given = {one.name for one, _ in zip(self._positional, args, strict=False)}

        def one_value(parameter: Parameter, value: Any, name: str) -> Any:
            # By the parameter's own name: a key of **kwargs may be the same as a positional-only one's.
            return value if parameter.name in unchecked else self._checked(parameter, value, convert, name)

        positional: list[Any] = []
        for index, value in enumerate(args):
            parameter = self._positional[index] if index < self._most else self._var_positional
            assert parameter is not None
            positional.append(one_value(parameter, value, parameter.name))
        named: dict[str, Any] = {}
        for name, value in kwargs.items():
            parameter = self._named.get(name)
            if parameter is None:
                parameter = self._var_keyword
                if parameter is None:
                    raise self._invalid(self._unexpected(name))
            elif name in given:
                raise self._invalid(f"parameter {name!r} was given twice, by position and by name")
            named[name] = one_value(parameter, value, name)
        if not partial:
            missing = [name for name in self._required - given if name not in named or name not in self._named]
            if missing:
                order = [one.name for one in self.all if one.name in missing]
                raise self._invalid(f"missing {', '.join(repr(name) for name in order)}")
        return tuple(positional), named

    def _checked(self, parameter: Parameter, value: Any, convert: Callable[[Parameter, Any], Any], name: str) -> Any:
        try:
            return convert(parameter, value)
        except ValidationError as error:
            raise self._invalid(f"parameter {name!r}: {validation_message(error)}") from error
        except NotSerializable as error:
            raise NotSerializable(f"task {self.task}: parameter {name!r}: {error}") from error

    def _texts(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, str]:
        positional: list[Any] = []
        for index, value in enumerate(args):
            parameter = self._positional[index] if index < self._most else self._var_positional
            assert parameter is not None
            positional.append(self._storable(parameter, value, parameter.name))
        named = {
            name: self._storable(self._named.get(name) or self._var_keyword, value, name)
            for name, value in kwargs.items()
        }
        return to_json(positional), to_json(named) if named else "{}"

    def _storable(self, parameter: Parameter | None, value: Any, name: str) -> Any:
        assert parameter is not None
        try:
            plain = parameter.jsonable(value)
            to_json(plain)
        except NotSerializable as error:
            raise NotSerializable(f"task {self.task}: parameter {name!r}: {error}") from error
        return plain

    def _unexpected(self, name: str) -> str:
        if any(one.name == name and one.kind == "positional_only" for one in self.all):
            return f"parameter {name!r} can only be given by position"
        return f"has no parameter {name!r}{suggest(name, self._named)}"

    def _invalid(self, reason: str) -> InvalidArguments:
        return InvalidArguments(f"task {self.task}: {reason}")
