"""What can be a step of a workflow: the base of tasks, signatures, chains and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

if TYPE_CHECKING:
    from uno_jobs.tasks.workflows import Chain

R_co = TypeVar("R_co", covariant=True, default=Any)
S = TypeVar("S", default=Any)


class Step(Generic[R_co]):
    """A task, a signature, a chain or a group; its type parameter is what it results in."""

    __slots__ = ()

    def __or__(self, following: Step[S]) -> Chain[S]:
        """Chain two steps: ``a.s() | b.s()`` is ``chain(a.s(), b.s())``.

        Raises:
            InvalidWorkflow: What follows cannot be a step.
        """
        from uno_jobs.tasks.workflows import chain

        return chain(self, following)
