"""A supervisor and its workers are told to stop, as people, service managers and containers tell them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.worker import app
from tests.worker.conftest import LIMIT
from tests.worker.processes import (
    IN_FULL,
    IN_OWN_PID_NAMESPACE,
    SUPERVISED,
    WORKER_PID,
    everyone,
    kill,
    logged,
    outcomes,
    supervisor,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worker.conftest import Database

DRAINING = "SELECT count(*) = $1 FROM uno_jobs.workers WHERE state = 'draining'"


async def test_workers_are_said_to_live_while_they_are_given_time_to_stop(database: Database, tmp_path: Path) -> None:
    there = tmp_path / "go"
    (id_,) = await database.put(app.until_there, str(there))
    async with supervisor(database.url, grace=60.0) as process:
        await database.wait_for(id_, "running")
        process.send_signal(signal.SIGTERM)
        await database.wait_until(DRAINING, 1)
        beat = await database.connection.fetchval("SELECT beat FROM uno_jobs.workers")
        await database.wait_until("SELECT beat >= $1 FROM uno_jobs.workers", beat + 3)
        there.touch()
        assert await asyncio.wait_for(process.wait(), LIMIT) == 0
    assert await outcomes(database, id_) == ["succeeded"]


@pytest.mark.parametrize(
    ("grace", "killed_after"),
    [(3.0, 8.0), pytest.param(25.0, 30.0, marks=IN_FULL)],
    ids=["short", "kubernetes"],
)
async def test_all_is_handed_back_before_a_container_would_be_killed(
    database: Database, grace: float, killed_after: float
) -> None:
    # Docker and Kubernetes send SIGTERM, and after so many seconds SIGKILL.
    tasks = (app.heeds_cancellation, app.swallows_every_cancellation, app.stays_in_its_thread)
    ids = [id_ for task in tasks for id_ in await database.put(task, times=2)]
    async with supervisor(database.url, processes=2, concurrency=3, grace=grace) as process:
        await database.wait_until("SELECT count(*) = 6 FROM uno_jobs.live_jobs WHERE state = 'running'")
        process.send_signal(signal.SIGTERM)
        await database.wait_until(DRAINING, 2)
        assert await asyncio.wait_for(process.wait(), killed_after) == 0
    for id_ in ids:
        job = await database.job(id_)
        assert (job["state"], job["failures"], job["attempt"]) == ("ready", 0, 1)
        assert await outcomes(database, id_) == ["handed_back"]


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_close_behind_the_first_hands_back_too(
    database: Database, signal_: signal.Signals
) -> None:
    (id_,) = await database.put(app.heeds_cancellation)
    async with supervisor(database.url, grace=3600.0) as process:
        await database.wait_for(id_, "running")
        process.send_signal(signal_)
        await database.wait_until(DRAINING, 1)
        process.send_signal(signal_)
        assert await asyncio.wait_for(process.wait(), LIMIT) == 0
    assert await outcomes(database, id_) == ["handed_back"]
    assert (await database.job(id_))["state"] == "ready"


@pytest.mark.skipif(
    not (sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare")),
    reason="making a process number 1 takes Linux and root",
)
async def test_as_process_1_it_obeys_and_watches_as_elsewhere(database: Database, tmp_path: Path) -> None:
    log, there = tmp_path / "log", tmp_path / "go"
    async with supervisor(database.url, log=log, prefix=IN_OWN_PID_NAMESPACE) as outside:
        (id_,) = await database.put(app.until_there, str(there))
        await database.wait_for(id_, "running")
        first = await database.connection.fetchval(SUPERVISED)
        _, number_1, worker, *_ = everyone(outside)
        assert await database.connection.fetchval(WORKER_PID) != worker  # it counts from 1 in there
        kill([worker])
        await database.wait_until(f"SELECT EXISTS ({SUPERVISED} AND id <> $1)", first)
        await database.wait_for(id_, "running")
        kill([number_1], signal.SIGTERM)
        await database.wait_until(DRAINING, 1)
        there.touch()
        assert await asyncio.wait_for(outside.wait(), LIMIT) == 0
    assert logged(log, "SIGTERM: workers finish what they run")
    assert await outcomes(database, id_) == ["lost", "succeeded"]
