"""Thousands of jobs of every kind, and everything that can go wrong, at random; then each promise is checked.

The faults follow from a seed, which is printed. UNO_JOBS_TORTURE_SEED sets it, UNO_JOBS_TORTURE_SECONDS the length
(300 in full; CI runs a short form).
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.chaos import app
from tests.chaos.app import NOTES
from tests.chaos.faults import Faults
from tests.chaos.trees import Tree
from tests.proxy import Proxy
from tests.storage import invariants
from uno_jobs import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from uno_jobs.tasks.signature import Signature

SECONDS = float(os.environ.get("UNO_JOBS_TORTURE_SECONDS", "45"))
SEED = int(os.environ.get("UNO_JOBS_TORTURE_SEED") or secrets.randbits(32))
SETTLING = 120.0
"""Seconds after the last fault within which everything must have come to its end: the longest rescue takes 20."""

BACKLOG = 3_000
"""Unfinished jobs beyond which no more are enqueued: every fault stops workers for seconds."""

ENDS = {
    "noop": {"succeeded"},
    "sleeper": {"succeeded"},
    "flaky": {"succeeded"},
    "hopeless": {"failed"},
    "dozy": {"succeeded"},
    "gives_up": {"cancelled"},
    "threaded": {"succeeded"},
    "in_child": {"succeeded"},
    "stubborn": {"failed"},
    "kills_its_child": {"failed"},
    "poison": {"failed"},
    "only_one": {"succeeded"},
    "count": {"succeeded"},
}
"""How a job of each task ends if nobody cancels it, whatever happens to its workers."""


def some_jobs(chance: random.Random, number: int) -> Iterator[Signature[Any]]:
    """A batch of all kinds."""
    for _ in range(chance.randint(20, 60)):
        yield app.noop.s(number)
    for _ in range(10):
        yield app.sleeper.s(chance.uniform(0.01, 0.5))
        yield app.count.s(1)
        yield app.threaded.s(number)
        yield app.in_child.s(number)
    for _ in range(3):
        yield app.flaky.s(chance.randint(1, 3))
        yield app.dozy.s()
        yield app.only_one.s(chance.randint(1, 3))
    yield app.hopeless.s()
    yield app.gives_up.s()
    yield app.noop.options(delay=chance.uniform(0.1, 3.0), priority=chance.choice([1, 5, 7])).s(number)
    yield app.sleeper.options(priority=chance.choice(["critical", "low"])).s(0.1)
    if number % 10 == 0:
        yield app.stubborn.s()
        yield app.kills_its_child.s()
    if number % 40 == 5:
        yield app.poison.s()


async def enqueue(
    queue: Queue,
    connection: asyncpg.Connection[asyncpg.Record],
    chance: random.Random,
    until: float,
    ids: set[UUID],
    cancelled: set[UUID],
) -> None:
    """Keep the workers busy, but leave no more than they can do after the last fault; cancel a job now and then."""
    number = 0
    while time.monotonic() < until:
        if await connection.fetchval("SELECT count(*) FROM uno_jobs.live_jobs") > BACKLOG:
            await asyncio.sleep(0.2)
            continue
        handles = await queue.enqueue_many(list(some_jobs(chance, number)))
        ids |= {handle.id for handle in handles}
        for handle in chance.sample(handles, 2):
            if await handle.cancel(reason="the torture says so") != "finished":
                cancelled.add(handle.id)
        number += 1
        await asyncio.sleep(chance.uniform(0.05, 0.4))


async def torment(faults: Faults, chance: random.Random, until: float) -> None:
    while time.monotonic() < until:
        await asyncio.sleep(chance.uniform(0.2, 2.0))
        await faults.one()


async def settled(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    deadline = time.monotonic() + SETTLING
    while left := await connection.fetch(
        "SELECT task, state::text, suspect, max(attempt), count(*) FROM uno_jobs.live_jobs GROUP BY 1, 2, 3"
    ):
        assert time.monotonic() < deadline, [tuple(row) for row in left]
        await asyncio.sleep(0.1)


@pytest.mark.chaos
async def test_nothing_is_lost_whatever_happens(database_url: str, tmp_path: Path) -> None:
    print(f"\nseed {SEED}, {SECONDS:g} s")
    chance = random.Random(SEED)
    notes = tmp_path / "starts"
    notes.touch()
    connection, looking = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    ids: set[UUID] = set()
    cancelled: set[UUID] = set()
    faults: Faults | None = None
    try:
        await connection.execute("CREATE TABLE counter AS SELECT 0 AS n")
        async with Proxy(database_url) as proxy, Queue(database_url) as queue:
            environment = {NOTES: str(notes)}
            trees = [
                Tree(url, environment, concurrency=20, poll_interval=0.2, grace=5.0)
                for url in (database_url, proxy.url)
            ]
            try:
                for tree in trees:
                    await tree.start()
                faults = Faults(chance, trees, proxy, connection)
                until = time.monotonic() + SECONDS
                async with asyncio.TaskGroup() as group:
                    group.create_task(enqueue(queue, looking, random.Random(SEED + 1), until, ids, cancelled))
                    group.create_task(torment(faults, chance, until))
                await settled(connection)
            finally:
                for tree in trees:
                    await tree.kill()
        await check(connection, ids, cancelled, notes)
    finally:
        print(f"faults: {Counter(faults.done if faults else [])}")
        await looking.close()
        await connection.close()


async def check(
    connection: asyncpg.Connection[asyncpg.Record], ids: set[UUID], cancelled: set[UUID], notes: Path
) -> None:
    await invariants.check(connection, side_tables=False)
    jobs = {
        row["id"]: row
        for row in await connection.fetch(
            "SELECT id, replace(task, 'torture_', '') AS task, state::text, error FROM uno_jobs.job_status"
        )
    }
    assert set(jobs) == ids
    wrong = [
        (job["task"], job["state"], job["error"])
        for id_, job in jobs.items()
        if job["state"] not in (ENDS[job["task"]] | ({"cancelled"} if id_ in cancelled else set()))
    ]
    assert not wrong, wrong[:10]

    # Every start that a task noted belongs to an attempt that was closed, once.
    closed = {(row[0], row[1]) for row in await connection.fetch("SELECT job_id, lease FROM uno_jobs.attempts")}
    starts = [line.split() for line in notes.read_text().splitlines()]
    unaccounted = [start for start in starts if (_uuid(start[0]), int(start[1])) not in closed]
    assert not unaccounted, unaccounted[:10]
    assert len({(start[0], start[1]) for start in starts}) == len(starts)

    counted = await connection.fetchval("SELECT n FROM counter")
    assert counted == sum(job["task"] == "count" and job["state"] == "succeeded" for job in jobs.values())

    running = await connection.fetchval("SELECT count(*) FROM uno_jobs.cancel_requests")
    print(f"{len(jobs)} jobs, {len(starts)} starts, {counted} counted, {running} requests left")
    print(Counter(f"{job['task']} {job['state']}" for job in jobs.values()))


def _uuid(text: str) -> UUID:
    from uuid import UUID

    return UUID(text)
