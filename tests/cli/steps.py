"""Steps of workflows without a database: laid out from chains and groups as an enqueue does, each in a state given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from uno_jobs.cli.shape import ChainShape, GroupShape
from uno_jobs.queue.workflow_status import WorkflowGraph, WorkflowStatus, WorkflowStep
from uno_jobs.tasks.graph import lay_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from uno_jobs.tasks.step import Step

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_step(number: int, task: str | None, parents: Sequence[int] = (), **more: Any) -> WorkflowStep:
    """Return a step; its id is its number."""
    given: dict[str, Any] = {
        "queue": "default", "state": "waiting", "attempt": 0, "failures": 0, "next_attempt_at": None,
        "started_at": None, "finished_at": None, "progress": None, "progress_message": None, "error_type": None,
        "error": None, "cancelled_because": None,
    }  # fmt: skip
    given.update(more)
    return WorkflowStep(id=UUID(int=number), task=task, parents=tuple(UUID(int=one) for one in parents), **given)


def steps_of(workflow: Step[Any], states: Mapping[int, str] | None = None, **more: Any) -> list[WorkflowStep]:
    """Return the steps of a workflow; ``states`` are by number, from 0, ``waiting`` where nothing is said."""
    return [
        a_step(
            number,
            None if node.signature is None else node.signature.task.config.name,
            node.parents,
            state=(states or {}).get(number, "waiting"),
            **more,
        )
        for number, node in enumerate(lay_out(workflow).nodes)
    ]


def a_graph(steps: list[WorkflowStep], state: Any = "running") -> WorkflowGraph:
    """Return a workflow of these steps that was enqueued, and began, ten seconds ago."""
    real = [step.state for step in steps if step.task is not None]
    names = ("waiting", "scheduled", "ready", "running", "succeeded", "failed", "cancelled")
    done = sum(real.count(name) for name in names[4:])
    counts: dict[str, Any] = {name: real.count(name) for name in names}
    status = WorkflowStatus(
        workflow_id=UUID(int=2**100), state=state, jobs=len(real), percent=100 * done / max(len(real), 1),
        created_at=NOW - timedelta(seconds=10), started_at=NOW - timedelta(seconds=10), finished_at=None,
        failed_job=None, failed_task=None, failed_at=None, error_type=None, error=None, **counts,
    )  # fmt: skip
    return WorkflowGraph(status=status, steps=steps, read_at=NOW)


def written(part: ChainShape | GroupShape | WorkflowStep) -> str:
    """Return a shape on one line: ``a [b, c > d] e``."""
    if isinstance(part, GroupShape):
        return f"[{', '.join(written(member) for member in part.members)}]"
    if isinstance(part, ChainShape):
        return " > ".join(written(one) for one in part.parts)
    return part.task or "?"
