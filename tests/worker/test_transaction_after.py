"""``job.transaction()``: its result, and what a task does after the block, which changes nothing any more."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from tests.worker.conftest import LIMIT, Database, running
from tests.worker.transactions import INSERT, count, run_one
from uno_jobs import Task, TaskMiddleware, get_current_job
from uno_jobs.errors import JobAlreadyFinished, TransactionAlreadyOpen
from uno_jobs.tasks import task

pytestmark = pytest.mark.usefixtures("default_queue")


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
    *too_slow, attempt = await effects.attempts(job["id"])
    assert (job["state"], job["attempt"], attempt["outcome"]) == ("succeeded", len(too_slow) + 1, "succeeded")
    assert attempt["error_after_commit"].startswith("TimeoutError: it took longer")
    # On a busy machine the time may be up before the commit.
    assert {one["outcome"] for one in too_slow} <= {"retried"}
    assert await count(effects) == 1


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
