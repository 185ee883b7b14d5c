"""The worker that leads removes finished jobs, beside its work and at a pace of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.storage.history import put_finished
from tests.storage.lab import Lab
from tests.worker.conftest import LIMIT, Database, running
from uno_jobs.storage.gateway import Pruned
from uno_jobs.tasks import task
from uno_jobs.worker import pruner
from uno_jobs.worker.line import Line
from uno_jobs.worker.pruner import Pace, Pruner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OURS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'uno-jobs retention'"
CONNECTIONS = f"SELECT count(*) {OURS}"


@pytest.fixture
async def lab(database_url: str) -> AsyncIterator[Lab]:
    lab = await Lab.open(database_url)
    yield lab
    await lab.close()


async def test_finished_jobs_go_while_others_run(database: Database, lab: Lab) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    @task
    async def holds() -> None:
        started.set()
        await go.wait()

    await put_finished(lab, 3_000, age=8)
    await put_finished(lab, 10, age=8, state="failed")
    (id_,) = await database.put(holds)
    async with running(database.url):
        await started.wait()
        await database.wait_until("SELECT count(*) = 11 FROM uno_jobs.jobs")
        assert (await database.job(id_))["state"] == "running"
        go.set()
        await database.wait_for(id_, "succeeded")
    assert await lab.states() == {"failed": 10, "succeeded": 1}


async def test_one_of_two_workers_does_it_and_the_other_takes_over(database: Database, lab: Lab) -> None:
    await put_finished(lab, 10, age=8)
    async with running(database.url) as other:
        await database.wait_until("SELECT count(*) = 0 FROM uno_jobs.jobs")
        async with running(database.url):
            assert await lab.eye.fetchval(CONNECTIONS) == 1
            other.drain()
            await database.wait_until("SELECT count(*) = 1 FROM uno_jobs.workers WHERE state = 'stopped'")
            await put_finished(lab, 10, age=7.5)
            await database.wait_until("SELECT count(*) = 0 FROM uno_jobs.jobs")


async def test_a_broken_connection_is_made_anew(database: Database, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner, "IDLE", 0.05)
    async with running(database.url):
        await database.wait_until(f"SELECT ({CONNECTIONS}) = 1")
        await lab.eye.execute(f"SELECT pg_terminate_backend(pid) {OURS}")
        await put_finished(lab, 10, age=8)
        await database.wait_until("SELECT count(*) = 0 FROM uno_jobs.jobs")


async def test_what_is_said_while_a_connection_is_being_closed_is_heard(database_url: str) -> None:
    class Closing(Line):
        async def close(self) -> None:
            await super().close()
            said.stop()

    said = Pruner(Closing(database_url, "uno_jobs", "retention"))
    async with asyncio.timeout(LIMIT):
        await said.run()


def test_a_slow_server_gets_smaller_steps_and_rests_in_proportion() -> None:
    pace = Pace()
    quick = Pruned(pace.size, pace.size, 0.0)
    rest = pace.rest(quick, 0.001)
    assert pace.size == 2 * pruner.FIRST
    assert rest == pytest.approx(0.003)
    for _ in range(20):
        pace.rest(Pruned(pace.size, 0, 0.0), 0.001)
    assert pace.size == pruner.LARGEST
    for _ in range(20):
        assert pace.rest(Pruned(pace.size, 0, 0.0), 1.0) == pytest.approx(3.0)
    assert pace.size == pruner.SMALLEST


def test_the_further_it_is_behind_the_less_it_rests() -> None:
    rests = [Pace().rest(Pruned(10, 10, behind), 0.06) for behind in (0.0, 600.0, 86400.0)]
    assert rests == pytest.approx([0.18, 0.09, 0.04])


def test_with_nothing_to_look_at_it_waits() -> None:
    pace = Pace()
    assert pace.rest(Pruned(0, 0, 0.0), 0.001) == pruner.IDLE
    assert pace.size == pruner.FIRST
