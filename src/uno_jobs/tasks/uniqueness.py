"""Unique keys made by a task's own function."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.errors import InvalidOption, NotSerializable, TaskDefinitionError
from uno_jobs.storable import check_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_UNIQUE_KEY: Final = 2000
"""Longest unique key, in bytes of UTF-8 (a key of an index has to fit into a third of a page)."""


class KeyFunction:
    """Calls a ``unique_key`` function with as many of a task's arguments as it accepts."""

    __slots__ = ("_accepts", "_function", "_task")

    def __init__(self, function: Callable[..., Any], task: str, parameters: int) -> None:
        """Look at the function's signature.

        Raises:
            TaskDefinitionError: It wants more arguments than the task has parameters, or keyword arguments.
        """
        self._function = function
        self._task = task
        needed = accepted = 0
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                accepted = parameters
            elif parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
                accepted += 1
                needed += parameter.default is parameter.empty
            elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
                raise TaskDefinitionError(
                    f"task {task}: unique_key gets its arguments by position, but {parameter.name!r} can "
                    "only be given by name"
                )
        if needed > parameters:
            raise TaskDefinitionError(
                f"task {task}: unique_key wants {needed} arguments, but the task has only {parameters} parameters"
            )
        self._accepts = accepted

    def __call__(self, bound: Mapping[str, Any]) -> str:
        """Return the key for arguments by parameter, in the task's order.

        Raises:
            InvalidOption: The function raised, or returned no text that can be a key.
        """
        try:
            key = self._function(*list(bound.values())[: self._accepts])
        except Exception as error:
            raise InvalidOption(f"task {self._task}: unique_key raised {type(error).__name__}: {error}") from error
        return check_unique_key(key, f"task {self._task}: unique_key")


def check_unique_key(key: object, what: str) -> str:
    """Return a unique key.

    Raises:
        InvalidOption: It is not a text of 1 to 2,000 bytes that can be stored.
    """
    if not isinstance(key, str):
        raise InvalidOption(f"{what} must be a text, not {key!r}")
    try:
        check_text(key, what)
    except NotSerializable as error:
        raise InvalidOption(str(error)) from None
    if not 1 <= len(key.encode()) <= MAX_UNIQUE_KEY:
        raise InvalidOption(f"{what} must have 1 to {MAX_UNIQUE_KEY:,} bytes, but has {len(key.encode()):,}")
    return key
