"""``chain`` and ``group``: workflows as values, made of steps and of each other."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast, overload

from typing_extensions import TypeVar

from uno_jobs.errors import InvalidWorkflow
from uno_jobs.tasks.definition import Task
from uno_jobs.tasks.enqueueing import BoundOptions
from uno_jobs.tasks.signature import Signature
from uno_jobs.tasks.step import R_co, Step

R = TypeVar("R")

# How many steps a repr shows: a group of ten thousand must not flood a log.
_SHOWN: Final = 4


@dataclass(frozen=True, slots=True, repr=False)
class Chain(Step[R_co]):
    """Steps one after another, made by ``chain``; its type parameter is the last step's result."""

    steps: tuple[Signature[Any] | Group[Any], ...]

    def __repr__(self) -> str:
        return f"chain({_listed(self.steps)})"


@dataclass(frozen=True, slots=True, repr=False)
class Group(Step[R_co]):
    """Steps side by side, made by ``group``; its type parameter is the list of their results."""

    members: tuple[Signature[Any] | Chain[Any] | Group[Any], ...]

    def __repr__(self) -> str:
        return f"group([{_listed(self.members)}])"


@overload
def chain(*steps: *tuple[*tuple[Step[Any], ...], Step[R]]) -> Chain[R]: ...
@overload
def chain(steps: Iterable[Step[Any]], /) -> Chain[Any]: ...
def chain(*steps: Any) -> Chain[Any]:
    """Make a workflow whose steps run one after another, each once the one before has succeeded.

    A chain among the steps stands for its own steps in its place.

    Args:
        steps: Tasks, signatures, groups and chains, at least one; or one list (iterable) of them.

    Returns:
        A value that never changes, to be enqueued or to be a part of other workflows, any number of times.

    Raises:
        InvalidWorkflow: There is no step, or something is none.
    """
    flat: list[Signature[Any] | Group[Any]] = []
    for place, step in enumerate(_given(steps)):
        made = _step(step, f"step {place + 1} of a chain")
        if isinstance(made, Chain):
            flat.extend(made.steps)
        else:
            flat.append(made)
    if not flat:
        raise InvalidWorkflow("a chain needs at least one step")
    return Chain(tuple(flat))


@overload
def group(members: Iterable[Step[R]], /) -> Group[list[R]]: ...
@overload
def group(*members: Step[R]) -> Group[list[R]]: ...
def group(*members: Any) -> Group[Any]:
    """Make a workflow whose members run side by side; it results in the list of their results, in this order.

    What follows it in a chain starts once all members have succeeded. A group without members is done at
    once, with ``[]``.

    Args:
        members: One list (iterable) of tasks, signatures, chains and groups; or several of these.

    Returns:
        A value that never changes, to be enqueued or to be a part of other workflows, any number of times.

    Raises:
        InvalidWorkflow: Something cannot be a member.
    """
    return Group(tuple(_step(one, f"member {place + 1} of a group") for place, one in enumerate(_given(members))))


def _given(arguments: tuple[Any, ...]) -> Iterable[Any]:
    """Return the steps, given one by one or as one iterable."""
    if len(arguments) != 1 or isinstance(arguments[0], Step | str | bytes | Mapping):
        return arguments
    return cast("Iterable[Any]", arguments[0]) if isinstance(arguments[0], Iterable) else arguments


def _step(thing: object, where: str) -> Signature[Any] | Chain[Any] | Group[Any]:
    if isinstance(thing, Signature | Chain | Group):
        return cast("Signature[Any] | Chain[Any] | Group[Any]", thing)
    if isinstance(thing, Task):
        return Signature(cast("Task[..., Any, Any]", thing))
    raise InvalidWorkflow(
        f"{where} must be a task, a signature (task.s(...)), a chain or a group, not {thing!r}{_hint(thing)}"
    )


def _hint(thing: object) -> str:
    from uno_jobs.queue.handles import JobHandle, SyncJobHandle

    if isinstance(thing, JobHandle | SyncJobHandle):
        return ", which is a job that is enqueued already: give the signature it was made of"
    if isinstance(thing, BoundOptions):
        return ": add .s(...) to task.options(...)"
    if inspect.iscoroutine(thing):
        return ", a call: bind arguments with task.s(...), not task(...)"
    if isinstance(thing, str):
        return ": TaskRegistry.get_task(name) returns the task of a name"
    if isinstance(thing, list | tuple):
        return ": wrap steps that run side by side in group([...])"
    return ": decorate it with @task" if callable(thing) else ""


def _listed(steps: tuple[Step[Any], ...]) -> str:
    shown = [repr(one) if isinstance(one, Signature) else _outlined(one) for one in steps[:_SHOWN]]
    if len(steps) > _SHOWN:
        shown.append(f"… {len(steps) - _SHOWN} more")
    return ", ".join(shown)


def _outlined(workflow: Step[Any]) -> str:
    """Say what a workflow inside another is, without going into it: nesting may be deep."""
    if isinstance(workflow, Group):
        return f"group of {len(workflow.members)}"
    return f"chain of {len(cast('Chain[Any]', workflow).steps)}"
