"""The bare limits that a worker is compared with: the same statements, or fewer, in a loop without a framework."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg

from uno_jobs.storage import session
from uno_jobs.storage.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PRIORITY = 5

TABLE = """
CREATE TABLE IF NOT EXISTS public.bare_jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text NOT NULL, task text NOT NULL, args jsonb NOT NULL, priority smallint NOT NULL,
    state smallint NOT NULL DEFAULT 0, attempt smallint NOT NULL DEFAULT 0,
    started_at timestamptz, worker uuid
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS bare_jobs_ready ON public.bare_jobs (queue, priority, id) WHERE state = 0;
"""
BARE_FILL = """
INSERT INTO public.bare_jobs (queue, task, args, priority)
SELECT 'default', 'noop', jsonb_build_array(i), 5 FROM generate_series(0, $1::integer - 1) AS i
"""
BARE_CLAIM = """
WITH next AS (
    SELECT id FROM public.bare_jobs WHERE state = 0 AND queue = 'default' AND priority = 5
    ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE public.bare_jobs j SET state = 1, attempt = attempt + 1, started_at = now(), worker = $2
FROM next WHERE j.id = next.id RETURNING j.id, j.task, j.args
"""
BARE_DELETE = "DELETE FROM public.bare_jobs WHERE id = ANY ($1::bigint[]) AND state = 1"


async def same_statements(url: str, batch: int) -> float:
    """Drain with uno_jobs.claim and uno_jobs.finish, each on a connection of its own; returns the seconds."""
    claiming = await session.connect(url, name="benchmark")
    finishing = await session.connect(url, name="benchmark")
    claimer, finisher = Gateway(claiming, "uno_jobs"), Gateway(finishing, "uno_jobs")
    worker = uuid.uuid4()
    floors = [0] * 10

    async def claim() -> list[tuple[Any, int]]:
        lease = secrets.randbits(63)
        rows = await claimer.claim(worker, lease, batch, ["default"], [batch], floors, ["noop@1.0"])
        for row in rows:
            if row["id"] is None and row["seq"] is not None:
                floors[row["priority"]] = row["seq"]
        return [(row["id"], lease) for row in rows if row["id"] is not None]

    async def finish(jobs: list[tuple[Any, int]]) -> None:
        ids, leases = [job for job, _ in jobs], [lease for _, lease in jobs]
        unrecorded = await finisher.finish(worker, ids, leases, ["null"] * len(ids), "[]")
        assert not unrecorded

    try:
        return await _overlap(claim, finish)
    finally:
        await claiming.close()
        await finishing.close()


async def no_history(url: str, jobs: int, batch: int) -> float:
    """Drain a table of its own by UPDATE … SKIP LOCKED and DELETE, without any history; returns the seconds."""
    claiming, finishing = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await claiming.execute(TABLE)
        await claiming.execute("TRUNCATE public.bare_jobs")
        await claiming.execute(BARE_FILL, jobs)
        await claiming.execute("VACUUM (ANALYZE) public.bare_jobs")
        await claiming.execute("CHECKPOINT")
        take, remove = await claiming.prepare(BARE_CLAIM), await finishing.prepare(BARE_DELETE)
        worker = uuid.uuid4()

        async def claim() -> list[Any]:
            return [row["id"] for row in await take.fetch(batch, worker)]

        async def finish(ids: list[Any]) -> None:
            await remove.fetch(ids)

        return await _overlap(claim, finish)
    finally:
        await claiming.close()
        await finishing.close()


async def _overlap(claim: Callable[[], Awaitable[list[Any]]], finish: Callable[[list[Any]], Awaitable[None]]) -> float:
    """Claim and finish at the same time until there is nothing left; returns the seconds."""
    claimed: asyncio.Queue[list[Any]] = asyncio.Queue(maxsize=2)
    started = time.perf_counter()

    async def claim_all() -> None:
        while batch := await claim():
            await claimed.put(batch)
        await claimed.put([])

    async def finish_all() -> None:
        while batch := await claimed.get():
            await finish(batch)

    await asyncio.gather(claim_all(), finish_all())
    return time.perf_counter() - started
