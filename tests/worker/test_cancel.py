"""What cancelling does to a job that runs, and to one whose request came between two attempts."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from tests.worker.conftest import Database, running
from uno_jobs import CancelResult, Queue
from uno_jobs.context import get_current_job
from uno_jobs.tasks import task

if TYPE_CHECKING:
    import uuid


async def cancel(database: Database, id_: uuid.UUID, reason: str | None = None) -> CancelResult:
    return CancelResult(await database.connection.fetchval("SELECT uno_jobs.cancel($1, $2)", id_, reason))


async def test_a_running_task_is_cancelled_by_notification(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uno_jobs.worker.reconciler.EVERY", 3600.0)
    ends: list[str] = []

    @task
    async def waits(name: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append(f"{name} {get_current_job().cancel_requested}")
            raise

    one, two = (await database.put(waits, "one"))[0], (await database.put(waits, "two"))[0]
    async with running(database.url, grace=0.1) as worker:
        await asyncio.wait_for(worker.listener.listening.wait(), 30)
        for id_ in (one, two):
            await database.wait_for(id_, "running")
        assert await cancel(database, one, "the customer left") is CancelResult.REQUESTED
        job = await database.wait_for(one, "cancelled")
        assert (job["error"], job["error_type"], job["failures"]) == ("the customer left", None, 0)
        assert ends == ["one True"]
        assert await cancel(database, two) is CancelResult.REQUESTED
        assert (await database.wait_for(two, "cancelled"))["error"] == "cancelled on request"
    assert [row["outcome"] for row in await database.attempts(one)] == ["cancelled"]
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.cancel_requests") == 0


async def test_nothing_happens_before_the_callers_transaction_commits(database: Database) -> None:
    reached = asyncio.Event()

    @task
    async def waits() -> None:
        reached.set()
        await asyncio.Event().wait()

    (id_,) = await database.put(waits)
    async with running(database.url) as worker, Queue(database.url) as queue:
        await asyncio.wait_for(reached.wait(), 30)
        for commits in (False, True):
            transaction = database.connection.transaction()
            await transaction.start()
            assert await queue.cancel(id_, connection=database.connection) is CancelResult.REQUESTED
            rounds = worker.reconciler.rounds
            worker.reconciler.ask()
            async with asyncio.timeout(30):
                while worker.reconciler.rounds == rounds:
                    await asyncio.sleep(0.005)
            assert not next(iter(worker.holdings.running)).job.cancel_requested
            await (transaction.commit() if commits else transaction.rollback())
        await database.wait_for(id_, "cancelled")


async def test_without_notifications_it_is_found_by_looking(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uno_jobs.worker.reconciler.EVERY", 0.05)

    @task
    async def waits() -> None:
        await asyncio.Event().wait()

    (id_,) = await database.put(waits)
    async with running(database.url):
        await database.wait_for(id_, "running")
        await database.connection.execute("SELECT uno_jobs.cancel($1, notify => false)", id_)
        await database.wait_for(id_, "cancelled")


async def test_a_thread_is_told_and_may_stop(database: Database) -> None:
    started = threading.Event()

    @task(runs_in="thread")
    def works() -> str:
        started.set()
        while not get_current_job().is_cancelled():
            threading.Event().wait(0.005)
        raise InterruptedError("stopped half way")

    (id_,) = await database.put(works)
    async with running(database.url):
        assert await asyncio.to_thread(started.wait, 30)
        await cancel(database, id_, "enough")
        job = await database.wait_for(id_, "cancelled")
    assert job["error"] == "enough"
    (attempt,) = await database.attempts(id_)
    assert (attempt["outcome"], attempt["error_type"]) == ("failed", "InterruptedError")


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_success_that_comes_all_the_same_stands(database: Database, kind: str) -> None:
    started = threading.Event()

    @task
    async def swallows() -> str:
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "done"

    @task(runs_in="thread")
    def finishes() -> str:
        started.set()
        while not get_current_job().is_cancelled():
            threading.Event().wait(0.005)
        return "done"

    (id_,) = await database.put(swallows if kind == "async" else finishes)
    async with running(database.url):
        assert await asyncio.to_thread(started.wait, 30)
        await cancel(database, id_)
        job = await database.wait_for(id_, "succeeded", "cancelled")
    assert (job["state"], job["result"]) == ("succeeded", '"done"')
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.cancel_requests") == 0


async def test_a_task_that_fails_while_it_is_cancelled_is_not_retried(database: Database) -> None:
    reached = asyncio.Event()

    @task(max_retries=5, retry_delay=0)
    async def fails() -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("cannot clean up")

    (id_,) = await database.put(fails)
    async with running(database.url):
        await asyncio.wait_for(reached.wait(), 30)
        await cancel(database, id_, "enough")
        job = await database.wait_for(id_, "cancelled", "failed", "succeeded")
    assert (job["state"], job["attempt"], job["failures"], job["error"]) == ("cancelled", 1, 1, "enough")
    (attempt,) = await database.attempts(id_)
    assert (attempt["outcome"], attempt["error"]) == ("failed", "cannot clean up")


async def test_a_request_that_came_between_two_attempts_does_not_wait_for_the_next(database: Database) -> None:
    """As when it is committed just after an outcome was recorded; the chores of any worker see to it."""

    @task(retry_delay=86400)
    async def fails() -> None:
        raise ConnectionError("no")

    (id_,) = await database.put(fails)
    async with running(database.url):
        await database.wait_for(id_, "scheduled")
        await database.connection.execute(
            "INSERT INTO uno_jobs.cancel_requests VALUES ($1, now(), 'too late for the first')", id_
        )
        job = await database.wait_for(id_, "cancelled")
    assert (job["error"], job["attempt"], job["failures"]) == ("too late for the first", 1, 1)
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.cancel_requests") == 0


async def test_a_retry_by_hand_has_all_its_retries(database: Database) -> None:
    seen: list[int] = []

    @task(max_retries=1, retry_delay=0)
    async def fails() -> None:
        seen.append(get_current_job().attempt)
        raise ConnectionError("no")

    (id_,) = await database.put(fails)
    async with running(database.url, poll_interval=600.0), Queue(database.url) as queue:
        await database.wait_for(id_, "failed")
        await queue.retry(id_)
        await database.wait_until("SELECT attempt = 4 FROM uno_jobs.outcomes")
    assert seen == [1, 2, 3, 4]
    assert [row["outcome"] for row in await database.attempts(id_)] == ["retried", "failed"] * 2
