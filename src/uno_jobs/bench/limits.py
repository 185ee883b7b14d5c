"""The bare limits that uno-jobs is compared with: the same statements, or fewer, in a loop without a framework."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import uuid_utils

from uno_jobs.storage import session
from uno_jobs.storage.gateway import Gateway
from uno_jobs.storage.schema import render

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

DEAF: Final = 60.0
"""Seconds after which a notification is not waited for any more."""
BATCH: Final = 1000
"""Jobs in a batch of the bare loops, and in a statement of the bare bulk insert."""

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS uno_jobs.bare_jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text NOT NULL, task text NOT NULL, args jsonb NOT NULL, priority smallint NOT NULL,
    state smallint NOT NULL DEFAULT 0, attempt smallint NOT NULL DEFAULT 0,
    started_at timestamptz, worker uuid
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS bare_jobs_ready ON uno_jobs.bare_jobs (queue, priority, id) WHERE state = 0;
"""
_FILL: Final = """
INSERT INTO uno_jobs.bare_jobs (queue, task, args, priority)
SELECT 'default', 'noop', jsonb_build_array(i), 5 FROM generate_series(0, $1::integer - 1) AS i
"""
_ONE: Final = (
    "INSERT INTO uno_jobs.bare_jobs (queue, task, args, priority) VALUES ('default', 'noop', $1::text::jsonb, 5)"
)
_ONE_AND_TELL: Final = """
WITH one AS (INSERT INTO uno_jobs.bare_jobs (queue, task, args, priority) VALUES ('default', 'noop', '[]', 5))
SELECT pg_notify($1, '')
"""
_CLAIM: Final = """
WITH next AS (
    SELECT id FROM uno_jobs.bare_jobs WHERE state = 0 AND queue = 'default' AND priority = 5
    ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE uno_jobs.bare_jobs j SET state = 1, attempt = attempt + 1, started_at = now(), worker = $2
FROM next WHERE j.id = next.id RETURNING j.id, j.task, j.args
"""
_DELETE: Final = "DELETE FROM uno_jobs.bare_jobs WHERE id = ANY ($1::bigint[]) AND state = 1"

_INSERT_JOBS: Final = """
INSERT INTO uno_jobs.jobs (id, created_at, task, version, queue, priority, args, kwargs)
SELECT n.id::uuid, now(), n.task, n.version, n.queue, n.priority, n.args::jsonb, n.kwargs::jsonb
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::text[])
    AS n (id, task, version, queue, priority, args, kwargs)
"""
_INSERT_LIVE: Final = """
INSERT INTO uno_jobs.live_jobs (id, seq, state, task, version, queue, priority)
SELECT n.id::uuid, nextval('uno_jobs.ready_seq'), 'ready', n.task, n.version, n.queue, n.priority
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[]) AS n (id, task, version, queue, priority)
"""


def rows_of(start: int, end: int, task: str) -> tuple[list[Any], ...]:
    """Return the columns of so many no-op jobs: ids, tasks, versions, queues, priorities, args, kwargs."""
    count = end - start
    return (
        [str(uuid_utils.uuid7()) for _ in range(count)],
        [task] * count,
        ["1.0"] * count,
        ["default"] * count,
        [5] * count,
        [f"[{i}]" for i in range(start, end)],
        ["{}"] * count,
    )


async def make_table(connection: Any, schema: str) -> None:
    """Make the bare table in a schema, if it is not there, and empty it."""
    await connection.execute(render(_TABLE, schema))
    await connection.execute(render("TRUNCATE uno_jobs.bare_jobs", schema))


async def insert_one_by_one(connection: Any, schema: str, jobs: int) -> float:
    """Insert rows of one bare table, each committed by itself; returns the seconds."""
    insert = await connection.prepare(render(_ONE, schema))
    started = time.perf_counter()
    for i in range(jobs):
        await insert.fetch(f"[{i}]")
    return time.perf_counter() - started


async def insert_rows_one_by_one(connection: Any, schema: str, jobs: Sequence[tuple[list[Any], ...]]) -> float:
    """Insert into ``jobs`` and ``live_jobs`` in one statement a job, committed by itself; returns the seconds."""
    both = f"WITH asked AS ({_INSERT_JOBS} RETURNING 1) {_INSERT_LIVE}"
    insert = await connection.prepare(render(both, schema))
    started = time.perf_counter()
    for row in jobs:
        await insert.fetch(*row)
    return time.perf_counter() - started


async def insert_same_rows(connection: Any, schema: str, chunks: Sequence[tuple[list[Any], ...]]) -> float:
    """Insert into ``jobs`` and ``live_jobs`` what ``rows_of`` made, in one transaction; returns the seconds."""
    started = time.perf_counter()
    async with connection.transaction():
        for rows in chunks:
            await connection.execute(render(_INSERT_JOBS, schema), *rows)
            await connection.execute(render(_INSERT_LIVE, schema), *rows[:5])
    return time.perf_counter() - started


async def same_statements(url: str, batch: int, *, schema: str, known: str) -> float:
    """Drain with our own claim and finish, each on a connection of its own; returns the seconds."""
    claiming = await session.connect(url, schema, name="uno-jobs bench")
    finishing = await session.connect(url, schema, name="uno-jobs bench")
    claimer, finisher = Gateway(claiming, schema), Gateway(finishing, schema)
    worker = uuid.uuid4()
    floors = [0] * 10

    async def claim() -> list[tuple[Any, int]]:
        lease = secrets.randbits(63)
        rows = await claimer.claim(worker, lease, batch, ["default"], [batch], floors, [known])
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


async def no_history(url: str, jobs: int, batch: int, *, schema: str) -> float:
    """Fill a bare table and drain it by UPDATE … SKIP LOCKED and DELETE, without any history; returns the seconds."""
    await fill_bare(url, jobs, schema=schema)
    return await drain_bare(url, batch, schema=schema)


async def fill_bare(url: str, jobs: int, *, schema: str) -> None:
    """Fill the bare table."""
    connection = await session.connect(url, schema, name="uno-jobs bench")
    try:
        await make_table(connection, schema)
        await connection.execute(render(_FILL, schema), jobs)
        await connection.execute(render("VACUUM (ANALYZE) uno_jobs.bare_jobs", schema))
    finally:
        await connection.close()


async def drain_bare(
    url: str, batch: int, *, schema: str, most: int | None = None, ready: Callable[[], Awaitable[None]] | None = None
) -> float:
    """Drain the bare table, or ``most`` jobs of it; returns the seconds. ``ready`` is awaited when all is prepared."""
    claiming = await session.connect(url, schema, name="uno-jobs bench")
    finishing = await session.connect(url, schema, name="uno-jobs bench")
    try:
        take = await claiming.prepare(render(_CLAIM, schema))
        remove = await finishing.prepare(render(_DELETE, schema))
        worker = uuid.uuid4()
        left = most

        async def claim() -> list[Any]:
            nonlocal left
            rows = await take.fetch(batch if left is None else min(batch, left), worker)
            if left is not None:
                left -= len(rows)
            return [row["id"] for row in rows]

        async def finish(ids: list[Any]) -> None:
            await remove.fetch(ids)

        if ready is not None:
            await ready()
        return await _overlap(claim, finish)
    finally:
        await claiming.close()
        await finishing.close()


async def start_latencies(url: str, samples: int, pause: Callable[[], Awaitable[None]], *, schema: str) -> list[float]:
    """Insert and notify on one connection, hear and claim on another; returns seconds from the insert to the claim."""
    inserting = await session.connect(url, schema, name="uno-jobs bench")
    claiming = await session.connect(url, schema, name="uno-jobs bench")
    try:
        await make_table(inserting, schema)
        insert = await inserting.prepare(render(_ONE_AND_TELL, schema))
        take, remove = await claiming.prepare(render(_CLAIM, schema)), await claiming.prepare(render(_DELETE, schema))
        channel = f"{schema}_bare"
        heard = asyncio.Event()

        def on_notification(*_: object) -> None:
            heard.set()

        await claiming.add_listener(channel, on_notification)
        seconds: list[float] = []
        for _ in range(samples):
            await pause()
            heard.clear()
            started = time.perf_counter()
            inserted = asyncio.ensure_future(insert.fetch(channel))
            # One that fails tells nobody; what it raises comes below.
            inserted.add_done_callback(lambda ended: heard.set() if ended.cancelled() or ended.exception() else None)
            async with asyncio.timeout(DEAF):
                await heard.wait()
            rows = await take.fetch(1, uuid.uuid4())
            seconds.append(time.perf_counter() - started)
            await inserted
            await remove.fetch([row["id"] for row in rows])
        return seconds
    finally:
        inserting.terminate()
        claiming.terminate()


async def step_latencies(url: str, steps: int, *, schema: str) -> list[float]:
    """Claim a job, delete it, claim the next, each committed; returns the seconds from claim to claim."""
    connection = await session.connect(url, schema, name="uno-jobs bench")
    try:
        await make_table(connection, schema)
        await connection.execute(render(_FILL, schema), steps + 1)
        take, remove = (
            await connection.prepare(render(_CLAIM, schema)),
            await connection.prepare(render(_DELETE, schema)),
        )
        seconds: list[float] = []
        rows = await take.fetch(1, uuid.uuid4())
        for _ in range(steps):
            started = time.perf_counter()
            await remove.fetch([row["id"] for row in rows])
            rows = await take.fetch(1, uuid.uuid4())
            seconds.append(time.perf_counter() - started)
        return seconds
    finally:
        await connection.close()


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
