"""What a check of unfinished jobs found: problems by task, version and reason, with counts and examples."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uuid import UUID


class Kind(enum.StrEnum):
    """What would become of the jobs."""

    ARGUMENTS = "arguments"
    """They would fail without a retry: their arguments cannot be loaded."""
    DEFINITION = "definition"
    """They would fail: the task itself cannot be used."""
    UNKNOWN_VERSION = "unknown version"
    """They would stay where they are: the code has the task, but neither this version nor an upgrade from it."""
    UNKNOWN_TASK = "unknown task"
    """They would stay where they are: the code has no such task."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Jobs of one task and version that would not run, for one reason."""

    kind: Kind
    task: str
    version: str
    error_type: str
    """The class of the error, as it is stored of a failed job."""
    reason: str
    """The error's message, as the worker would raise it."""
    jobs: int
    examples: tuple[UUID, ...]
    """The first of them, in the order of ids; at most five."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found."""

    checked: int
    """Jobs that were looked at."""
    left_out: int
    """Jobs of tasks that the code does not have, where those were to be left out."""
    complete: bool
    """False if a limit ended the check before the last job."""
    problems: tuple[Problem, ...]
    """By task, version, and the number of jobs."""

    @property
    def failing(self) -> int:
        """How many of the jobs would not run."""
        return sum(one.jobs for one in self.problems)


def as_document(report: Report) -> dict[str, Any]:
    """Return a report as JSON has it."""
    return {
        "checked": report.checked,
        "left_out": report.left_out,
        "complete": report.complete,
        "failing": report.failing,
        "problems": [
            {
                "kind": one.kind.value,
                "task": one.task,
                "version": one.version,
                "error_type": one.error_type,
                "reason": one.reason,
                "jobs": one.jobs,
                "examples": [str(id_) for id_ in one.examples],
            }
            for one in report.problems
        ],
    }
