"""``job.transaction()``: a task's writes, its enqueues and its success, all or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import text

from tests.worker.conftest import LIMIT, Database, running, until_empty
from uno_jobs import Task, TaskMiddleware, get_current_job
from uno_jobs.errors import (
    InvalidOption,
    JobAlreadyFinished,
    LeaseLost,
    TransactionAlreadyOpen,
    TransactionEnded,
    TransactionNotAvailable,
    WrongColour,
)
from uno_jobs.queue import Queue, SyncQueue
from uno_jobs.queue.default import configure
from uno_jobs.storage.gateway import Gateway
from uno_jobs.tasks import task
from uno_jobs.testing import run_until_idle, test_task
from uno_jobs.transactions.resources import SessionResource
from uno_jobs.transactions.source import MAX_CONNECTIONS
from uno_jobs.transactions.state import committed_result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INSERT = "INSERT INTO effects VALUES ('done')"


@pytest.fixture
async def effects(database: Database) -> Database:
    await database.connection.execute("CREATE TABLE effects (what text NOT NULL)")
    return database


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Any]:
    """A connection for what happens elsewhere while a task is inside its block."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
async def queue(database_url: str) -> AsyncIterator[None]:
    async with Queue(database_url) as queue:
        configure(queue)
        yield
        configure(None)


async def count(database: Database) -> int:
    return await database.connection.fetchval("SELECT count(*) FROM effects")


async def followers(database: Database) -> int:
    return await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs WHERE task = 'follower'")


async def write(tx: Any, kind: str) -> None:
    if kind == "session":
        await tx.session.execute(text(INSERT))
    else:
        await tx.connection.execute(INSERT)


def write_sync(tx: Any, kind: str) -> None:
    if kind == "session":
        tx.session.execute(text(INSERT))
    else:
        tx.connection.execute(INSERT)


def define_follower() -> Any:
    @task(queue="elsewhere")
    async def follower() -> None: ...

    return follower


async def run_one(database: Database, one: Any, *args: Any) -> asyncpg.Record:
    """Run one job to its first end, by a worker that serves the default queue; returns its status."""
    (id_,) = await database.put(one, *args)
    await until_empty(database.url)
    return await database.job(id_)


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
            async with job.transaction(kind) as tx:
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


async def test_what_comes_after_the_block_goes_on_and_changes_nothing(
    effects: Database, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    class Looks(TaskMiddleware):
        async def after_task(self, task_func: Any, args: Any, kwargs: Any, result: Any, job: Any) -> Any:
            seen.append(("after_task", result))
            return "changed"

    class Reports(Task[..., Any, Any]):
        async def report_result(self, result: Any) -> Any:
            seen.append(("report_result", result))
            return "changed as well"

    @task(base=Reports, middleware=[Looks()])
    async def works() -> Any:
        async with get_current_job().transaction() as tx:
            await tx.session.execute(text(INSERT))
            tx.set_result("committed")
        # The worker finds the row gone, and leaves the task alone.
        rounds = worker.reconciler.rounds
        while worker.reconciler.rounds < rounds + 2:
            worker.reconciler.ask()
            await asyncio.sleep(0)
        seen.append(get_current_job().cancel_requested)
        return "returned"

    @works.on_success
    async def hears(job: Any, result: Any) -> None:
        seen.append(("on_success", result))

    (id_,) = await effects.put(works)
    async with running(effects.url) as worker:
        async with asyncio.timeout(LIMIT):
            while len(seen) < 4:
                await asyncio.sleep(0.005)
    assert seen == [False, ("after_task", "committed"), ("report_result", "committed"), ("on_success", "committed")]
    assert (await effects.job(id_))["result"] == '"committed"'
    (attempt,) = await effects.attempts(id_)
    assert (attempt["outcome"], attempt["error_after_commit"]) == ("succeeded", None)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert said.count("returned something else") == 1
    assert "the lease of a running job is over" not in said


@pytest.mark.parametrize("bare", [True, False])
async def test_a_result_that_is_returned_as_it_was_committed_is_not_warned_of(
    effects: Database, caplog: pytest.LogCaptureFixture, bare: bool
) -> None:
    @task(timeout=None if bare else 60)
    async def works(value: Any) -> Any:
        async with get_current_job().transaction(result={"b": 1, "a": 2}):
            pass
        return value

    assert (await run_one(effects, works, {"a": 2, "b": 1}))["state"] == "succeeded"
    assert (await run_one(effects, works, None))["state"] == "succeeded"
    assert not [record for record in caplog.records if "something else" in record.getMessage()]
    assert json.loads((await run_one(effects, works, {"a": 1}))["result"]) == {"a": 2, "b": 1}
    assert len([record for record in caplog.records if "something else" in record.getMessage()]) == 1


@pytest.mark.parametrize("bare", [True, False])
async def test_an_error_after_the_block_is_recorded_and_changes_nothing(effects: Database, bare: bool) -> None:
    heard: list[Any] = []

    @task(max_retries=3, retry_delay=0, timeout=None if bare else 60)
    async def works() -> None:
        async with get_current_job().transaction(result=1) as tx:
            await tx.session.execute(text(INSERT))
        raise ValueError("too late\x00")

    @works.on_success
    async def succeeds(job: Any, result: Any) -> None:
        heard.append(result)

    @works.on_failure
    async def fails(job: Any, error: Any) -> None:
        heard.append(error)

    job = await run_one(effects, works)
    assert (job["state"], job["result"], job["failures"]) == ("succeeded", "1", 0)
    (attempt,) = await effects.attempts(job["id"])
    assert (attempt["outcome"], attempt["error"]) == ("succeeded", None)
    assert attempt["error_after_commit"] == "ValueError: too late\\x00"
    assert heard == [1]
    assert await count(effects) == 1


async def test_a_time_out_after_the_block_changes_nothing(effects: Database) -> None:
    @task(timeout=0.3, retry_delay=0)
    async def works() -> None:
        async with get_current_job().transaction() as tx:
            await tx.session.execute(text(INSERT))
        await asyncio.Event().wait()

    job = await run_one(effects, works)
    assert (job["state"], job["attempt"]) == ("succeeded", 1)
    (attempt,) = await effects.attempts(job["id"])
    assert attempt["error_after_commit"].startswith("TimeoutError: it took longer")


async def test_a_shutdown_after_the_block_changes_nothing(effects: Database) -> None:
    @task
    async def works() -> None:
        async with get_current_job().transaction() as tx:
            await tx.session.execute(text(INSERT))
        await asyncio.Event().wait()

    (id_,) = await effects.put(works)
    async with running(effects.url, grace=1.0) as worker:
        await effects.wait_for(id_, "succeeded")
        worker.drain()
    (attempt,) = await effects.attempts(id_)
    assert attempt["outcome"] == "succeeded"
    assert attempt["error_after_commit"] == "asyncio.CancelledError: its worker was shut down"


async def test_a_second_block_is_refused(effects: Database) -> None:
    @task
    async def works() -> None:
        job = get_current_job()
        async with job.transaction():
            with pytest.raises(TransactionAlreadyOpen):
                async with job.transaction():
                    pass
        with pytest.raises(JobAlreadyFinished):
            async with job.transaction():
                pass

    job = await run_one(effects, works)
    (attempt,) = await effects.attempts(job["id"])
    assert (job["state"], attempt["error_after_commit"]) == ("succeeded", None)


async def test_a_cancellation_asked_for_meanwhile_does_not_hinder_the_commit(effects: Database) -> None:
    @task
    async def works() -> None:
        async with get_current_job().transaction() as tx:
            await tx.session.execute(text(INSERT))
            await effects.connection.execute(
                "INSERT INTO uno_jobs.cancel_requests (job_id, requested_at) VALUES ($1, now())", get_current_job().id
            )

    assert (await run_one(effects, works))["state"] == "succeeded"
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
        (holding,) = worker.holdings.running.values()
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


async def test_the_sessions_own_commit_waits_for_the_blocks_end(effects: Database) -> None:
    @task(max_retries=1, retry_delay=0)
    async def works() -> None:
        job = get_current_job()
        async with job.transaction() as tx:
            async with tx.session.begin():
                await tx.session.execute(text(INSERT))
            await tx.session.execute(text(INSERT))
            await tx.session.commit()
            assert await count(effects) == 0
            if job.attempt == 1:
                raise ValueError("after all")

    assert (await run_one(effects, works))["attempt"] == 2
    assert await count(effects) == 2


@pytest.mark.parametrize("kind", ["session", "asyncpg", "psycopg"])
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"])
async def test_a_transaction_that_was_ended_inside_is_found_out(effects: Database, kind: Any, end: str) -> None:
    @task(max_retries=0)
    async def works() -> None:
        async with get_current_job().transaction(kind) as tx:
            if kind == "session":
                raw = await (await tx.session.connection()).get_raw_connection()
                await raw.driver_connection.execute(end)
            else:
                await tx.connection.execute(end)

    job = await run_one(effects, works)
    assert (job["state"], job["error_type"]) == ("failed", f"{TransactionEnded.__module__}.TransactionEnded")


async def test_savepoints_are_the_tasks_own(effects: Database) -> None:
    @task
    async def works(kind: Any) -> None:
        async with get_current_job().transaction(kind) as tx:
            for place in range(2):
                with contextlib.suppress(ZeroDivisionError):
                    async with tx.session.begin_nested() if kind == "session" else tx.connection.transaction():
                        await write(tx, kind)
                        _ = 1 // place

    for kind in ("session", "asyncpg", "psycopg"):
        assert (await run_one(effects, works, kind))["state"] == "succeeded"
    assert await count(effects) == 3


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


async def test_the_roles_defaults_matter_where_they_are_the_tasks_and_not_where_they_break_the_promise(
    effects: Database,
) -> None:
    name = await effects.connection.fetchval("SELECT current_database()")
    for setting in (
        "default_transaction_isolation = 'repeatable read'",
        "default_transaction_read_only = on",
        "search_path = app, public",
    ):
        await effects.connection.execute(f'ALTER DATABASE "{name}" SET {setting}')
    seen: list[Any] = []
    go_on = asyncio.Event()

    @task
    async def works(kind: Any) -> None:
        async with get_current_job().transaction(kind) as tx:
            if kind == "session":
                await tx.session.execute(text("SELECT count(*) FROM effects"))
            else:
                await tx.connection.execute("SELECT count(*) FROM effects")
            # By now a repeatable read would have its snapshot, and the row that the commit locks changes after it.
            await effects.connection.execute(
                "UPDATE uno_jobs.live_jobs SET failures = failures WHERE id = $1", get_current_job().id
            )
            await write(tx, kind)
            for setting in ("transaction_isolation", "search_path"):
                query = f"SELECT current_setting('{setting}')"
                match kind:
                    case "session":
                        seen.append(await tx.session.scalar(text(query)))
                    case "asyncpg":
                        seen.append(await tx.connection.fetchval(query))
                    case _:
                        seen.extend(await (await tx.connection.execute(query)).fetchone())
        go_on.set()

    for kind in ("session", "asyncpg", "psycopg"):
        assert (await run_one(effects, works, kind))["state"] == "succeeded"
    assert seen == ["read committed", "app, public"] * 3
    assert await count(effects) == 3


async def test_a_result_that_cannot_be_stored_fails_at_once(effects: Database) -> None:
    @task(max_retries=3)
    async def works() -> None:
        async with get_current_job().transaction() as tx:
            await tx.session.execute(text(INSERT))
            tx.set_result(float("nan"))

    job = await run_one(effects, works)
    assert (job["state"], job["error_type"]) == ("failed", "uno_jobs.errors.ResultNotStorable")
    assert await count(effects) == 0


async def test_results_are_written_by_the_tasks_annotation(effects: Database) -> None:
    seen: list[Any] = []

    @task
    async def works() -> datetime:
        async with get_current_job().transaction(result=datetime(2020, 2, 29, tzinfo=UTC)):
            pass
        return datetime(2020, 2, 29, tzinfo=UTC)

    @works.on_success
    def hears(job: Any, result: Any) -> None:
        seen.append(result)

    job = await run_one(effects, works)
    assert job["result"] == '"2020-02-29T00:00:00Z"'
    assert seen == [datetime(2020, 2, 29, tzinfo=UTC)]


async def test_the_wrong_colour_or_kind_is_refused_by_name(effects: Database) -> None:
    @task
    async def asynchronous() -> None:
        job = get_current_job()
        with pytest.raises(WrongColour, match="async with job"), job.transaction():
            pass
        with pytest.raises(InvalidOption, match="session, asyncpg, psycopg"):
            job.transaction("sqlite")  # type: ignore[arg-type]
        async with job.transaction("asyncpg") as tx:
            with pytest.raises(InvalidOption, match="leave kind out"):
                _ = tx.session

    @task(runs_in="thread")
    def synchronous() -> None:
        job = get_current_job()

        async def wrongly() -> None:
            async with job.transaction():
                pass

        with pytest.raises(WrongColour, match="'with job"):
            asyncio.run(wrongly())
        with pytest.raises(InvalidOption, match="asynchronous tasks"), job.transaction("asyncpg"):
            pass
        with job.transaction() as tx, pytest.raises(InvalidOption, match="kind="):
            _ = tx.connection

    for one in (asynchronous, synchronous):
        job = await run_one(effects, one)
        (attempt,) = await effects.attempts(job["id"])
        assert (job["state"], job["error"], attempt["error_after_commit"]) == ("succeeded", None, None)


async def test_without_psycopg_the_error_names_what_to_install(
    effects: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    @task(runs_in="thread", max_retries=0)
    def works() -> None:
        with get_current_job().transaction():
            pass

    job = await run_one(effects, works)
    assert job["error_type"] == "uno_jobs.errors.TransactionNotAvailable"
    assert "pip install 'uno-jobs[psycopg]'" in job["error"]


@pytest.mark.parametrize("kind", ["session", "asyncpg", "psycopg"])
async def test_more_jobs_than_connections_wait_their_turn(effects: Database, kind: Any) -> None:
    @task
    async def works() -> None:
        async with get_current_job().transaction(kind) as tx:
            await write(tx, kind)

    await effects.put(works, times=5 * MAX_CONNECTIONS)
    await until_empty(effects.url)
    assert await count(effects) == 5 * MAX_CONNECTIONS
    await effects.wait_until(
        "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'uno-jobs transaction'"
        " AND datname = current_database())"
    )


async def test_a_job_that_gives_up_its_place_leaves_no_connection(effects: Database) -> None:
    @task(timeout=0.2, max_retries=0)
    async def works(kind: Any) -> None:
        async with get_current_job().transaction(kind) as tx:
            await write(tx, kind)
            await asyncio.Event().wait()

    for kind in ("session", "asyncpg", "psycopg"):
        await effects.put(works, kind, times=2 * MAX_CONNECTIONS)
    await until_empty(effects.url)
    assert await effects.connection.fetchval("SELECT count(*) FROM uno_jobs.outcomes WHERE state = 'failed'") == 60
    await effects.wait_until(
        "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'uno-jobs transaction'"
        " AND datname = current_database())"
    )
    assert await count(effects) == 0


async def test_test_task_says_how_to_test_such_a_task() -> None:
    @task
    async def works() -> None:
        async with get_current_job().transaction():
            pass

    with pytest.raises(TransactionNotAvailable, match="run_until_idle"):
        await test_task(works)


async def test_run_until_idle_runs_such_a_task(effects: Database) -> None:
    @task
    async def works() -> None:
        async with get_current_job().transaction() as tx:
            await tx.session.execute(text(INSERT))

    await works.enqueue()
    assert await run_until_idle() == {"succeeded": 1}
    assert await count(effects) == 1
