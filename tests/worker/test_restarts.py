"""The server is restarted, crashes or fails over under real worker processes: they wait and go on, and lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.postgres import Postgres, several
from tests.worker import app
from tests.worker.conftest import LIMIT, running
from tests.worker.processes import supervisor
from tests.worker.servers import RUNNING, looking, migrated, put_marking, runs
from uno_jobs import Queue
from uno_jobs.errors import DatabaseError
from uno_jobs.storage.gateway import Gateway
from uno_jobs.tasks import task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

LIVING = "SELECT id FROM uno_jobs.workers WHERE state = 'running'"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        server.start()
        yield server


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=["fast", "immediate", "crash"])
async def test_a_restart(kind: signal.Signals, server: Postgres, tmp_path: Path) -> None:
    url = await migrated(server, f"restart_{kind.name.lower()}")
    async with looking(url) as database:
        meanwhile = await put_marking(database, range(10), tmp_path, "away")
        after = await put_marking(database, range(10, 20), tmp_path, "back")
        later = await database.put(app.noop, 1, delay=600)
    async with supervisor(url):
        async with looking(url) as database:
            await database.wait_until(RUNNING, 20)
            before = await database.connection.fetchval(LIVING)
        server.stop(kind)
        (tmp_path / "away").touch()  # these end while nobody can be told
        server.start()
        async with looking(url) as database:
            for id_ in meanwhile:
                await database.wait_for(id_, "succeeded")
            await database.wait_until(f"SELECT ({LIVING}) <> $1", before)
            now = await database.connection.fetchval(LIVING)
            await database.wait_until(
                "SELECT count(*) = 10 FROM uno_jobs.live_jobs WHERE state = 'running' AND worker_id = $1", now
            )
            (tmp_path / "back").touch()
            for id_ in after:
                await database.wait_for(id_, "succeeded")
            new = await database.put(app.noop, 2)
            await database.wait_for(new[0], "succeeded")
            assert (await database.job(later[0]))["state"] == "scheduled"
            for id_ in meanwhile + after:
                (attempt,) = await database.attempts(id_)
                assert (attempt["outcome"], attempt["worker_id"]) == ("succeeded", now)
            old = await database.connection.fetchrow("SELECT state, cause FROM uno_jobs.workers WHERE id = $1", before)
            assert old is not None
            assert (old["state"], str(now) in old["cause"]) == ("stopped", True)
    assert runs(tmp_path) == Counter(range(20))


async def test_a_renewal_that_breaks_off_is_made_good_by_the_next(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await migrated(server, "broken_renewal")
    started, go_on = asyncio.Event(), asyncio.Event()

    @task
    async def waits() -> None:
        started.set()
        await go_on.wait()

    async with looking(url) as database:
        (id_,) = await database.put(waits)
    async with running(url) as worker:
        await asyncio.wait_for(started.wait(), LIMIT)
        before = worker.identity.id
        held = Gateway.held
        broken: list[UUID] = []

        async def break_once(gateway: Gateway, of: UUID) -> Any:
            if of == before and not broken:
                broken.append(of)
                raise ConnectionResetError("cut in the middle of a renewal")
            return await held(gateway, of)

        monkeypatch.setattr(Gateway, "held", break_once)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        async with looking(url) as database:
            await database.wait_until(
                "SELECT EXISTS (SELECT FROM uno_jobs.live_jobs WHERE state = 'running' AND worker_id <> $1)", before
            )
            assert broken
            go_on.set()
            await database.wait_for(id_, "succeeded")
            assert [one["outcome"] for one in await database.attempts(id_)] == ["succeeded"]


async def test_a_server_that_is_away_when_a_worker_starts(server: Postgres, tmp_path: Path) -> None:
    url = await migrated(server, "away_at_start")
    async with looking(url) as database:
        (id_,) = await database.put(app.noop, 1)
    server.stop()
    async with supervisor(url) as process:
        await asyncio.sleep(1.0)  # it tries in vain; were it to give up, the next line would say so
        assert process.returncode is None
        server.start()
        async with looking(url) as database:
            await database.wait_for(id_, "succeeded")


@pytest.mark.chaos
async def test_a_failover_to_a_synchronous_standby(tmp_path: Path) -> None:
    with Postgres() as primary:
        primary.start()
        await migrated(primary, "app")
        with Postgres(of=primary) as standby:
            standby.start()
            primary.stop()
            primary.start("synchronous_standby_names=*")
            await fail_over(primary, standby, tmp_path)


async def fail_over(primary: Postgres, standby: Postgres, folder: Path) -> None:
    url = several(primary, standby, database="app")
    async with looking(url) as database:
        await database.wait_until("SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')")
        healthy = await put_marking(database, range(20), folder, "healthy")
    committed: list[UUID] = []
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):  # each observes the other, and is full of what it runs
            await stack.enter_async_context(supervisor(url, concurrency=10))
        async with looking(url) as database:
            await database.wait_until(RUNNING, 20)
            before = {row[0] for row in await database.connection.fetch(LIVING)}
        # A third, whose host is lost in the failover: it is what shows that the others were watched all the while.
        lost_host = await stack.enter_async_context(supervisor(url, concurrency=15))
        async with looking(url) as database:
            (lost,) = await database.put(app.marks_and_waits, str(folder), 99, "healthy")
            await database.wait_for(lost, "running")
            owner = await database.connection.fetchval("SELECT worker_id FROM uno_jobs.live_jobs WHERE id = $1", lost)
            assert owner not in before
        enqueuer = asyncio.create_task(enqueue_all_the_while(url, committed))
        async with asyncio.timeout(LIMIT):
            while len(committed) < 50:
                await asyncio.sleep(0.01)
        primary.stop(signal.SIGKILL)
        lost_host.kill()
        standby.promote()
        before_failover = len(committed)
        async with asyncio.timeout(LIMIT):
            while len(committed) < before_failover + 50:
                await asyncio.sleep(0.01)
        enqueuer.cancel()
        await asyncio.gather(enqueuer, return_exceptions=True)
        async with looking(url) as database:
            await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE outcome = 'lost')", within=90)
            (folder / "healthy").touch()
            for id_ in [*healthy, lost]:
                await database.wait_for(id_, "succeeded")
            await database.wait_until("SELECT count(*) = 0 FROM uno_jobs.live_jobs")
            assert [one["outcome"] for one in await database.attempts(lost)] == ["lost", "succeeded"]
            for id_ in healthy:
                (attempt,) = await database.attempts(id_)
                assert attempt["worker_id"] not in before  # under a new id
            there = {row[0] for row in await database.connection.fetch("SELECT id FROM uno_jobs.jobs")}
            assert set(committed) <= there
    assert runs(folder) == Counter([*range(20), 99, 99])


async def enqueue_all_the_while(url: str, committed: list[UUID]) -> None:
    """Enqueue one job after the other; those whose enqueue was answered have to be there for good."""
    async with Queue(url) as queue:
        while True:
            try:
                committed.append((await queue.enqueue(app.noop, [1])).id)
            except DatabaseError:
                await asyncio.sleep(0.05)
