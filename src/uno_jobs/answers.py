"""What a job's methods return: something to await in an asynchronous task, and to use as it is in a synchronous one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator
    from uuid import UUID

    from uno_jobs.context import Job


class Reported:
    """A progress that has been reported: awaiting it waits until it is in the database."""

    __slots__ = ("_job",)

    def __init__(self, job: Job) -> None:
        self._job = job

    def __await__(self) -> Generator[Any, Any, None]:
        control = self._job.control
        if control is not None:
            yield from control.flush_progress(self._job).__await__()


class Answer:
    """Yes or no, read as ``bool(...)`` or with ``await``, whichever suits the colour of the task."""

    __slots__ = ("_yes",)

    def __init__(self, yes: bool) -> None:
        self._yes = yes

    def __bool__(self) -> bool:
        return self._yes

    def __await__(self) -> Generator[Any, Any, bool]:
        return self._yes
        yield  # makes this a generator, as awaiting wants

    def __repr__(self) -> str:
        return repr(self._yes)


class Added:
    """What was added by ``job.then``: read its id as ``.id`` or with ``await``."""

    __slots__ = ("id",)

    def __init__(self, id_: UUID) -> None:
        self.id = id_
        """The job whose result is that of what was added: the last step of a chain, the list of a group."""

    def __await__(self) -> Generator[Any, Any, UUID]:
        return self.id
        yield  # as above

    def __repr__(self) -> str:
        return f"<Added {self.id}>"
