"""How a step of a workflow gets its arguments: from its signature, and from what the steps before it returned.

Four rules, the same at each start: the signature's keyword arguments; its positional ones, placed from the
signature alone; parameters still empty by name from the flow; and the first required parameter, if it is still
empty, takes the previous result. docs/workflows.md explains them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pydantic import ValidationError

from uno_jobs.errors import BindingError, InvalidArguments, NotSerializable
from uno_jobs.tasks.parameter import validation_message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from uno_jobs.tasks.parameter import Parameter
    from uno_jobs.tasks.parameters import Parameters


class Before(NamedTuple):
    """What a step finds before it, as JSON values."""

    previous: Any
    """The result of the step before: for a group the list of its members' results. None where that step did
    not succeed, and this one runs all the same."""
    flow: Mapping[str, Any]
    """The dict results of the steps before, merged in order, the later ones winning; ``Binder.open_names`` of it
    are enough."""


class Bound(NamedTuple):
    """The arguments of a step's run."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    warning: str | None
    """What to warn of: the previous result was passed on though it does not fit."""


class Placed(NamedTuple):
    """What a signature's arguments are for."""

    places: list[Parameter]
    """The parameters that positional arguments are for, in order; what is left is for ``*args``."""
    first: Parameter | None
    """The first required parameter that has no keyword argument."""


class _Call(NamedTuple):
    """A call that is complete, its values not yet checked."""

    args: list[Any]
    kwargs: dict[str, Any]
    taken: tuple[str, ...]
    """The parameter that takes the previous result, and may do so unchecked."""


class Binder:
    """Binds the arguments of one task's steps."""

    __slots__ = ("_fillable", "_has_rest", "_keyword_only", "_optional", "_parameters", "_positional", "_required")

    def __init__(self, parameters: Parameters) -> None:
        every = parameters.all
        self._parameters = parameters
        self._positional = [one for one in every if one.kind in {"positional_only", "positional_or_keyword"}]
        self._required = [one for one in self._positional if one.required]
        self._optional = [one for one in self._positional if not one.required]
        self._keyword_only = [one for one in every if one.kind == "keyword_only"]
        # What has "/" after it has no name that others may rely on.
        self._fillable = [one for one in every if one.kind in {"positional_or_keyword", "keyword_only"}]
        self._has_rest = any(one.kind == "var_positional" for one in every)

    def dump(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, str]:
        """Check the arguments of a step that follows another, as far as they go, and write them as JSON.

        Returns:
            The positional arguments as a JSON list, the keyword arguments as a JSON object, both as the
            signature has them: they are placed anew at each start.

        Raises:
            InvalidArguments: They do not fit; the message names the parameter.
            NotSerializable: One cannot be stored as JSON; the message names the parameter.
        """
        return self._parameters.dump_partial(args, kwargs, self.place(args, kwargs).places)

    def load(self, args: Sequence[Any], kwargs: Mapping[str, Any], before: Before | None) -> Bound:
        """Make the arguments of a run from a stored signature and what came before.

        Args:
            args: The signature's positional arguments, parsed from JSON.
            kwargs: Its keyword arguments, parsed from JSON.
            before: What the step finds; None for a first step and for one that takes nothing from before.

        Returns:
            Validated arguments. Only a previous result that does not fit is passed as it is, with a warning.

        Raises:
            BindingError: A parameter has no value, an argument no parameter, or a value does not fit; the message
                names the parameter.
            InvalidArguments: The same, where there is nothing before.
        """
        if before is None:
            return Bound(*self._parameters.load(args, kwargs), None)
        warning: str | None = None
        filled: list[str] = []

        def take(first: Parameter) -> Any:
            nonlocal warning
            value, warning = _take(first, before.previous)
            return value

        try:
            call = self._complete(args, kwargs, before.flow, take, filled)
            return Bound(*self._parameters.load(call.args, call.kwargs, unchecked=call.taken), warning)
        except (InvalidArguments, NotSerializable) as error:
            origin = f" (earlier steps gave {_listed(filled)})" if filled else ""
            raise BindingError(f"{error}{origin}") from error

    def foresee(self, args: Sequence[Any], kwargs: Mapping[str, Any], flowing: Collection[str]) -> None:
        """Check a stored signature as far as it is known before the steps before it have ended.

        Args:
            args: The signature's positional arguments, parsed from JSON.
            kwargs: Its keyword arguments, parsed from JSON.
            flowing: The names of parameters that the flow may give it.

        Raises:
            BindingError: ``load`` is going to raise this, whatever those steps return.
        """
        filled: list[str] = []
        try:
            call = self._complete(args, kwargs, dict.fromkeys(flowing), lambda _: None, filled)
            self._parameters.load(call.args, call.kwargs, unchecked=[*call.taken, *filled])
        except (InvalidArguments, NotSerializable) as error:
            raise BindingError(str(error)) from error

    def open_names(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> frozenset[str]:
        """Return the names of the parameters that the flow may fill: other keys of it need not be read.

        Raises:
            InvalidArguments: The signature's arguments do not fit.
        """
        given = {one.name for one, _ in zip(self.place(args, kwargs).places, args, strict=False)}
        return frozenset(one.name for one in self._fillable if one.name not in kwargs and one.name not in given)

    def place(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Placed:
        """Say what the arguments of a step that follows another are for, from the signature alone.

        Raises:
            InvalidArguments: There are too many.
        """
        required = [one for one in self._required if not _has(one, (), kwargs)]
        first = next(iter(required), None)
        if len(args) < len(required):
            places = required[1:]
        else:
            places = required + [one for one in self._optional if not _has(one, (), kwargs)]
        if first is None:
            first = next((one for one in self._keyword_only if one.required and one.name not in kwargs), None)
        if len(args) > len(places) and not self._has_rest:
            raise InvalidArguments(
                f"task {self._parameters.task}: has {len(places)} parameter{'' if len(places) == 1 else 's'} left for "
                f"positional arguments, but {len(args)} were given"
            )
        return Placed(places, first)

    def _complete(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        flow: Mapping[str, Any],
        take: Callable[[Parameter], Any],
        filled: list[str],
    ) -> _Call:
        """Make a call of a signature, the flow and the previous result; what the flow gave is added to ``filled``.

        Raises:
            BindingError: A parameter has no value.
            InvalidArguments: There are too many arguments.
        """
        named = dict(kwargs)
        placed = self.place(args, kwargs)
        given = {one.name: value for one, value in zip(placed.places, args, strict=False)}
        for one in self._fillable:
            if one.name in flow and one.name not in named and one.name not in given:
                named[one.name] = flow[one.name]
                filled.append(one.name)
        taken: tuple[str, ...] = ()
        first = placed.first
        if first is not None and not _has(first, given, named):
            taken = (first.name,)
            (named if first.kind == "keyword_only" else given)[first.name] = take(first)
        missing = [one.name for one in self._parameters.all if one.required and not _has(one, given, named)]
        if missing:
            raise BindingError(self._missing(missing))
        return _Call(self._in_order(given, named, args[len(placed.places) :]), named, taken)

    def _in_order(self, given: dict[str, Any], named: dict[str, Any], rest: Sequence[Any]) -> list[Any]:
        """Return what goes by position, and move the others among the named ones."""
        positional: list[Any] = []
        for one in self._positional:
            if one.name in given:
                positional.append(given.pop(one.name))
            elif rest:  # whatever has a name stands before what goes to *args
                positional.append(named.pop(one.name))
            else:
                break
        named.update(given)
        return [*positional, *rest]

    def _missing(self, names: list[str]) -> str:
        return (
            f"task {self._parameters.task}: nothing gives it {_listed(names)}: neither its signature nor what the "
            "steps before it returned"
        )


def _has(parameter: Parameter, given: Collection[str], named: Collection[str]) -> bool:
    """Say whether a parameter has a value; the name of a positional-only one may be a key of ``**kwargs``."""
    return parameter.name in given or (parameter.name in named and parameter.kind != "positional_only")


def _take(first: Parameter, previous: Any) -> tuple[Any, str | None]:
    """Return the previous result as it fits: whole, its only value, or, with a warning, as it is."""
    try:
        return first.restore(previous), None
    except (ValidationError, NotSerializable) as error:
        reason = validation_message(error) if isinstance(error, ValidationError) else str(error)
    if isinstance(previous, dict):
        values = list(cast("dict[str, Any]", previous).values())
        if len(values) == 1:
            with contextlib.suppress(ValidationError, NotSerializable):
                return first.restore(values[0]), None
    return cast("object", previous), (
        f"{first.what}: the previous step's result does not fit, and is passed as it is: {reason}"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
