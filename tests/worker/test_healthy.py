"""A healthy job is never taken away: not for its length, nor for what befalls connections, supervisors or observers."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.proxy import Proxy
from tests.worker import app
from tests.worker.processes import (
    IN_FULL,
    kill,
    observer,
    outcomes,
    supervisor,
    wait_logged,
    workers,
)

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from tests.worker.conftest import Database

TERMINATE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE $1 AND pid <> ALL ($2)
"""
pytestmark = pytest.mark.usefixtures("impatient")


async def beats_on(database: Database, times: int) -> None:
    """Wait until the worker process has been said to live so many times more; it must not be called dead meanwhile."""
    worker, before = await database.connection.fetchrow(
        "SELECT id, beat FROM uno_jobs.workers WHERE lock_key IS NOT NULL"
    )  # pyright: ignore[reportGeneralTypeIssues]
    await database.wait_until(
        "SELECT beat >= $2 OR state = 'dead' FROM uno_jobs.workers WHERE id = $1", worker, before + times
    )
    await nobody_died(database)


async def nobody_died(database: Database) -> None:
    assert not await database.connection.fetch("SELECT id, cause FROM uno_jobs.workers WHERE state = 'dead'")


async def ends_well(database: Database, ids: list[UUID]) -> None:
    """Each of these jobs succeeds at its first attempt."""
    for id_ in ids:
        await database.wait_for(id_, "succeeded")
        assert await outcomes(database, id_) == ["succeeded"]
    await nobody_died(database)


async def test_terminated_sessions_cost_nobody_a_job(database: Database, tmp_path: Path) -> None:
    there = tmp_path / "go"
    sessions = "SELECT array_agg(pid) FROM pg_stat_activity WHERE datname = current_database()"
    async with observer(database.url):
        keep = await database.connection.fetchval(sessions)
        async with supervisor(database.url, queues=(("theirs", None),)):
            ids = await database.put(app.until_there, str(there), times=20, queue="theirs")
            await database.wait_until("SELECT count(*) = 20 FROM uno_jobs.live_jobs WHERE state = 'running'")
            for _ in range(3):
                await database.connection.execute(TERMINATE, "uno-jobs %", keep)
                await beats_on(database, 2)
            there.touch()
            await ends_well(database, ids)


async def test_a_supervisor_that_gets_no_session_any_more_costs_nobody_a_job(
    database: Database, tmp_path: Path
) -> None:
    # As when a server is out of connections: those that there are go on.
    there = tmp_path / "go"
    name = database.url.rpartition("/")[2]
    admin = await asyncpg.connect(database.url.rpartition("/")[0] + "/postgres")
    ids = await database.put(app.until_there, str(there))
    try:
        async with supervisor(database.url):
            await database.wait_for(ids[0], "running")
            async with observer(database.url):
                await beats_on(database, 2)
                await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                await database.connection.execute(TERMINATE, "uno-jobs supervisor", [])
                await beats_on(database, 6)
                await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
                there.touch()
                await ends_well(database, ids)
    finally:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()


async def test_a_stopped_supervisor_costs_nobody_a_job(database: Database, tmp_path: Path) -> None:
    there = tmp_path / "go"
    ids = await database.put(app.until_there, str(there))
    async with supervisor(database.url) as process:
        await database.wait_for(ids[0], "running")
        async with observer(database.url):
            await beats_on(database, 2)
            kill([process.pid], signal.SIGSTOP)
            await beats_on(database, 6)
            kill([process.pid], signal.SIGCONT)
            there.touch()
            await ends_well(database, ids)


async def test_two_observers_who_were_cut_off_watch_anew(database: Database, tmp_path: Path) -> None:
    # They and the worker lose the network for the same time; what they saw before does not count.
    log, there = tmp_path / "log", tmp_path / "go"
    ids = await database.put(app.until_there, str(there))
    async with Proxy(database.url) as proxy, supervisor(proxy.url, log=log):
        await database.wait_for(ids[0], "running")
        async with observer(proxy.url), observer(proxy.url):
            await workers(database, 3)
            await beats_on(database, 1)
            proxy.speaking.clear()
            await wait_logged(log, "the supervisor lost the database")
            proxy.cut()
            proxy.speaking.set()
            await wait_logged(log, "the supervisor reached the database again")
            await beats_on(database, 5)
            there.touch()
            await ends_well(database, ids)


async def test_a_database_that_stood_still_costs_nobody_a_job(database: Database, tmp_path: Path) -> None:
    # No connection breaks but the supervisor's, which gives up earlier: its lock is gone when the observers go on.
    log, there = tmp_path / "log", tmp_path / "go"
    ids = await database.put(app.until_there, str(there))
    async with Proxy(database.url) as proxy, supervisor(proxy.url, log=log):
        await database.wait_for(ids[0], "running")
        async with observer(proxy.url):
            await beats_on(database, 2)
            proxy.speaking.clear()
            await wait_logged(log, "the supervisor lost the database")
            proxy.speaking.set()
            await wait_logged(log, "the supervisor reached the database again")
            await beats_on(database, 5)
            there.touch()
            await ends_well(database, ids)


@pytest.mark.parametrize("beats", [5, pytest.param(60, marks=IN_FULL)])
async def test_a_task_that_holds_the_interpreter_does_not_look_dead(
    database: Database, tmp_path: Path, beats: int
) -> None:
    there = tmp_path / "go"
    async with supervisor(database.url):
        ids = await database.put(app.holds_the_interpreter, str(there))
        await database.wait_for(ids[0], "running")
        async with observer(database.url):
            for _ in range(0, beats, 5):
                await beats_on(database, 5)
            there.touch()
            await ends_well(database, ids)
