"""The worker's side of the schema's functions: the only code that calls them for it. One round trip a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from uno_jobs.storage.schema import quote_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

CALL_TIMEOUT = 30.0
"""Seconds after which a call is given up and its connection with it: a network may have gone silent."""


class Promoted(NamedTuple):
    """What a promotion did and saw."""

    promoted: int
    reached: datetime | None
    scan_us: int
    next_due: datetime | None


class Pruned(NamedTuple):
    """What a step of the removal of finished jobs did."""

    walked: int
    removed: int
    behind: float
    """Seconds."""


class Gateway:
    """The functions of one schema, on one asyncpg connection. Errors are asyncpg's own."""

    def __init__(self, connection: Any, schema: str) -> None:
        self.connection = connection
        self._schema = quote_schema(schema)
        self._prepared: dict[str, Any] = {}

    async def claim(
        self,
        worker: UUID,
        lease: int,
        slots: int,
        queues: Sequence[str],
        limits: Sequence[int],
        floors: Sequence[int],
        known: Sequence[str],
    ) -> list[asyncpg.Record]:
        """Take ready jobs. The columns are those of the SQL function; rows without an id are reports of scans."""
        return await self._rows(
            "SELECT * FROM {}.claim($1, $2, $3, $4, $5, $6, $7)",
            worker,
            lease,
            slots,
            queues,
            limits,
            floors,
            known,
        )

    async def finish(
        self,
        worker: UUID,
        ids: Sequence[UUID],
        leases: Sequence[int],
        results: Sequence[str],
        others: str,
        peaks: Sequence[int | None] = (),
    ) -> list[asyncpg.Record]:
        """Record ended attempts; returns (id, lease, fate) of those that were not recorded: stale or locked.

        ``results`` and ``peaks`` (peak memories, in bytes) go with ``ids`` and may end before them: the rest are null.
        """
        return await self._rows(
            "SELECT * FROM {}.finish($1, $2, $3, $4, $5, $6)", worker, ids, leases, results, others, peaks
        )

    async def held(self, worker: UUID) -> list[asyncpg.Record]:
        """Return (id, lease, cancel_asked) of what the database believes that the worker runs."""
        return await self._rows("SELECT * FROM {}.held($1)", worker)

    async def adopt(self, old: UUID, new: UUID, ids: Sequence[UUID], leases: Sequence[int]) -> set[UUID]:
        """Move running jobs to the worker's next incarnation; returns those that were moved."""
        rows = await self._rows("SELECT adopt FROM {}.adopt($1, $2, $3, $4)", old, new, ids, leases)
        return {row[0] for row in rows}

    async def hand_back(self, worker: UUID, ids: Sequence[UUID], leases: Sequence[int], reason: str) -> set[UUID]:
        """Give running jobs up unharmed; returns those that were given up."""
        rows = await self._rows("SELECT hand_back FROM {}.hand_back($1, $2, $3, $4)", worker, ids, leases, reason)
        return {row[0] for row in rows}

    async def rescue(self, worker: UUID, cause: str, max_lost: int) -> set[UUID]:
        """Give back what a dead worker was running; returns the jobs."""
        rows = await self._rows("SELECT rescue FROM {}.rescue($1, $2, $3)", worker, cause, max_lost)
        return {row[0] for row in rows}

    async def promote(self, limit: int, floor: datetime) -> Promoted:
        """Make due jobs ready."""
        rows = await self._rows("SELECT * FROM {}.promote($1, $2)", limit, floor)
        return Promoted(*rows[0])

    async def expire(self, limit: int) -> int:
        """Cancel jobs that expired before they started; returns how many."""
        return (await self._rows("SELECT {}.expire($1)", limit))[0][0]

    async def release_pending(self, limit: int) -> int:
        """Let ends reach those that wait for them and could not be locked before; returns how many ends did."""
        return (await self._rows("SELECT {}.release_pending($1)", limit))[0][0]

    async def apply_cancellations(self, limit: int) -> int:
        """Cancel jobs that a request found no longer running; returns how many."""
        return (await self._rows("SELECT {}.apply_cancellations($1)", limit))[0][0]

    async def register(
        self,
        worker: UUID,
        supervisor: UUID,
        lock_key: int | None,
        pid: int,
        hostname: str,
        revision: int,
        concurrency: int,
        queues: Sequence[str],
        tasks: str,
    ) -> None:
        """Make a worker known; ``tasks`` is JSON."""
        await self._rows(
            "SELECT {}.register_worker($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            worker, supervisor, lock_key, pid, hostname, revision, concurrency, queues, tasks,
        )  # fmt: skip

    async def worker_state(self, worker: UUID, state: str, cause: str | None = None) -> bool:
        """Move a living worker to draining, stopped or dead."""
        return (await self._rows("SELECT {}.worker_state($1, $2, $3)", worker, state, cause))[0][0]

    async def beat(self, workers: Sequence[UUID]) -> set[UUID]:
        """Say that workers live; returns those that were declared dead."""
        return {row[0] for row in await self._rows("SELECT beat FROM {}.beat($1)", workers)}

    async def observe(self, suspects: Sequence[UUID]) -> list[asyncpg.Record]:
        """Return (id, beat, holds_lock, locked) of the living workers."""
        return await self._rows("SELECT * FROM {}.observe($1)", suspects)

    async def mark_hungry(self, worker: UUID, queues: Sequence[str], seconds: float) -> None:
        """Ask to be notified of new jobs for so many seconds."""
        await self._rows("SELECT {}.mark_hungry($1, $2, $3)", worker, queues, seconds)

    async def left_paused(self, queues: Sequence[str]) -> list[str]:
        """Return those of the queues that are paused and have ready jobs."""
        rows = await self._rows(
            "SELECT paused_queues FROM {}.paused_queues($1)",
            queues,
        )
        return [row[0] for row in rows]

    async def take_chore(self, chore: str, worker: UUID, seconds: float) -> bool:
        """Take or renew the lease of a chore."""
        return (await self._rows("SELECT {}.take_chore($1, $2, $3)", chore, worker, seconds))[0][0]

    async def strays(self) -> list[asyncpg.Record]:
        """Return (worker_id, state, cause) of workers that are over, or unknown, and still have running jobs."""
        return await self._rows("SELECT * FROM {}.strays()")

    async def sweep(self) -> None:
        """Remove what processes that died left behind in the side tables."""
        await self._rows("SELECT {}.sweep()")

    async def mend_waiting(self, after: UUID, limit: int) -> tuple[UUID | None, list[UUID]]:
        """Find wrong counts of unfinished parents among ``limit`` unfinished jobs, and have them counted anew.

        Returns:
            How far it looked (None: to the end), and the jobs.
        """
        row = (await self._rows("SELECT * FROM {}.mend_waiting($1, $2)", after, limit))[0]
        return row[0], row[1]

    async def prune(self, limit: int) -> Pruned:
        """Remove finished jobs past their retention, looking at no more than ``limit`` for each length of time."""
        rows = await self._rows("SELECT walked, removed, extract(epoch FROM behind)::float8 FROM {}.prune($1)", limit)
        return Pruned(*rows[0])

    async def set_progress(self, job: UUID, lease: int, fraction: float, message: str) -> None:
        """Record a job's progress, if its lease still stands."""
        await self._rows("SELECT {}.set_progress($1, $2, $3, $4)", job, lease, fraction, message)

    async def attempt_fate(self, job: UUID, lease: int) -> str | None:
        """Return what became of an attempt: ``running``, how it ended, or None; waits for a commit under way."""
        return (await self._rows("SELECT {}.attempt_fate($1, $2)", job, lease))[0][0]

    async def set_error_after_commit(self, job: UUID, lease: int, error: str) -> None:
        """Record what a task raised after its own transaction had committed its success."""
        await self._rows("SELECT {}.set_error_after_commit($1, $2, $3)", job, lease, error)

    async def channel(self) -> str:
        """Return the schema's NOTIFY channel."""
        return (await self._rows("SELECT channel FROM {}.about()"))[0][0]

    async def _rows(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = await self.connection.prepare(statement.format(self._schema), timeout=CALL_TIMEOUT)
            self._prepared[statement] = prepared
        return await prepared.fetch(*args, timeout=CALL_TIMEOUT)
