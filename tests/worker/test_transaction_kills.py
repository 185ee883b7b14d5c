"""Exactly once under SIGKILL: workers die at any moment, and a counter ends at the number of its increments."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.worker import app
from tests.worker.processes import supervisor

if TYPE_CHECKING:
    from tests.worker.conftest import Database

INCREMENTS = int(os.environ.get("UNO_JOBS_TORTURE_INCREMENTS", "1000"))
"""The short form, as CI runs it; the long one is 10,000."""
SEED = int(os.environ.get("UNO_JOBS_TORTURE_SEED") or secrets.randbits(32))

LIVING = "SELECT pid FROM uno_jobs.workers WHERE state = 'running' ORDER BY started_at, id"


async def count_under_kills(database: Database, increments: int, kills: int, seed: int) -> None:
    """Kill a worker process whenever the counter has moved on by about as much as the number of kills asks for."""
    dice = random.Random(seed)
    await database.connection.execute("CREATE TABLE counter (n int NOT NULL); INSERT INTO counter VALUES (0)")
    await database.put(app.increment, times=increments * 9 // 10)
    await database.put(app.increment_sync, times=increments // 10)
    marks = sorted(dice.sample(range(1, increments * 9 // 10), kills))
    async with supervisor(database.url, processes=2, concurrency=20, max_lost=1000) as process:
        for mark in marks:
            await moves_to(database, mark, 120)
            pids = [row[0] for row in await database.connection.fetch(LIVING)]
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(dice.choice(pids), signal.SIGKILL)
        async with asyncio.timeout(300):
            while await database.connection.fetchval("SELECT EXISTS (SELECT FROM uno_jobs.live_jobs)"):
                await asyncio.sleep(0.05)
        assert process.returncode is None
    assert await database.connection.fetchval("SELECT n FROM counter") == increments
    ends = dict(await database.connection.fetch("SELECT outcome::text, count(*) FROM uno_jobs.attempts GROUP BY 1"))
    assert ends["succeeded"] == increments
    assert ends["lost"] > 0
    assert dict(await database.connection.fetch("SELECT state::text, count(*) FROM uno_jobs.outcomes GROUP BY 1")) == {
        "succeeded": increments
    }


async def moves_to(database: Any, mark: int, limit: float) -> None:
    async with asyncio.timeout(limit):
        while await database.connection.fetchval("SELECT n FROM counter") < mark:
            await asyncio.sleep(0.002)


@pytest.mark.chaos
async def test_a_counter_is_exact_whoever_is_killed(database: Database) -> None:
    print(f"\nseed {SEED}, {INCREMENTS} increments")
    await count_under_kills(database, INCREMENTS, kills=max(4, INCREMENTS * 3 // 1000), seed=SEED)
