"""Many jobs at once, batch by batch: found by a filter, retried, cancelled, read out whole, or removed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from uno_jobs.storage.schema import quote_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

BATCH: Final = 200
"""Jobs moved in one transaction: short enough that nobody waits for long."""
FINAL: Final = ("succeeded", "failed", "cancelled")
ZERO: Final = UUID(int=0)
LAST: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which jobs are meant; what is None does not matter."""

    states: Sequence[str]
    queue: str | None = None
    task: str | None = None
    error_type: str | None = None
    since: timedelta | None = None
    """Finished ones: their end is no longer ago; unfinished ones: their enqueue."""


class Bulk:
    """Moves of many jobs of one schema, over an asyncpg connection in no transaction."""

    def __init__(self, connection: Any, schema: str) -> None:
        self._connection = connection
        self._schema = quote_schema(schema)

    async def find(self, wanted: Filter, limit: int | None = None, size: int = BATCH) -> AsyncIterator[list[UUID]]:
        """Yield the ids of the jobs that match, batch by batch; each batch is as the database is when it is asked for.

        What begins to match meanwhile is left out: only what ended or was enqueued before the call is found.
        """
        now = await self._connection.fetchval(f"SELECT {self._schema}.clock()")
        left = limit
        for state in wanted.states:
            place: tuple[datetime, UUID] = (datetime.min.replace(tzinfo=now.tzinfo), ZERO)
            while left is None or left > 0:
                rows = await self._connection.fetch(
                    _query(self._schema, state),
                    *(place[0], place[1], size if left is None else min(size, left), now),
                    *(wanted.queue, wanted.task, wanted.error_type, wanted.since, state),
                )
                if not rows:
                    break
                place = (rows[-1]["at"], rows[-1]["id"])
                if left is not None:
                    left -= len(rows)
                yield [row["id"] for row in rows]

    async def retry(self, ids: Sequence[UUID], *, notify: bool = True) -> list[tuple[UUID, str, UUID | None]]:
        """Retry jobs in one transaction; returns of each what became of it, see the SQL function ``retry_many``."""
        return await self._move("SELECT id, answer, holder FROM {}.retry_many($1, $2)", ids, notify)

    async def cancel(
        self, ids: Sequence[UUID], reason: str | None = None, *, notify: bool = True
    ) -> list[tuple[UUID, str, UUID | None]]:
        """Cancel jobs in one transaction; returns of each what became of it, see the SQL function ``cancel_many``."""
        return await self._move("SELECT id, answer, NULL FROM {}.cancel_many($1, $2, $3)", ids, reason, notify)

    async def read(self, ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """Return all that is known of jobs, their attempts included, as plain JSON values."""
        rows = await self._connection.fetch(
            f"""
            SELECT (to_jsonb(s) || jsonb_build_object('attempts', (
                SELECT coalesce(jsonb_agg(to_jsonb(a) - '{{job_id,task,version,queue}}'::text[]
                                          ORDER BY a.attempt, a.finished_at), '[]')
                FROM {self._schema}.job_attempts a WHERE a.job_id = s.id)))::text
            FROM unnest($1::uuid[]) WITH ORDINALITY AS g (id, place) JOIN {self._schema}.job_status s ON s.id = g.id
            ORDER BY g.place
            """,
            ids,
        )
        return [json.loads(row[0]) for row in rows]

    async def prune(
        self, older_than: timedelta | None, wanted: Filter, *, dry: bool = False, size: int = 1000
    ) -> AsyncIterator[dict[str, int]]:
        """Remove finished jobs, a batch a transaction, and yield after each how many there were so far.

        Args:
            older_than: What ended longer ago; None: what the rules of retention no longer keep.
            wanted: Of these; ``error_type`` and ``since`` are not looked at.
            dry: Count only.
            size: How many jobs a batch looks at.

        Yields:
            ``succeeded``, ``failed``, ``cancelled``: removed; ``kept``: whose time is over, but not that of all in
            their workflow, or that others wait for; ``walked``: looked at.
        """
        total: dict[str, int] = dict.fromkeys((*FINAL, "kept", "walked"), 0)
        place, skip = ZERO, None
        while True:
            row = await self._connection.fetchrow(
                f"SELECT * FROM {self._schema}.prune_range($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                *(place, LAST, size, skip, older_than, list(wanted.states), wanted.queue, wanted.task, dry),
            )
            for name in total:
                total[name] += row[name]
            yield total
            if row["walked"] < size:
                return
            place, skip = row["reached"], row["kept_workflow"]

    async def set_retention(
        self, states: Sequence[str], keep: timedelta | None, queue: str | None = None, task: str | None = None
    ) -> None:
        """Set for how long jobs that ended so are kept (None: for ever): a queue's, a task's, or by default all."""
        await self._connection.fetch(
            f"SELECT {self._schema}.set_retention(s.state, $2, $3, $4) FROM unnest($1::text[]) AS s (state)",
            *(list(states), keep, queue, task),
        )

    async def unset_retention(self, states: Sequence[str] | None, queue: str | None, task: str | None) -> int:
        """Remove the rules of a queue or a task, or those for jobs that ended so; returns how many there were."""
        return await self._connection.fetchval(
            f"SELECT sum({self._schema}.unset_retention($1, $2, s.state))::integer FROM unnest($3::text[]) s (state)",
            *(queue, task, [None] if states is None else list(states)),
        )

    async def _move(self, statement: str, ids: Sequence[UUID], *args: Any) -> list[tuple[UUID, str, UUID | None]]:
        statement = statement.format(self._schema)
        try:
            return [tuple(row) for row in await self._connection.fetch(statement, list(ids), *args)]
        except asyncpg.DeadlockDetectedError:
            if len(ids) == 1:
                raise
            return [one for id_ in ids for one in await self._move(statement, [id_], *args)]


def _query(schema: str, state: str) -> str:
    """Return a query for the next jobs of a state: failed ones by the index on their ends, others by id."""
    finished = state in FINAL
    at = "o.finished_at" if finished else "o.created_at"
    by_end = state == "failed"
    # Each has the same parameters; those that a form does not use are named, so that their types are known.
    state_is = "o.state = 'failed'" if by_end else f"o.state = $9::text::{schema}.job_state"
    place = "(o.finished_at, o.id) > ($1::timestamptz, $2::uuid)" if by_end else "o.id > $2::uuid"
    return f"""
        SELECT o.id, {at} AS at FROM {schema}.{"finished_jobs" if finished else "unfinished_jobs"} o
        WHERE {state_is} AND {place} AND $1::timestamptz IS NOT NULL AND $9::text IS NOT NULL
          AND {at} <= $4 AND ($8::interval IS NULL OR {at} >= $4::timestamptz - $8::interval)
          AND ($5::text IS NULL OR o.queue = $5) AND ($6::text IS NULL OR o.task = $6)
          AND ($7::text IS NULL OR {"o.error_type = $7" if finished else "$7 IS NULL"})
        ORDER BY {"o.finished_at, o.id" if by_end else "o.id"} LIMIT $3
        """
