"""Supervisors and workers as real processes, and real signals."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.worker import app
from tests.worker.conftest import LIMIT, Database
from tests.worker.processes import WORKER_PID, supervisor

if TYPE_CHECKING:
    from pathlib import Path


async def test_two_processes_share_the_work_and_run_each_job_once(database: Database) -> None:
    ids = await database.put(app.noop, 7, times=1000)
    async with supervisor(database.url, processes=2, until_empty=True, concurrency=20) as process:
        assert await asyncio.wait_for(process.wait(), LIMIT) == 0
    rows = await database.connection.fetch("SELECT job_id, outcome::text FROM uno_jobs.attempts")
    assert Counter(row["job_id"] for row in rows) == Counter(ids)
    assert {row["outcome"] for row in rows} == {"succeeded"}


@pytest.mark.parametrize(
    ("module", "result"),
    [
        ("tests.worker.app", [10_000, True]),
        ("tests.worker.collecting_app", [1_234, False]),
        ("tests.worker.uncollected_app", [gc.get_threshold()[0], False]),
    ],
)
async def test_garbage_is_looked_for_rarely_unless_the_application_says_otherwise(
    database: Database, module: str, result: list[object]
) -> None:
    (id_,) = await database.put(app.how_it_collects)
    async with supervisor(database.url, until_empty=True, app=(module,)) as process:
        assert await asyncio.wait_for(process.wait(), LIMIT) == 0
    assert json.loads((await database.job(id_))["result"]) == result


async def test_a_killed_worker_is_noticed_its_jobs_released_and_another_started(
    database: Database, tmp_path: Path
) -> None:
    there = tmp_path / "go"
    (id_,) = await database.put(app.until_there, str(there))
    async with supervisor(database.url):
        await database.wait_for(id_, "running")
        first = await database.connection.fetchval(WORKER_PID)
        os.kill(first, signal.SIGKILL)
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE outcome = 'lost')")
        there.touch()
        job = await database.wait_for(id_, "succeeded")
    assert int(job["result"]) != first
    lost, succeeded = await database.attempts(id_)
    assert "SIGKILL" in lost["error"]
    assert (succeeded["attempt"], job["failures"]) == (2, 0)
    dead = await database.connection.fetchrow("SELECT * FROM uno_jobs.workers WHERE pid = $1", first)
    assert dead is not None
    assert (dead["state"], dead["lost_jobs"]) == ("dead", 1)


async def test_when_a_supervisor_dies_its_workers_stop_and_others_take_over(database: Database, tmp_path: Path) -> None:
    there = tmp_path / "go"
    async with supervisor(database.url) as first:
        (id_,) = await database.put(app.until_there, str(there))
        await database.wait_for(id_, "running")
        pid = await database.connection.fetchval(WORKER_PID)
        async with supervisor(database.url):
            await database.wait_until("SELECT count(*) = 2 FROM uno_jobs.workers WHERE state = 'running'")
            first.kill()
            await first.wait()
            async with asyncio.timeout(LIMIT):
                while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    await asyncio.sleep(0.01)
            await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE outcome = 'lost')")
            there.touch()
            job = await database.wait_for(id_, "succeeded")
    assert int(job["result"]) != pid


async def test_sigterm_lets_running_jobs_end(database: Database, tmp_path: Path) -> None:
    there = tmp_path / "go"
    (id_,) = await database.put(app.until_there, str(there))
    async with supervisor(database.url) as process:
        await database.wait_for(id_, "running")
        process.send_signal(signal.SIGTERM)
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.workers WHERE state = 'draining')")
        there.touch()
        assert await asyncio.wait_for(process.wait(), LIMIT) == 0
    assert (await database.job(id_))["state"] == "succeeded"


async def test_a_signal_to_every_process_at_once_is_one_signal(database: Database, tmp_path: Path) -> None:
    # As systemd does it: the worker gets the signal itself, and again from its supervisor.
    there = tmp_path / "go"
    (id_,) = await database.put(app.until_there, str(there))
    async with supervisor(database.url) as process:
        await database.wait_for(id_, "running")
        os.kill(await database.connection.fetchval(WORKER_PID), signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.workers WHERE state = 'draining')")
        there.touch()
        assert await asyncio.wait_for(process.wait(), LIMIT) == 0
    assert [one["outcome"] for one in await database.attempts(id_)] == ["succeeded"]


async def test_a_job_that_alone_kills_its_process_each_time_fails_with_the_cause(database: Database) -> None:
    (id_,) = await database.put(app.kills_its_process)
    async with supervisor(database.url, max_lost=2):
        job = await database.wait_for(id_, "failed")
    assert (job["lost"], job["attempt"], job["failures"]) == (2, 2, 0)
    assert "SIGKILL" in job["error"]


async def test_a_worker_without_the_schema_says_so_and_does_not_try_again(
    empty_database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with supervisor(empty_database_url) as process:
        assert await asyncio.wait_for(process.wait(), LIMIT) == 3
    assert "uno-jobs db upgrade" in capfd.readouterr().err
