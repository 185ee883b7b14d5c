"""One parameter of a task: how its values are checked, written as JSON and read again."""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any, Final, Optional, cast

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic_core import PydanticSerializationError

from uno_jobs.errors import NotSerializable, TaskDefinitionError
from uno_jobs.storable import check_finite, from_json, to_json
from uno_jobs.tasks.annotations import exact_types

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.tasks.annotations import Annotations

KINDS: Final = {
    inspect.Parameter.POSITIONAL_ONLY: "positional_only",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional_or_keyword",
    inspect.Parameter.VAR_POSITIONAL: "var_positional",
    inspect.Parameter.KEYWORD_ONLY: "keyword_only",
    inspect.Parameter.VAR_KEYWORD: "var_keyword",
}

# What pydantic writes in place of a SecretStr.
_MASK: Final = '"**********"'


class TypedValue:
    """Values of one annotation: from the caller, to JSON, from JSON."""

    __slots__ = ("_adapter", "_secret", "annotation", "exact", "what")

    def __init__(self, annotation: Any, what: str) -> None:
        """Keep a resolved annotation; ``what`` is how messages call it."""
        self.annotation = annotation
        self.exact = exact_types(annotation)
        self.what = what
        self._adapter: TypeAdapter[Any] | None = None
        self._secret: bool | None = None

    @property
    def adapter(self) -> TypeAdapter[Any]:
        """The annotation's pydantic adapter, built when first needed.

        Raises:
            TaskDefinitionError: pydantic knows no schema for it.
        """
        if self._adapter is None:
            try:
                adapter: TypeAdapter[Any] = TypeAdapter(self.annotation)
                if not adapter.pydantic_complete:
                    adapter.rebuild(raise_errors=True)
            except (PydanticUserError, PydanticUndefinedAnnotation) as error:
                raise TaskDefinitionError(
                    f"{self.what}: {self.annotation!r} cannot be used in a task: {str(error).splitlines()[0]}"
                ) from error
            self._adapter = adapter
        return self._adapter

    def accept(self, value: object) -> Any:
        """Validate what a caller passes, as pydantic does, leniently.

        Raises:
            pydantic.ValidationError: It does not fit.
        """
        if self.exact is None or type(value) in self.exact:
            return value
        return self.adapter.validator.validate_python(value, by_alias=True, by_name=True)

    def restore(self, value: object) -> Any:
        """Make of a JSON value what the function gets, by the rules for JSON (a list may become a tuple).

        Raises:
            pydantic.ValidationError: It does not fit.
        """
        if self.exact is None or type(value) in self.exact:
            return value
        return self.adapter.validator.validate_json(to_json(value), by_alias=True, by_name=True)

    def jsonable(self, value: Any) -> Any:
        """Turn a validated value into plain JSON values, by the annotation's rules.

        Raises:
            NotSerializable: It has no JSON form, or one that could not be read again.
        """
        if self.exact is None or type(value) in self.exact:
            return value
        try:
            plain = self.serialize(value)
        except PydanticSerializationError:
            plain = self._by_own_type(value)
        # The run reads this text: what it could not read, or would read as something else, is refused now.
        text = to_json(plain)
        try:
            self.adapter.validator.validate_json(text, by_alias=True, by_name=True)
        except ValidationError as error:
            raise NotSerializable(
                f"a {type(value).__name__} does not survive JSON: {validation_message(error)}"
            ) from error
        if _MASK in text and self._is_secret():
            raise NotSerializable(
                "a SecretStr is masked in JSON, and its value would be lost: pass what names the secret, not the secret"
            )
        return plain

    def serialize(self, value: Any) -> Any:
        """Turn a value into plain JSON values by the annotation's serializer.

        Raises:
            pydantic_core.PydanticSerializationError: It is not of the annotation's type.
            NotSerializable: It holds NaN or Infinity.
        """
        serializer = self.adapter.serializer
        plain = serializer.to_python(value, mode="json", by_alias=False, round_trip=True, warnings="error")
        if _holds_none(plain):
            # Where a field is annotated Any, pydantic writes NaN as null.
            check_finite(serializer.to_python(value, by_alias=False, round_trip=True, warnings=False))
        return plain

    @staticmethod
    def _by_own_type(value: object) -> Any:
        return from_json(to_json(value))

    def _is_secret(self) -> bool:
        if self._secret is None:
            self._secret = "'writeOnly': True" in repr(self.adapter.json_schema())
        return self._secret


class Parameter(TypedValue):
    """One parameter of a task's function."""

    __slots__ = ("default", "kind", "name", "required")

    def __init__(self, parameter: inspect.Parameter, annotations: Annotations, task: str) -> None:
        """Resolve the parameter's annotation; a default of None makes it accept None.

        Raises:
            TaskDefinitionError: The annotation cannot be resolved.
        """
        what = f"task {task}: parameter {parameter.name!r}"
        try:
            annotation = annotations.resolve(parameter.annotation)
        except Exception as error:
            raise TaskDefinitionError(
                f"{what}: its annotation {parameter.annotation!r} cannot be resolved: {error}. Import or "
                "define what it names where it can be found at run time (not only under TYPE_CHECKING)"
            ) from error
        if parameter.default is None and annotation is not Any:
            annotation = Optional[annotation]  # noqa: UP045 - `X | None` fails where X is no class
        super().__init__(annotation, what)
        self.name = parameter.name
        self.kind = KINDS[parameter.kind]
        self.default: Any = parameter.default
        self.required = parameter.default is inspect.Parameter.empty and not self.kind.startswith("var_")

    def default_jsonable(self) -> Any:
        """Return the default as plain JSON values."""
        try:
            return self.jsonable(self.default)
        except NotSerializable:
            # A default need not satisfy its own annotation; decoration has seen that it is JSON.
            return self._by_own_type(self.default)


def validation_message(error: ValidationError) -> str:
    """Say in one line what pydantic found, without the values."""
    return "; ".join(_finding(one) for one in error.errors(include_url=False, include_context=False))


def _finding(finding: Any) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in finding["loc"])
    got = "" if finding["type"] == "missing" else f" (got {_kind_of(finding['input'])})"
    return f"{place.lstrip('.') + ': ' if place else ''}{finding['msg']}{got}"


def _kind_of(value: object) -> str:
    if isinstance(value, types.NoneType):
        return "None"
    return type(value).__name__ if not isinstance(value, BaseModel) else f"model {type(value).__name__}"


def _holds_none(plain: object) -> bool:
    rest = [plain]
    while rest:
        one = rest.pop()
        if one is None:
            return True
        if isinstance(one, dict):
            rest.extend(cast("dict[object, object]", one).values())
        elif isinstance(one, list):
            rest.extend(cast("list[object]", one))
    return False


def is_json(value: object, check: Callable[[object], str] = to_json) -> str | None:
    """Return why a value is not JSON, or None if it is."""
    try:
        check(value)
    except NotSerializable as error:
        return str(error)
    return None
