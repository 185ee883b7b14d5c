"""Jobs are run, and how they ended is recorded."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.worker.conftest import Database, running, until_empty
from uno_jobs.context import get_current_job
from uno_jobs.errors import Cancel, Fail, Retry, Snooze
from uno_jobs.storage.gateway import Gateway
from uno_jobs.tasks import task
from uno_jobs.worker import claimer


async def test_a_result_is_stored_and_the_attempt_with_it(database: Database) -> None:
    @task
    async def double(number: int) -> int:
        return number * 2

    (id_,) = await database.put(double, 21)
    await until_empty(database.url)
    job = await database.job(id_)
    assert (job["state"], job["result"], job["attempt"], job["failures"]) == ("succeeded", "42", 1, 0)
    (attempt,) = await database.attempts(id_)
    assert (attempt["outcome"], attempt["attempt"]) == ("succeeded", 1)
    assert job["created_at"] <= attempt["started_at"] <= attempt["finished_at"]


async def test_a_synchronous_task_runs_on_a_thread_of_its_own(database: Database) -> None:
    @task(runs_in="thread")
    def where() -> str:
        assert get_current_job().task == "where"
        return threading.current_thread().name

    (id_,) = await database.put(where)
    await until_empty(database.url)
    assert "uno-jobs-task" in (await database.job(id_))["result"]


async def test_a_failure_keeps_its_traceback(database: Database) -> None:
    @task(max_retries=0)
    async def breaks() -> None:
        raise LookupError("no such\x00thing")

    (id_,) = await database.put(breaks)
    await until_empty(database.url)
    job = await database.job(id_)
    assert (job["state"], job["error_type"], job["error"]) == ("failed", "LookupError", "no such\\x00thing")
    (attempt,) = await database.attempts(id_)
    assert "raise LookupError" in attempt["traceback"]
    failed = await database.connection.fetchrow("SELECT * FROM uno_jobs.failed_jobs")
    assert failed is not None
    assert failed["traceback"] == attempt["traceback"]


async def test_a_retry_comes_after_its_delay_and_counts_as_a_failure(database: Database) -> None:
    seen: list[int] = []

    @task(max_retries=2, retry_delay=0.05)
    async def shaky() -> str:
        seen.append(get_current_job().attempt)
        if len(seen) < 3:
            raise ConnectionError("try again")
        return "at last"

    (id_,) = await database.put(shaky)
    async with running(database.url):
        job = await database.wait_for(id_, "succeeded", "failed")
    assert seen == [1, 2, 3]
    assert (job["state"], job["attempt"], job["failures"]) == ("succeeded", 3, 2)
    first, second, third = await database.attempts(id_)
    assert [one["outcome"] for one in (first, second, third)] == ["retried", "retried", "succeeded"]
    assert (second["started_at"] - first["finished_at"]).total_seconds() >= 0.05


async def test_a_retry_shows_when_it_is_due(database: Database) -> None:
    @task(retry_delay=3600)
    async def breaks() -> None:
        raise ValueError("later")

    (id_,) = await database.put(breaks)
    await until_empty(database.url)
    job = await database.job(id_)
    assert job["state"] == "scheduled"
    (attempt,) = await database.attempts(id_)
    assert (job["next_attempt_at"] - attempt["finished_at"]).total_seconds() == 3600


@pytest.mark.parametrize(
    ("error", "state", "outcome", "failures"),
    [
        (Fail("no use"), "failed", "failed", 1),
        (Cancel("not wanted"), "cancelled", "cancelled", 0),
        (Snooze(3600), "scheduled", "snoozed", 0),
        (Retry(delay=3600), "scheduled", "retried", 1),
    ],
)
async def test_a_task_steers_its_job(
    database: Database, error: Exception, state: str, outcome: str, failures: int
) -> None:
    @task
    async def steers() -> None:
        raise error

    (id_,) = await database.put(steers)
    await until_empty(database.url)
    job = await database.job(id_)
    assert (job["state"], job["failures"]) == (state, failures)
    assert [one["outcome"] for one in await database.attempts(id_)] == [outcome]


@pytest.mark.parametrize(
    "result", ["a\x00b", float("nan"), "\ud800", object()], ids=["nul", "nan", "surrogate", "object"]
)
async def test_a_result_that_cannot_be_stored_fails_its_own_job_only(database: Database, result: object) -> None:
    @task(name="odd")
    async def odd():
        return result

    @task
    async def good() -> str:
        return "fine"

    bad = await database.put(odd)
    fine = await database.put(good, times=20)
    await until_empty(database.url)
    job = await database.job(bad[0])
    assert (job["state"], job["attempt"]) == ("failed", 1)
    assert "ResultNotStorable" in job["error_type"]
    assert {(await database.job(id_))["state"] for id_ in fine} == {"succeeded"}


async def test_a_job_of_a_version_unknown_here_stays_untouched(database: Database) -> None:
    @task(name="moving", version="1.0")
    async def moving() -> None: ...

    (known,) = await database.put(moving)
    await database.connection.execute("SELECT uno_jobs.enqueue_plain($1, '{moving}', '{2.0}', '{default}', '{5}', "
        "'{[]}', '{\"{}\"}', NULL, NULL, NULL, NULL, true)", [(other := __import__("uuid").uuid4())])  # fmt: skip
    await until_empty(database.url)
    assert (await database.job(known))["state"] == "succeeded"
    job = await database.job(other)
    assert (job["state"], job["attempt"]) == ("ready", 0)


async def test_no_more_run_at_once_than_there_are_slots(database: Database) -> None:
    at_once: list[int] = []
    now = 0

    @task
    async def counted() -> None:
        nonlocal now
        now += 1
        at_once.append(now)
        await asyncio.sleep(0)
        now -= 1

    await database.put(counted, times=200)
    await until_empty(database.url, concurrency=7)
    assert len(at_once) == 200
    assert max(at_once) <= 7


async def test_claims_in_a_row_keep_to_the_slots(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next claim is sent before the jobs of the last one are started: it must leave them their slots."""
    monkeypatch.setattr(claimer, "BATCH", 30)
    release = asyncio.Event()

    @task
    async def waits() -> None:
        await release.wait()

    await database.put(waits, times=250)
    counted = "SELECT count(*) FROM uno_jobs.live_jobs WHERE state = 'running'"
    async with running(database.url, concurrency=100) as worker:
        await database.wait_until(f"SELECT ({counted}) >= 100")
        async with worker.claimer.gate:  # no claim is on its way
            assert await database.connection.fetchval(counted) == len(worker.holdings.running) == 100
        release.set()
        await database.wait_until("SELECT count(*) = 250 FROM uno_jobs.outcomes")


async def test_others_get_their_turn_between_claims_in_a_row(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held can be compared with the database although each claim comes back full."""
    monkeypatch.setattr(claimer, "BATCH", 1)

    @task
    async def nothing() -> None: ...

    await database.put(nothing, times=4_000)
    async with running(database.url, concurrency=100) as worker:
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.outcomes)")
        rounds = worker.reconciler.rounds
        worker.reconciler.ask()
        async with asyncio.timeout(30):
            while worker.reconciler.rounds == rounds:
                await asyncio.sleep(0)
        assert await database.connection.fetchval("SELECT count(*) > 0 FROM uno_jobs.live_jobs WHERE state = 'ready'")


async def test_a_queue_keeps_to_its_own_limit_and_leaves_the_rest_to_others(database: Database) -> None:
    release = asyncio.Event()
    started: list[str] = []

    @task
    async def waits() -> None:
        started.append(get_current_job().queue)
        if get_current_job().queue == "uploads":
            await release.wait()

    await database.put(waits, times=10, queue="uploads")
    other = await database.put(waits, times=10)
    async with running(database.url, queues=(("uploads", 2), ("default", None)), concurrency=5):
        for id_ in other:
            await database.wait_for(id_, "succeeded")
        assert started.count("uploads") == 2
        release.set()
        await database.wait_until("SELECT count(*) = 20 FROM uno_jobs.outcomes")


async def test_priority_first_then_the_order_of_arrival(database: Database) -> None:
    seen: list[str] = []

    @task
    async def noted(name: str) -> None:
        seen.append(name)

    for name, priority in [("n1", 5), ("l1", 7), ("c1", 1), ("n2", 5), ("c2", 1)]:
        await database.put(noted, name, priority=priority)
    await until_empty(database.url, concurrency=1)
    assert seen == ["c1", "c2", "n1", "n2", "l1"]


async def test_a_busy_queue_does_not_starve_the_one_behind_it(database: Database) -> None:
    seen: list[str] = []

    @task
    async def noted() -> None:
        seen.append(get_current_job().queue)

    await database.put(noted, times=300, queue="busy")
    await database.put(noted, times=1, queue="quiet")
    await until_empty(database.url, queues=(("busy", None), ("quiet", None)), concurrency=10)
    assert seen.index("quiet") < 20


async def test_hooks_run_once_the_outcome_is_durable(database: Database) -> None:
    said: list[tuple[str, str]] = []
    heard = asyncio.Event()

    @task(max_retries=1, retry_delay=0)
    async def fails() -> None:
        raise ValueError("no")

    async def state() -> str:
        import asyncpg

        connection = await asyncpg.connect(database.url)
        try:
            return await connection.fetchval(
                "SELECT state FROM uno_jobs.job_status WHERE id = $1", get_current_job().id
            )
        finally:
            await connection.close()

    @fails.on_retry
    async def on_retry(job, error, count) -> None:
        said.append((f"retry {count}", str(error)))

    @fails.on_failure
    async def on_failure(job, error) -> None:
        said.append((await state(), str(error)))
        heard.set()

    await database.put(fails)
    async with running(database.url):
        async with asyncio.timeout(20):
            await heard.wait()
    assert said == [("retry 1", "no"), ("failed", "no")]


async def test_progress_is_seen_while_the_job_runs(database: Database) -> None:
    go_on = asyncio.Event()

    @task
    async def long() -> None:
        await get_current_job().set_progress(0.4, "resized")
        await go_on.wait()

    (id_,) = await database.put(long)
    async with running(database.url):
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.progress)")
        job = await database.job(id_)
        assert (round(job["progress"], 2), job["progress_message"], job["state"]) == (0.4, "resized", "running")
        go_on.set()
        job = await database.wait_for(id_, "succeeded")
    assert job["progress"] is None


async def test_a_sleeping_worker_is_woken_by_an_enqueue(database: Database) -> None:
    @task
    async def noop() -> None: ...

    async with running(database.url, poll_interval=600.0) as worker:
        await asyncio.wait_for(worker.listener.listening.wait(), 20)
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.hungry)")
        (id_,) = await database.put(noop)
        await database.wait_for(id_, "succeeded")


async def test_scheduled_jobs_become_ready_when_they_are_due(database: Database) -> None:
    @task
    async def noop() -> None: ...

    (soon,) = await database.put(noop, delay=0.3)
    (late,) = await database.put(noop, delay=3600)
    async with running(database.url):
        job = await database.wait_for(soon, "succeeded")
    assert job["started_at"] >= job["scheduled_at"]
    assert (await database.job(late))["state"] == "scheduled"


async def test_what_dead_processes_left_in_side_tables_is_swept(database: Database) -> None:
    await database.connection.execute("""
        INSERT INTO uno_jobs.result_waiters VALUES
            (gen_random_uuid(), gen_random_uuid(), now() - interval '2 minutes'),
            (gen_random_uuid(), gen_random_uuid(), now() + interval '1 minute');
        INSERT INTO uno_jobs.hungry VALUES ('old', gen_random_uuid(), now() - interval '2 minutes')
    """)
    async with running(database.url):
        await database.wait_until("SELECT count(*) = 1 FROM uno_jobs.result_waiters")
        await database.wait_until("SELECT count(*) = 0 FROM uno_jobs.hungry WHERE queue = 'old'")
    await database.connection.execute("DELETE FROM uno_jobs.result_waiters")


async def test_between_batches_of_due_jobs_the_other_workers_are_watched(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task
    async def noop() -> None: ...

    calls: list[str] = []

    def noted(name: str) -> Any:
        method = getattr(Gateway, name)

        async def call(gateway: Gateway, *args: Any) -> Any:
            calls.append(name)
            return await method(gateway, *args)

        return call

    monkeypatch.setattr("uno_jobs.worker.chores.BATCH", 2)
    for name in ("observe", "promote"):
        monkeypatch.setattr(Gateway, name, noted(name))
    await database.put(noop, times=10, delay=0.001)
    async with running(database.url):
        await database.wait_until("SELECT count(*) = 10 FROM uno_jobs.outcomes")
    assert calls[:10] == ["observe", "promote"] * 5
