"""From the arguments that a job was stored with to those of its run: rewritten, completed, validated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from uno_jobs.errors import InvalidArguments
from uno_jobs.storable import from_json
from uno_jobs.tasks.binding import Before, Binder, Bound

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from uno_jobs.tasks.definition import Task

    Upgrade = Callable[..., Any]


class ArgumentLoader:
    """Loads the arguments of one task's jobs. The worker and the check before a deploy both go through it.

    Args:
        task: The task.
        upgrade: What rewrites the arguments of an older version, if the jobs are of one.

    Raises:
        TaskDefinitionError: An annotation of the task cannot be resolved.
    """

    __slots__ = ("_binder", "_parameters", "_task", "_upgrade")

    def __init__(self, task: Task[..., Any, Any], upgrade: Upgrade | None = None) -> None:
        self._task = task
        self._upgrade = upgrade
        self._parameters = task.parameters
        self._binder: Binder | None = None

    def load(self, version: str, args: Sequence[Any], kwargs: Mapping[str, Any], before: Before | None = None) -> Bound:
        """Return the arguments of a run.

        Args:
            version: The version that the job was enqueued for.
            args: Its positional arguments, parsed from JSON.
            kwargs: Its keyword arguments, parsed from JSON.
            before: What the job finds before it, if it is a step that takes something from there.

        Raises:
            InvalidArguments: They do not fit, or could not be rewritten.
            BindingError: The same for a step, where its arguments and what came before it do not make a call.
        """
        if self._upgrade is not None:
            args, kwargs = self._rewritten(version, args, kwargs)
        if before is None:
            return Bound(*self._parameters.load(args, kwargs), None)
        return self._bind().load(args, kwargs, before)

    def foresee(self, version: str, args: Sequence[Any], kwargs: Mapping[str, Any], flowing: Collection[str]) -> None:
        """Check the arguments of a step as far as they are known before the steps before it have ended.

        Args:
            version: As for ``load``, and so the next two.
            args: Those of its signature.
            kwargs: Likewise.
            flowing: The names of parameters that the flow may give it.

        Raises:
            InvalidArguments, BindingError: ``load`` is going to raise this, whatever those steps return.
        """
        if self._upgrade is not None:
            args, kwargs = self._rewritten(version, args, kwargs)
        self._bind().foresee(args, kwargs, flowing)

    def _bind(self) -> Binder:
        if self._binder is None:
            self._binder = Binder(self._parameters)
        return self._binder

    def _rewritten(
        self, version: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        assert self._upgrade is not None
        where = f"task {self._task}: upgrade_from[{version!r}]"
        try:
            # Copies: what the job says was stored must stay as it was stored.
            rewritten = self._upgrade(list(args), dict(kwargs))
        except Exception as error:
            raise InvalidArguments(f"{where} raised {type(error).__name__}: {error}") from error
        pair = as_call(rewritten)
        if pair is None:
            raise InvalidArguments(f"{where} must return (args, kwargs), not {type(rewritten).__name__}")
        return pair


def parse_before(text: str | None) -> Before | None:
    """Read what ``step_input`` said; None where the job takes nothing from steps before it."""
    if text is None:
        return None
    found = from_json(text)
    # Without a result it was only told of its parents.
    return Before(found["previous"], found["flow"]) if "previous" in found else None


def as_call(returned: object) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return ``(args, kwargs)`` if that is what a user's function returned."""
    if isinstance(returned, tuple | list):
        both = tuple(cast("Sequence[Any]", returned))
        if len(both) == 2 and isinstance(both[0], tuple | list) and isinstance(both[1], dict):
            return tuple(cast("Sequence[Any]", both[0])), cast("dict[str, Any]", both[1])
    return None
