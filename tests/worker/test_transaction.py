"""``job.transaction()``: a task's writes, its enqueues and its success, all or nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from sqlalchemy import text

from tests.worker.conftest import LIMIT, Database, running, until_empty
from tests.worker.transactions import INSERT, count, define_follower, followers, run_one, write, write_sync
from uno_jobs import get_current_job
from uno_jobs.errors import LeaseLost
from uno_jobs.queue import SyncQueue
from uno_jobs.storage.gateway import Gateway
from uno_jobs.tasks import task
from uno_jobs.transactions.resources import SessionResource
from uno_jobs.transactions.state import committed_result

pytestmark = pytest.mark.usefixtures("default_queue")


@pytest.mark.parametrize("kind", ["session", "asyncpg", "psycopg"])
@pytest.mark.parametrize("how", ["handle", "tx"])
async def test_writes_enqueues_and_success_are_one_commit(effects: Database, kind: Any, how: str) -> None:
    follower = define_follower()
    seen: list[Any] = []

    @task
    async def works() -> dict[str, int]:
        async with get_current_job().transaction(kind) as tx:
            await write(tx, kind)
            await follower.options(connection=tx if how == "tx" else tx.handle).enqueue()
            tx.set_result({"n": 1})
            # Until the end of the block nobody sees anything, and the job's row is free for everybody.
            seen.append((await count(effects), await followers(effects)))
            seen.append(await effects.connection.fetch("SELECT state FROM uno_jobs.live_jobs FOR UPDATE NOWAIT"))
        seen.append((await count(effects), await followers(effects)))
        seen.append((await effects.job(get_current_job().id))["state"])
        return {"n": 1}

    job = await run_one(effects, works)
    assert seen == [(0, 0), [("running",)], (1, 1), "succeeded"]
    assert (job["state"], json.loads(job["result"]), job["attempt"]) == ("succeeded", {"n": 1}, 1)
    xmins = "SELECT xmin::text FROM {} "
    written = await effects.connection.fetchval(xmins.format("effects"))
    assert written == await effects.connection.fetchval(xmins.format("uno_jobs.outcomes"))
    assert written == await effects.connection.fetchval(xmins.format("uno_jobs.jobs WHERE task = 'follower'"))


@pytest.mark.parametrize("kind", ["session", "psycopg"])
@pytest.mark.parametrize("how", ["handle", "tx"])
async def test_writes_enqueues_and_success_are_one_commit_in_a_synchronous_task(
    effects: Database, kind: Any, how: str
) -> None:
    follower = define_follower()
    sync_queue = SyncQueue(effects.url)

    @task(runs_in="thread")
    def works() -> None:
        with get_current_job().transaction(kind, result=7) as tx:
            write_sync(tx, kind)
            follower.options(connection=tx if how == "tx" else tx.handle, via=sync_queue).enqueue_sync()

    job = await run_one(effects, works)
    assert (job["state"], job["result"], job["attempt"]) == ("succeeded", "7", 1)
    assert (await count(effects), await followers(effects)) == (1, 1)
    xmins = "SELECT xmin::text FROM {} "
    written = await effects.connection.fetchval(xmins.format("effects"))
    assert written == await effects.connection.fetchval(xmins.format("uno_jobs.outcomes"))


@pytest.mark.parametrize("kind", ["session", "asyncpg", "psycopg"])
async def test_an_error_in_the_block_rolls_back_and_is_a_failure_like_others(effects: Database, kind: Any) -> None:
    follower = define_follower()

    @task(max_retries=1, retry_delay=0)
    async def works() -> None:
        job = get_current_job()
        async with job.transaction(kind) as tx:
            await write(tx, kind)
            await follower.options(connection=tx).enqueue()
            if job.attempt == 1:
                raise ValueError("not this time")

    (id_,) = await effects.put(works)
    await until_empty(effects.url)
    failed, succeeded = await effects.attempts(id_)
    assert (failed["outcome"], failed["error_type"]) == ("retried", "ValueError")
    assert succeeded["outcome"] == "succeeded"
    assert (await count(effects), await followers(effects)) == (1, 1)


@pytest.mark.parametrize("kind", ["session", "psycopg"])
async def test_an_error_in_a_synchronous_block_rolls_back(effects: Database, kind: Any) -> None:
    @task(runs_in="thread", max_retries=1, retry_delay=0)
    def works() -> None:
        job = get_current_job()
        with job.transaction(kind) as tx:
            write_sync(tx, kind)
            if job.attempt == 1:
                raise ValueError("not this time")

    (id_,) = await effects.put(works)
    await until_empty(effects.url)
    assert [one["outcome"] for one in await effects.attempts(id_)] == ["retried", "succeeded"]
    assert await count(effects) == 1


async def test_after_an_error_that_the_task_caught_there_may_be_another_block(effects: Database) -> None:
    @task
    async def works() -> None:
        job = get_current_job()
        for place in range(2):
            try:
                async with job.transaction() as tx:
                    await tx.session.execute(text(INSERT))
                    assert place == 1
            except AssertionError:
                pass

    assert (await run_one(effects, works))["state"] == "succeeded"
    assert await count(effects) == 1


@pytest.mark.parametrize("kind", ["session", "asyncpg", "psycopg"])
async def test_when_the_lease_is_over_the_commit_fails_and_no_effect_remains(
    effects: Database, other: Any, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    follower = define_follower()
    raised: list[BaseException] = []

    @task
    async def works() -> None:
        job = get_current_job()
        try:
            # No comparison of what runs here with the database comes between: that would stop the job first.
            async with worker.claimer.gate, job.transaction(kind) as tx:
                await write(tx, kind)
                await follower.options(connection=tx).enqueue()
                if job.attempt == 1:
                    await other.execute("SELECT uno_jobs.rescue($1, 'a test', 3)", worker.identity.id)
        except LeaseLost as error:
            raised.append(error)
            remains = (
                "SELECT EXISTS (SELECT FROM effects) OR EXISTS (SELECT FROM uno_jobs.jobs WHERE task = 'follower')"
            )
            assert not await other.fetchval(remains)
            raise

    (id_,) = await effects.put(works)
    async with running(effects.url) as worker:
        await effects.wait_for(id_, "succeeded")
    assert len(raised) == 1
    assert [one["outcome"] for one in await effects.attempts(id_)] == ["lost", "succeeded"]
    assert (await count(effects), await followers(effects)) == (1, 1)
    said = [record.message for record in caplog.records]
    assert "the lease of a running job is over; its transaction was not committed" in said
    assert not [one for one in said if "too late" in one]  # nothing more was sent for it


@pytest.mark.parametrize("kind", ["session", "psycopg"])
async def test_when_the_lease_is_over_a_synchronous_commit_fails_too(effects: Database, kind: Any) -> None:
    inside, go_on = threading.Event(), threading.Event()
    raised: list[str] = []

    @task(runs_in="thread")
    def works() -> None:
        try:
            with get_current_job().transaction(kind) as tx:
                write_sync(tx, kind)
                inside.set()
                assert go_on.wait(LIMIT)
        except LeaseLost as error:
            raised.append(str(error))
            raise

    (id_,) = await effects.put(works)
    async with running(effects.url) as worker:
        assert await asyncio.to_thread(inside.wait, LIMIT)
        await effects.connection.execute("SELECT uno_jobs.rescue($1, 'a test', 3)", worker.identity.id)
        go_on.set()
        await effects.wait_for(id_, "succeeded")
    assert len(raised) == 1
    assert [one["outcome"] for one in await effects.attempts(id_)] == ["lost", "succeeded"]
    assert await count(effects) == 1


async def test_the_worker_may_go_on_under_a_new_id_meanwhile(effects: Database, other: Any) -> None:
    @task
    async def works() -> None:
        async with get_current_job().transaction() as tx:
            await tx.session.execute(text(INSERT))
            before = worker.identity.id
            await worker.identity.renew(Gateway(other, "uno_jobs"), before)
            assert worker.identity.id != before

    (id_,) = await effects.put(works)
    async with running(effects.url) as worker:
        await effects.wait_for(id_, "succeeded")
    (attempt,) = await effects.attempts(id_)
    assert (attempt["worker_id"], attempt["outcome"]) == (worker.identity.id, "succeeded")
    assert await count(effects) == 1


async def test_a_cancellation_asked_for_meanwhile_does_not_hinder_the_commit(effects: Database, other: Any) -> None:
    @task
    async def works() -> None:
        async with worker.claimer.gate, get_current_job().transaction() as tx:
            await tx.session.execute(text(INSERT))
            await other.execute(
                "INSERT INTO uno_jobs.cancel_requests (job_id, requested_at) VALUES ($1, now())", get_current_job().id
            )

    (id_,) = await effects.put(works)
    async with running(effects.url) as worker:
        job = await effects.wait_for(id_, "succeeded", "failed", "cancelled")
    assert job["state"] == "succeeded"
    assert await count(effects) == 1
    assert await effects.connection.fetchval("SELECT count(*) FROM uno_jobs.cancel_requests") == 0


async def test_a_cancellation_inside_the_block_rolls_back(effects: Database) -> None:
    inside = asyncio.Event()

    @task
    async def works() -> None:
        async with get_current_job().transaction() as tx:
            await tx.session.execute(text(INSERT))
            inside.set()
            await asyncio.Event().wait()

    (id_,) = await effects.put(works)
    async with running(effects.url) as worker:
        await asyncio.wait_for(inside.wait(), LIMIT)
        await effects.connection.execute(
            "INSERT INTO uno_jobs.cancel_requests (job_id, requested_at) VALUES ($1, now())", id_
        )
        worker.reconciler.ask()
        await effects.wait_for(id_, "cancelled")
    assert await count(effects) == 0


async def test_a_commit_that_has_begun_is_not_broken_off(effects: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    committed, go_on = asyncio.Event(), asyncio.Event()
    commit = SessionResource.commit
    after: list[str] = []

    async def slowly(resource: SessionResource) -> None:
        await commit(resource)
        committed.set()
        await go_on.wait()

    monkeypatch.setattr(SessionResource, "commit", slowly)

    @task
    async def works() -> None:
        try:
            async with get_current_job().transaction() as tx:
                await tx.session.execute(text(INSERT))
        finally:
            after.append(str(committed_result(get_current_job())))

    (id_,) = await effects.put(works)
    async with running(effects.url) as worker:
        await asyncio.wait_for(committed.wait(), LIMIT)
        (holding,) = worker.holdings.running
        rounds = worker.reconciler.rounds
        async with asyncio.timeout(LIMIT):
            while worker.reconciler.rounds < rounds + 2:  # the row is gone, and the answer still to come
                worker.reconciler.ask()
                await asyncio.sleep(0.005)
        assert not holding.disowned
        worker.executor.stop_job(holding)
        await asyncio.sleep(0)
        assert after == []
        go_on.set()
    assert after == ["null"]
    (attempt,) = await effects.attempts(id_)
    assert attempt["outcome"] == "succeeded"


async def test_an_error_at_the_commit_itself_is_a_failure_like_others(effects: Database) -> None:
    await effects.connection.execute("ALTER TABLE effects ADD UNIQUE (what) DEFERRABLE INITIALLY DEFERRED")

    @task(max_retries=1, retry_delay=0)
    async def works(kind: Any) -> None:
        async with get_current_job().transaction(kind) as tx:
            await write(tx, kind)
            if get_current_job().attempt == 1:
                await write(tx, kind)

    for kind in ("session", "asyncpg", "psycopg"):
        await effects.connection.execute("TRUNCATE effects")
        (id_,) = await effects.put(works, kind)
        await until_empty(effects.url)
        failed, succeeded = await effects.attempts(id_)
        assert (failed["outcome"], succeeded["outcome"]) == ("retried", "succeeded")
        assert "UniqueViolation" in failed["traceback"]
        assert await count(effects) == 1
