"""What dies, stands still or is cut off, as real processes: its jobs run elsewhere, its late outcomes do not count."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.proxy import Proxy
from tests.worker import app
from tests.worker.processes import SUPERVISED, everyone, kill, observer, outcomes, supervisor, wait_logged, workers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worker.conftest import Database


@pytest.mark.usefixtures("impatient")
async def test_a_zombies_late_outcomes_change_nothing_and_it_says_so(database: Database, tmp_path: Path) -> None:
    log, first, second = tmp_path / "log", tmp_path / "first", tmp_path / "second"
    (ends_late,) = await database.put(app.until_there, str(first))
    (runs_on,) = await database.put(app.until_there, str(second))
    async with supervisor(database.url, log=log) as process:
        await database.wait_for(ends_late, "running")
        await database.wait_for(runs_on, "running")
        zombie = await database.connection.fetchval(SUPERVISED)
        tree = everyone(process)
        kill(tree, signal.SIGSTOP)
        async with observer(database.url) as one, observer(database.url) as two:
            await database.wait_until("SELECT count(*) = 2 FROM uno_jobs.attempts WHERE outcome = 'lost'")
            first.touch()
            await database.wait_for(ends_late, "succeeded")
            # Without its supervisor, which would put an end to it.
            kill(tree[1:], signal.SIGCONT)
            (late,) = await wait_logged(log, "an outcome came too late")
            (stopped,) = await wait_logged(log, "the lease of a running job is over")
            kill(tree, signal.SIGCONT)
            second.touch()
            await database.wait_for(runs_on, "succeeded")
    assert (late["job_id"], stopped["job_id"]) == (str(ends_late), str(runs_on))
    for id_ in (ends_late, runs_on):
        lost, succeeded = await database.attempts(id_)
        assert succeeded["worker_id"] in (one.identity.id, two.identity.id)
        assert (lost["outcome"], lost["worker_id"], succeeded["outcome"]) == ("lost", zombie, "succeeded")
        assert "no beat for" in lost["error"]


@pytest.mark.usefixtures("impatient")
async def test_behind_a_silent_network_a_worker_loses_its_jobs_and_comes_back(
    database: Database, tmp_path: Path
) -> None:
    log, there = tmp_path / "log", tmp_path / "go"
    (id_,) = await database.put(app.until_there, str(there))
    async with Proxy(database.url) as proxy, supervisor(proxy.url, log=log):
        await database.wait_for(id_, "running")
        cut_off = await database.connection.fetchval(SUPERVISED)
        proxy.speaking.clear()
        async with observer(database.url) as elsewhere:
            await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE outcome = 'lost')")
            await database.wait_for(id_, "running")
            proxy.speaking.set()
            await database.wait_until(f"SELECT EXISTS ({SUPERVISED} AND id <> $1)", cut_off)
            there.touch()
            await database.wait_for(id_, "succeeded")
    lost, succeeded = await database.attempts(id_)
    assert (lost["worker_id"], lost["outcome"]) == (cut_off, "lost")
    assert (succeeded["worker_id"], succeeded["outcome"]) == (elsewhere.identity.id, "succeeded")


async def test_when_the_host_that_did_the_chores_is_gone_another_does_them(database: Database, tmp_path: Path) -> None:
    there = tmp_path / "go"
    (id_,) = await database.put(app.until_there, str(there))
    async with supervisor(database.url, processes=2) as process:
        await database.wait_for(id_, "running")
        await workers(database, 2)
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.chore_leases WHERE chore = 'maintenance')")
        async with observer(database.url):
            (later,) = await database.put(app.noop, 7, delay=2.0)
            kill(everyone(process))
            await database.wait_for(later, "succeeded")
            await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE outcome = 'lost')")
            there.touch()
            await database.wait_for(id_, "succeeded")
    lost, _ = await database.attempts(id_)
    assert lost["error"] == "its supervisor is gone (no beat, no lock)"
    leader = await database.connection.fetchrow("SELECT holder, term FROM uno_jobs.chore_leases")
    assert leader is not None
    assert leader["term"] > 1
    await database.wait_until("SELECT count(*) = 2 FROM uno_jobs.workers WHERE state = 'dead'")


async def test_when_all_workers_were_killed_at_once_the_next_one_runs_everything(
    database: Database, tmp_path: Path
) -> None:
    there = tmp_path / "go"
    held = await database.put(app.until_there, str(there), times=6)
    async with (
        supervisor(database.url, processes=2, concurrency=2) as one,
        supervisor(database.url, concurrency=2) as two,
    ):
        await database.wait_until("SELECT count(*) = 6 FROM uno_jobs.live_jobs WHERE state = 'running'")
        waiting = await database.put(app.noop, 7, times=50)
        kill([*everyone(one), *everyone(two)])
    there.touch()
    async with supervisor(database.url):
        for id_ in [*held, *waiting]:
            await database.wait_for(id_, "succeeded")
    for id_ in held:
        assert await outcomes(database, id_) == ["lost", "succeeded"]
        assert (await database.job(id_))["failures"] == 0
    for id_ in waiting:
        assert await outcomes(database, id_) == ["succeeded"]
