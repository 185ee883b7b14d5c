"""Looking: what is in the database, as rows for people and programs. Reads only, from the views where there is one."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.storage.schema import DEFAULT_SCHEMA, quote_schema
from uno_jobs.storage.session import check_schema, connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

Row = dict[str, Any]

STATES: Final = ("waiting", "scheduled", "ready", "running", "succeeded", "failed", "cancelled")
FINAL: Final = STATES[4:]


@contextlib.asynccontextmanager
async def inspect(url: str, schema: str = DEFAULT_SCHEMA, *, pooled: bool = False) -> AsyncGenerator[Inspector]:
    """Open a connection for looking.

    Raises:
        DatabaseUnavailable, SchemaNotInstalled, SchemaTooOld, CodeTooOld, UnsupportedServer: Each says what to do.
    """
    connection = await connect(url, schema, name="uno-jobs inspection", pooled=pooled)
    try:
        await check_schema(connection, schema)
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        # All that one command shows is of one moment.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield Inspector(connection, schema)
    finally:
        connection.terminate()


class Inspector:
    """Questions to one schema, over an asyncpg connection that reads jsonb as Python values."""

    def __init__(self, connection: Any, schema: str = DEFAULT_SCHEMA) -> None:
        self._connection = connection
        self._schema = quote_schema(schema)

    async def queues(self) -> list[Row]:
        """Return each queue with how many of its jobs are in which state; of the finished, those of the last hour.

        Counts above 10,000 are estimates, and those of the finished also where ``finished_estimated``.
        """
        return await self._rows("""
            SELECT coalesce(q.queue, f.queue) AS queue,
                   coalesce(q.waiting, 0) AS waiting, coalesce(q.scheduled, 0) AS scheduled,
                   coalesce(q.ready, 0) AS ready, coalesce(q.running, 0) AS running,
                   coalesce(f.succeeded, 0) AS succeeded, coalesce(f.failed, 0) AS failed,
                   coalesce(f.cancelled, 0) AS cancelled, coalesce(f.estimated, false) AS finished_estimated,
                   q.oldest_ready, q.next_due, q.paused_at, q.paused_by, q.pause_reason
            FROM {0}.queue_status q FULL JOIN {0}.finished_lately() f ON f.queue = q.queue
            ORDER BY 1
            """)

    async def queue_list(self) -> list[Row]:
        """Return each queue that exists, with its settings; counts above 10,000 are estimates."""
        return await self._rows("""
            SELECT q.*, extract(epoch FROM {0}.clock() - q.oldest_ready)::float8 AS oldest_ready_seconds
            FROM {0}.queue_status q ORDER BY q.queue
            """)

    async def workers(self, *, past: bool = False, limit: int = 200) -> list[Row]:
        """Return the workers that live or were not yet found dead; with ``past`` those that ended too, latest first."""
        where = "" if past else "WHERE w.state IN ('running', 'draining')"
        return await self._rows(
            f"""
            SELECT w.id, w.state, w.hostname, w.pid, w.supervisor_id, w.queues, w.concurrency, w.running, w.started_at,
                   w.beat_at, extract(epoch FROM w.since_beat)::float8 AS seconds_since_beat, w.stopped_at, w.cause,
                   w.lost_jobs, w.known
            FROM {{0}}.worker_status w {where}
            ORDER BY w.stopped_at DESC NULLS FIRST, w.started_at DESC, w.id LIMIT $1
            """,
            limit,
        )

    async def failures(self, *, limit: int = 10) -> list[Row]:
        """Return the jobs that failed last, without their tracebacks."""
        return await self._rows(
            "SELECT f.id, f.task, f.version, f.queue, f.finished_at, f.attempts, f.error_type, f.error "
            "FROM {0}.failed_jobs f ORDER BY f.finished_at DESC LIMIT $1",
            limit,
        )

    async def jobs(
        self, *, state: str | None = None, queue: str | None = None, task: str | None = None, limit: int = 50
    ) -> list[Row]:
        """Return jobs, those enqueued last first.

        Args:
            state: Only those in this state, one of ``STATES``.
            queue: Only those of this queue.
            task: Only those of this task.
            limit: At most so many.
        """
        given = {"state::text": state, "queue": queue, "task": task}
        chosen = {column: value for column, value in given.items() if value is not None}
        where = " AND ".join(f"s.{column} = ${place}" for place, column in enumerate(chosen, 2))
        return await self._rows(
            f"""
            SELECT s.id, s.state, s.task, s.version, s.queue, s.priority, s.attempt, s.failures, s.created_at,
                   s.next_attempt_at, s.started_at, s.finished_at, s.error_type, s.error
            FROM {{0}}.job_status s {"WHERE " + where if where else ""} ORDER BY s.id DESC LIMIT $1
            """,
            limit,
            *chosen.values(),
        )

    async def job(self, id_: UUID) -> Row | None:
        """Return all that is known of a job, its attempts and relatives included; None if there is none."""
        rows = await self._rows("SELECT s.* FROM {0}.job_status s WHERE s.id = $1", id_)
        if not rows:
            return None
        job = rows[0]
        # A real has seven digits, and would show sixteen.
        job["progress"] = None if job["progress"] is None else round(job["progress"], 4)
        job["attempts"] = await self._rows(
            """
            SELECT a.attempt, a.outcome, a.started_at, a.finished_at,
                   extract(epoch FROM a.finished_at - a.started_at)::float8 AS seconds,
                   a.worker_id, a.hostname, a.pid, a.error_type, a.error, a.traceback, a.peak_memory,
                   a.error_after_commit
            FROM {0}.job_attempts a
            WHERE a.job_id = $1 ORDER BY a.attempt, a.finished_at
            """,
            id_,
        )
        job["parents"] = await self._relatives("e.parent_id", "e.job_id", id_)
        job["children"] = await self._relatives("e.job_id", "e.parent_id", id_)
        asked, reason = job["cancel_requested_at"], job.pop("cancel_reason")
        job["cancel_request"] = None if asked is None else {"requested_at": asked, "reason": reason}
        return job

    async def retention(self) -> list[Row]:
        """Return the rules of retention, each with ``keep``, a timedelta (None: for ever)."""
        return await self._rows(
            "SELECT r.scope, r.name, r.state, r.keep FROM {0}.retention_rules r ORDER BY r.scope, r.name, r.state"
        )

    async def failure_classes(
        self, *, queue: str | None = None, task: str | None = None, since: Any = None, limit: int = 50
    ) -> list[Row]:
        """Return the failed jobs by class of error and task, the most frequent first, each with its latest job.

        Args:
            queue: Only those of this queue.
            task: Only those of this task.
            since: Only those that failed no longer ago, a timedelta.
            limit: At most so many classes.
        """
        return await self._rows(
            """
            SELECT g.error_type, g.task, g.jobs, g.first, g.last, g.sample, s.error
            FROM (SELECT f.error_type, f.task, count(*) AS jobs,
                         min(f.finished_at) AS first, max(f.finished_at) AS last,
                         (array_agg(f.id ORDER BY f.finished_at DESC))[1] AS sample
                  FROM {0}.failed_jobs f
                  WHERE ($1::text IS NULL OR f.queue = $1) AND ($2::text IS NULL OR f.task = $2)
                    AND ($3::interval IS NULL OR f.finished_at >= {0}.clock() - $3::interval)
                  GROUP BY f.error_type, f.task) g
            JOIN {0}.failed_jobs s ON s.id = g.sample
            ORDER BY g.jobs DESC, g.last DESC LIMIT $4
            """,
            *(queue, task, since, limit),
        )

    async def explain(self, id_: UUID) -> Row:
        """Return why a job is where it is: ``state``, ``why`` (a word), ``sentence``, and what that is made of.

        Raises:
            asyncpg.NoDataFoundError: There is no such job.
        """
        return (await self._rows("SELECT {0}.explain_facts($1) AS facts", id_))[0]["facts"]

    async def tasks(self) -> list[Row]:
        """Return the tasks that workers have recorded, with how many living workers can run each now."""
        return await self._rows("""
            SELECT t.task, t.version, t.description, t.options, t.parameters, t.schema, t.first_seen, t.last_seen,
                   t.living_workers
            FROM {0}.task_status t ORDER BY t.task, t.sort_key COLLATE "C"
            """)

    async def _relatives(self, other: str, own: str, id_: UUID) -> list[Row]:
        return await self._rows(
            f"""
            SELECT s.id, s.task, s.state, e.position FROM {{0}}.job_parents e
            JOIN {{0}}.job_status s ON s.id = {other} WHERE {own} = $1 ORDER BY e.position, s.id
            """,
            id_,
        )

    async def _rows(self, query: str, *args: Any) -> list[Row]:
        return [dict(row) for row in await self._connection.fetch(query.format(self._schema), *args)]
