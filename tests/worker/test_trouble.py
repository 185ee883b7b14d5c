"""Connections break, replies are lost, rows are locked: nothing is lost and nothing runs behind the system's back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from tests.proxy import Proxy
from tests.worker.conftest import Database, running
from uno_jobs.outcomes import Succeeded
from uno_jobs.storage.gateway import Gateway
from uno_jobs.tasks import task
from uno_jobs.worker.line import Line

if TYPE_CHECKING:
    import pytest

KILL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name LIKE 'uno-jobs %' AND datname = current_database()
"""


async def test_a_claim_whose_reply_is_lost_is_found_and_handed_back(database: Database) -> None:
    runs: list[int] = []

    @task
    async def noted() -> None:
        runs.append(1)

    async with Proxy(database.url) as proxy, running(proxy.url, poll_interval=600.0) as worker:
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.hungry)")
        lost = proxy.lose_reply("uno-jobs claimer", containing=b"noted")
        (id_,) = await database.put(noted)
        await asyncio.wait_for(lost.wait(), 20)
        await database.wait_for(id_, "succeeded")
        assert worker.reconciler.rounds > 0
    outcomes = [one["outcome"] for one in await database.attempts(id_)]
    assert outcomes == ["handed_back", "succeeded"]
    assert runs == [1]


async def test_an_outcome_whose_reply_is_lost_is_sent_again_and_counts_once(database: Database) -> None:
    go_on = asyncio.Event()
    runs: list[int] = []

    @task
    async def waits() -> str:
        runs.append(1)
        await go_on.wait()
        return "once"

    (warm,) = await database.put(waits)
    async with Proxy(database.url) as proxy, running(proxy.url) as worker:
        go_on.set()
        await database.wait_for(warm, "succeeded")  # the completer is connected now
        go_on.clear()
        (id_,) = await database.put(waits)
        await database.wait_for(id_, "running")
        lost = proxy.lose_reply("uno-jobs completer")
        go_on.set()
        await asyncio.wait_for(lost.wait(), 20)
        await database.wait_for(id_, "succeeded")
        async with asyncio.timeout(20):
            while not worker.holdings.idle:
                await asyncio.sleep(0.005)
    assert [one["outcome"] for one in await database.attempts(id_)] == ["succeeded"]
    assert len(runs) == 2


async def test_all_connections_are_cut_while_jobs_run(database: Database) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @task
    async def waits(number: int) -> int:
        if number == 9:
            started.set()
        await go_on.wait()
        return number

    ids = [id_ for number in range(10) for id_ in await database.put(waits, number)]
    async with running(database.url) as worker:
        await asyncio.wait_for(started.wait(), 20)
        before = worker.identity.id
        await database.connection.execute(KILL)
        go_on.set()
        for id_ in ids:
            await database.wait_for(id_, "succeeded")
        assert worker.identity.id == before  # the server is the same: no new incarnation
    for id_ in ids:
        assert [one["outcome"] for one in await database.attempts(id_)] == ["succeeded"]


async def test_a_job_whose_lease_is_over_is_stopped_and_its_outcome_changes_nothing(database: Database) -> None:
    started: asyncio.Queue[int] = asyncio.Queue()
    go_on = asyncio.Event()

    @task
    async def waits() -> str:
        started.put_nowait(1)
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            return "too late"
        return "done"

    (id_,) = await database.put(waits)
    async with running(database.url) as worker:
        await asyncio.wait_for(started.get(), 20)
        rescued = await database.connection.fetch("SELECT uno_jobs.rescue($1, 'a test', 3)", worker.identity.id)
        assert len(rescued) == 1
        worker.reconciler.ask()
        await asyncio.wait_for(started.get(), 20)  # it runs again, under a new lease
        go_on.set()
        job = await database.wait_for(id_, "succeeded")
    assert job["result"] == '"done"'
    assert [one["outcome"] for one in await database.attempts(id_)] == ["lost", "succeeded"]


async def test_a_locked_row_holds_up_its_own_outcome_only(database: Database) -> None:
    started: list[Any] = []
    go_on = asyncio.Event()

    @task
    async def waits(number: int) -> None:
        started.append(number)
        await go_on.wait()

    ids = [id_ for number in range(5) for id_ in await database.put(waits, number)]
    blocker = await asyncpg.connect(database.url)
    async with running(database.url):
        await database.wait_until("SELECT count(*) = 5 FROM uno_jobs.live_jobs WHERE state = 'running'")
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[2])
        go_on.set()
        for id_ in ids[:2] + ids[3:]:
            await database.wait_for(id_, "succeeded")
        assert (await database.job(ids[2]))["state"] == "running"
        await transaction.rollback()
        await database.wait_for(ids[2], "succeeded")
    await blocker.close()


async def test_one_outcome_that_the_database_refuses_does_not_hold_up_the_batch(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task
    async def number(value: int) -> int:
        return value

    ids = [id_ for value in range(30) for id_ in await database.put(number, value)]
    async with running(database.url, queues=(("elsewhere", None),)) as worker:
        durable = worker._ended

        def spoil(holding: Any) -> None:
            if holding.job.id == ids[17]:
                holding.outcome = Succeeded('"\\u0000"')  # passes every parser but PostgreSQL's
            durable(holding)

        worker.executor._ended = spoil
        worker.claimer._queues = ["default"]
        for id_ in ids:
            await database.wait_for(id_, "succeeded", "failed")
    states = [(await database.job(id_))["state"] for id_ in ids]
    assert states == ["succeeded"] * 17 + ["failed"] + ["succeeded"] * 12
    assert "ResultNotStorable" in (await database.job(ids[17]))["error_type"]


async def test_what_a_rescue_missed_is_found(database: Database) -> None:
    @task
    async def noted(number: int) -> int:
        return number

    ids = [id_ for number in range(2) for id_ in await database.put(noted, number)]
    dead, lease = uuid4(), 7
    gateway = Gateway(database.connection, "uno_jobs")
    await gateway.register(dead, dead, None, 1, "elsewhere", 1, 10, ["default"], "[]")
    await gateway.claim(dead, lease, 10, ["default"], [10], [0] * 10, ["noted@1.0"])
    blocker = await asyncpg.connect(database.url)
    async with blocker.transaction():
        await blocker.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[0])
        assert await gateway.rescue(dead, "a test", 3) == {ids[1]}
    await gateway.worker_state(dead, "dead", "a test")
    assert dead not in {row[0] for row in await gateway.observe([])}
    await blocker.close()
    async with running(database.url):
        for id_ in ids:
            await database.wait_for(id_, "succeeded")
    attempts = [[one["outcome"] for one in await database.attempts(id_)] for id_ in ids]
    assert attempts == [["lost", "succeeded"]] * 2


async def test_what_a_stopped_worker_left_is_handed_back(database: Database) -> None:
    @task
    async def noted() -> None: ...

    (id_,) = await database.put(noted)
    gone = uuid4()
    gateway = Gateway(database.connection, "uno_jobs")
    await gateway.register(gone, gone, None, 1, "elsewhere", 1, 10, ["default"], "[]")
    await gateway.claim(gone, 7, 10, ["default"], [10], [0] * 10, ["noted@1.0"])
    await gateway.worker_state(gone, "stopped")
    async with running(database.url):
        await database.wait_for(id_, "succeeded")
    assert [one["outcome"] for one in await database.attempts(id_)] == ["handed_back", "succeeded"]


async def test_a_worker_that_was_taken_for_dead_goes_on_as_another(database: Database) -> None:
    @task
    async def noop() -> None: ...

    async with running(database.url) as worker:
        before = worker.identity.id
        await database.connection.execute("SELECT uno_jobs.worker_state($1, 'dead', 'a test')", before)
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.workers WHERE state = 'running')")
        async with asyncio.timeout(20):
            while worker.identity.id == before:
                await asyncio.sleep(0.005)
        (id_,) = await database.put(noop)
        await database.wait_for(id_, "succeeded")
    (attempt,) = await database.attempts(id_)
    assert attempt["worker_id"] == worker.identity.id != before


async def test_a_network_that_falls_silent_after_the_handshake_is_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uno_jobs.worker.line.CALL_TIMEOUT", 0.3)
    async with Proxy(database.url) as proxy:
        line = Line(proxy.url, "uno_jobs", "test")
        proxy.silent_after_handshake = True
        waiting = asyncio.create_task(line.get())
        await asyncio.wait_for(proxy.silenced.wait(), 20)
        proxy.silent_after_handshake = False
        gateway = await asyncio.wait_for(waiting, 20)  # on another connection
        assert await gateway.channel() == "uno_jobs_uno_jobs"
        await line.close()
