"""A function's annotations, each resolved by itself and only when it is needed."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EVERYTHING: Final = None
"""``exact_types`` of an annotation that any value satisfies."""

_WORD: Final = re.compile(r"[^\W\d]\w*")


class Annotations:
    """Resolves the annotations of one function, names that are defined later in its module included.

    A name imported only under ``TYPE_CHECKING``, say of the result, does not spoil the others.
    """

    __slots__ = ("_globals", "_locals", "signature")

    def __init__(self, function: Callable[..., Any], local_names: Mapping[str, Any] | None = None) -> None:
        """Read the function's signature; ``local_names`` are those of the function it was defined in.

        Raises:
            ValueError: It has no signature that can be read (some built-in functions).
            TypeError: It is not callable.
        """
        self.signature = inspect.signature(function)
        self._globals = cast("dict[str, Any]", getattr(innermost(function), "__globals__", {}))
        self._locals = self._needed(local_names or {})

    def resolve(self, annotation: object) -> Any:
        """Return an annotation with its strings evaluated.

        Raises:
            NameError: It names something that is not there (yet).
        """
        if annotation is inspect.Parameter.empty:
            return Any
        shim = types.SimpleNamespace(__annotations__={"it": annotation})
        return typing.get_type_hints(shim, self._globals, self._locals, include_extras=True)["it"]

    def _needed(self, local_names: Mapping[str, Any]) -> dict[str, Any]:
        """Keep of the surrounding locals what the annotations name; nothing else is kept alive."""
        annotations = [parameter.annotation for parameter in self.signature.parameters.values()]
        text = " ".join(repr(annotation) for annotation in [*annotations, self.signature.return_annotation])
        return {word: local_names[word] for word in set(_WORD.findall(text)) if word in local_names}


def innermost(function: Any) -> Any:
    """Return the plain function inside wrappers, partials, methods and callable objects."""
    while True:
        if isinstance(function, functools.partial):
            function = cast("functools.partial[Any]", function).func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.ismethod(function):
            function = function.__func__
        elif not inspect.isroutine(function) and not isinstance(function, type):
            return inspect.unwrap(type(function).__call__)
        else:
            return function


def exact_types(annotation: Any) -> frozenset[type] | None:
    """Return the types whose instances satisfy an annotation as they are, without a look inside.

    ``EVERYTHING`` (None) where any value does, and an empty set where pydantic must look.
    """
    if annotation is Any or annotation is object:
        return EVERYTHING
    if annotation is None:
        return frozenset({types.NoneType})
    if annotation in {str, int, float, bool, dict, list, types.NoneType}:
        return frozenset({annotation})
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        found: set[type] = set()
        for member in typing.get_args(annotation):
            exact = exact_types(member)
            if exact is EVERYTHING:
                return EVERYTHING
            if not exact:
                return frozenset()
            found |= exact
        return frozenset(found)
    return frozenset()
