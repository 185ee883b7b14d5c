"""Thousands of jobs and workflows of every kind, and all that can go wrong, at random; then each promise is checked.

The faults follow from a seed, which is printed. UNO_JOBS_TORTURE_SEED sets it, UNO_JOBS_TORTURE_SECONDS the length
(300 in full; CI runs a short form). The server is the torture's own, since it is restarted under the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.chaos.app import NOTES
from tests.chaos.eye import Eye
from tests.chaos.faults import SETTINGS, Faults
from tests.chaos.load import Ledger, enqueue, help_all_the_while, help_the_helpless
from tests.chaos.trees import Tree
from tests.chaos.verdict import Verdict
from tests.postgres import Postgres
from tests.proxy import Proxy
from tests.storage import invariants
from uno_jobs import Queue
from uno_jobs.storage.migrations import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = float(os.environ.get("UNO_JOBS_TORTURE_SECONDS", "30"))
SEED = int(os.environ.get("UNO_JOBS_TORTURE_SEED") or secrets.randbits(32))
SETTLING = 120.0
"""Seconds after the last fault within which everything must have come to its end: the longest rescue takes 20."""


@pytest.fixture
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        server.start(*SETTINGS)
        yield server


async def torment(faults: Faults, chance: random.Random, until: float) -> None:
    while time.monotonic() < until:
        await asyncio.sleep(chance.uniform(0.2, 2.0))
        await faults.one()


async def look(eye: Eye, until: float) -> None:
    """While it all goes on, each count adds up and each job stands in one place."""
    while time.monotonic() < until:
        await eye.use(check_invariants)
        await asyncio.sleep(3.0)


async def check_invariants(connection: object) -> None:
    await invariants.check(connection, side_tables=False, retried_by_hand=True)  # type: ignore[arg-type]


async def settled(eye: Eye) -> None:
    deadline = time.monotonic() + SETTLING
    while left := await eye.fetch(
        "SELECT task, state::text, suspect, pending_parents, max(attempt), count(*) FROM uno_jobs.live_jobs "
        "GROUP BY 1, 2, 3, 4"
    ):
        assert time.monotonic() < deadline, [tuple(row) for row in left]
        await asyncio.sleep(0.1)


@pytest.mark.chaos
async def test_nothing_is_lost_whatever_happens(server: Postgres, tmp_path: Path) -> None:
    print(f"\nseed {SEED}, {SECONDS:g} s")
    chance = random.Random(SEED)
    notes = tmp_path / "starts"
    notes.touch()
    await asyncio.to_thread(upgrade, server.url)
    ledger = Ledger()
    faults: Faults | None = None
    try:
        async with contextlib.AsyncExitStack() as stack:
            eye, looking, counting, helping = [await stack.enter_async_context(Eye(server.url)) for _ in range(4)]
            proxy = await stack.enter_async_context(Proxy(server.url))
            queue = await stack.enter_async_context(Queue(server.url))
            await eye.fetch("CREATE TABLE counter AS SELECT 0 AS n")
            trees = [
                Tree(url, {NOTES: str(notes)}, concurrency=20, poll_interval=0.2, grace=5.0)
                for url in (server.url, proxy.url)
            ]
            try:
                for tree in trees:
                    await tree.start()
                faults = Faults(chance, trees, proxy, server, eye)
                until = time.monotonic() + SECONDS
                async with asyncio.TaskGroup() as all_at_once:
                    all_at_once.create_task(enqueue(queue, counting, random.Random(SEED + 1), until, ledger))
                    all_at_once.create_task(help_all_the_while(queue, helping, until, ledger))
                    all_at_once.create_task(torment(faults, chance, until))
                    all_at_once.create_task(look(looking, until))
                await settled(eye)
                while await help_the_helpless(queue, eye, ledger):
                    await settled(eye)
            finally:
                for tree in trees:
                    await tree.kill()
            await eye.use(check_invariants)
            verdict = await Verdict.read(eye, ledger)
            verdict.describe()
            verdict.check_batches()
            verdict.check_ends()
            verdict.check_values()
            await verdict.check_starts(eye, notes)
            await verdict.check_count(eye)
    finally:
        print(f"faults: {Counter(faults.done if faults else [])}")
