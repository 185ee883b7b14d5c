"""What a job adds to its workflow while it runs (``job.then``): checked at once, stored together with its success."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from uuid_utils import uuid7

from uno_jobs.errors import InvalidWorkflow
from uno_jobs.queue.requests import Requests
from uno_jobs.queue.workflows import Row, RowMaker, edge_statements, step_statements
from uno_jobs.settings import FALLBACK, load_settings
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema
from uno_jobs.tasks.graph import lay_out
from uno_jobs.tasks.step import Step

if TYPE_CHECKING:
    from uno_jobs.context import Job
    from uno_jobs.settings import Settings
    from uno_jobs.storage.connections.link import Steps

_EXTEND: Final = (
    "SELECT {schema}.extend($1::text::uuid, $2::text::bigint, $3::text::uuid, $4::text::uuid, $5::text::uuid)::text"
)


class _Part(NamedTuple):
    """What one call has added; the first row stands in for what it is behind."""

    rows: list[Row]
    flow: str
    """The job whose flow, with its own result merged in, is the flow behind this part."""
    inner: bool
    """That job is the one which adds this."""


class Additions:
    """What one attempt has added so far, in order, each part behind the one before it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._workflow_id = str(job.workflow_id or uuid7())
        self._parts: list[_Part] = []

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def steps(self) -> int:
        """How many jobs are added, joins included."""
        return sum(len(part.rows) - 1 for part in self._parts)

    def add(self, step: Step[Any]) -> str:
        """Add a part of a workflow; returns the job whose result is its result.

        Raises:
            EnqueueError: Something is wrong with it; nothing is added.
            TaskNotFound: A step's task is not registered here.
        """
        if not isinstance(cast("object", step), Step):
            raise InvalidWorkflow(f"job.then takes a task, a signature (task.s(...)), a chain or a group, not {step!r}")
        settings = _settings()
        job = self._job
        graph = lay_out(step, max_steps=settings.max_workflow_steps, behind=self.steps)
        end, flow, inner = str(job.id), str(job.id), True
        if self._parts:
            last = self._parts[-1]
            end, flow, inner = last.rows[-1].id, last.flow, last.inner
        everywhere = {"metadata": job.metadata} if job.metadata else {}
        stand_in = Row(graph.nodes[0], end, job.queue, None, None)
        maker = RowMaker(Requests(settings.max_payload_size), everywhere, everywhere, (stand_in, flow, inner))
        for node in graph.nodes[1:]:
            maker.add(node)
        ending = graph.nodes[-1]
        found, more = maker.flow_of(ending.flow_from if ending.is_join else len(graph.nodes) - 1)
        self._parts.append(_Part(maker.rows, cast("str", found), bool(more)))
        return maker.rows[-1].id

    def cut(self, length: int) -> None:
        """Drop all but so many parts: the transaction they belonged to was rolled back."""
        del self._parts[length:]

    def statements(self, schema: str) -> Steps[None]:
        """Yield what stores all of it, in the transaction that records the job's success, before that."""
        sql = quote_schema(schema)
        last = self._parts[-1]
        yield Statement(
            _EXTEND.format(schema=sql),
            (
                str(self._job.id),
                str(self._job.lease),
                self._workflow_id,
                last.rows[-1].id,
                None if last.inner else last.flow,
            ),
        )
        for part in self._parts:
            yield from edge_statements(sql, part.rows)
        for part in self._parts:
            yield from step_statements(sql, self._workflow_id, part.rows[1:])


@functools.cache
def _settings() -> Settings:
    # As in a queue: what DATABASE_URL, which other programs use, says does not matter here.
    return load_settings(environment={name: value for name, value in os.environ.items() if name != FALLBACK})
