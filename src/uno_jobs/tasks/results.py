"""A task's result: written as JSON by the rules of its return annotation, and read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from uno_jobs.errors import NotSerializable, ResultNotStorable, TaskDefinitionError
from uno_jobs.storable import from_json, to_json
from uno_jobs.tasks.annotations import EVERYTHING
from uno_jobs.tasks.parameter import TypedValue

if TYPE_CHECKING:
    from uno_jobs.tasks.annotations import Annotations

MAX_RESULT_SIZE: Final = 1_000_000
"""The largest result stored unless set otherwise, in bytes of JSON."""


class ResultType:
    """Writes and reads the results of one task."""

    __slots__ = ("_typed", "task")

    def __init__(self, annotations: Annotations, task: str) -> None:
        """Take the return annotation; one that cannot be resolved or used counts as none."""
        self.task = task
        self._typed = TypedValue(Any, f"task {task}: its result")
        try:
            typed = TypedValue(annotations.resolve(annotations.signature.return_annotation), self._typed.what)
            if typed.exact is not EVERYTHING and not typed.exact:
                _ = typed.adapter
        except (TaskDefinitionError, NameError, TypeError, SyntaxError, AttributeError):
            return  # the result's own type decides
        self._typed = typed

    def dump(self, value: Any, limit: int = MAX_RESULT_SIZE) -> str:
        """Return a result as JSON text.

        Args:
            value: What the task returned.
            limit: Largest size in bytes of UTF-8.

        Raises:
            ResultNotStorable: It cannot be JSON, or is too large.
        """
        if value is None:
            return "null"
        try:
            text = to_json(self._jsonable(value))
        except NotSerializable as error:
            raise ResultNotStorable(f"task {self.task}: its result cannot be stored: {error}") from error
        if len(text) * 4 > limit and (size := len(text.encode())) > limit:
            raise ResultNotStorable(
                f"task {self.task}: its result has {size:,} bytes, over the limit of {limit:,}: store it "
                "elsewhere and return where"
            )
        return text

    def load(self, text: str) -> Any:
        """Return a stored result as its annotation's type, or as plain JSON values where it does not fit."""
        return self.restore(from_json(text))

    def restore(self, value: Any) -> Any:
        """Return a result, parsed from JSON, as its annotation's type, or as it is where it does not fit."""
        try:
            return self._typed.restore(value)
        except (ValidationError, NotSerializable):
            return value

    def _jsonable(self, value: Any) -> Any:
        exact = self._typed.exact
        if exact is None or type(value) in exact:
            return value
        typed = self._typed
        try:
            plain = typed.serialize(value)
            # pydantic writes foreign classes with the fields that it expects, perhaps none.
            typed.adapter.validator.validate_json(to_json(plain), by_alias=True, by_name=True)
        except (PydanticSerializationError, ValidationError):
            return value
        return plain
