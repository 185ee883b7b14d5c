"""Limits of memory and CPU, held by a worker over a database."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.worker import limits_app as app
from tests.worker.conftest import Database, running, until_empty
from tests.worker.processes import WORKER_PID, supervisor
from uno_jobs.runners.limits import limits
from uno_jobs.tasks import Task, TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = ("tests.worker.limits_app",)
LIMIT = 256_000_000
EXCEEDED = "uno_jobs.errors.MemoryLimitExceeded"


@pytest.fixture(autouse=True)
def tasks_of_the_app(own_registry: None) -> Iterator[None]:
    for value in vars(app).values():
        if isinstance(value, Task) and "config" in vars(value):
            TaskRegistry.current().add(value)
    return


async def result(database: Database, id_: Any) -> Any:
    """Return a job's result."""
    return json.loads((await database.job(id_))["result"])


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (app.at_once, "an allocation was refused"),
        (app.in_steps, "it used too much memory"),
        (app.in_c, ""),  # a large step may be refused before it is seen
        (app.in_a_grandchild, "it used too much memory"),
        (app.on_a_loop, "it used too much memory"),
    ],
    ids=lambda value: value.config.name if isinstance(value, Task) else "",
)
async def test_a_job_over_its_memory_fails_and_nothing_else_does(
    database: Database, tmp_path: Path, task: Any, said: str
) -> None:
    (id_,) = await database.put(task)
    (beside,) = await database.put(app.free_and_waiting, str(tmp_path / "go"))
    async with supervisor(database.url, app=APP, child_processes=2):
        job = await database.wait_for(id_, "failed")
        assert (await database.job(beside))["state"] == "running"
        (tmp_path / "go").touch()
        await database.wait_for(beside, "succeeded")
        assert await result(database, beside) == await database.connection.fetchval(WORKER_PID)
    assert job["error_type"] == EXCEEDED
    assert said in job["error"]
    assert "its max_memory is 256.0 MB; its peak was " in job["error"]
    attempts = await database.attempts(id_)
    assert [attempt["outcome"] for attempt in attempts] == ["retried"] * task.config.max_retries + ["failed"]
    for attempt in attempts:
        assert attempt["error_type"] == EXCEEDED
        assert 1_000_000 < attempt["peak_memory"] < 2 * LIMIT


async def test_each_attempt_in_a_child_has_its_peak(database: Database) -> None:
    (within,) = await database.put(app.within)
    (large,) = await database.put(app.unlimited, 300_000_000)
    (late,) = await database.put(app.too_long)
    (died,) = await database.put(app.grows_and_segfaults)
    (here,) = await database.put(app.free_of_limits)
    await until_empty(database.url, child_processes=2, max_lost=1)
    peaks = {}
    for id_ in (within, large, late, died, here):
        (attempt,) = await database.attempts(id_)
        peaks[id_] = attempt["outcome"], attempt["peak_memory"]
    assert peaks[within][0] == "succeeded"
    assert 150_000_000 < peaks[within][1] < LIMIT
    assert peaks[large][0] == "succeeded"
    assert 300_000_000 < peaks[large][1] < 400_000_000
    assert peaks[late][0] == "failed"
    assert 100_000_000 < peaks[late][1] < 200_000_000
    assert peaks[died][0] == "lost"
    assert 100_000_000 < peaks[died][1] < 200_000_000
    assert peaks[here] == ("succeeded", None)


async def test_a_job_does_not_answer_for_what_others_have_left(database: Database) -> None:
    async with running(database.url, child_processes=1) as worker:
        (before,) = await database.put(app.leaves_much_behind)
        await database.wait_for(before, "succeeded")
        (id_,) = await database.put(app.own_pid)
        await database.wait_for(id_, "succeeded")
        (again,) = await database.put(app.own_pid)
        await database.wait_for(again, "succeeded")
        assert worker.holdings.idle
    assert await result(database, id_) != await result(database, before)
    assert await result(database, again) == await result(database, id_)
    (attempt,) = await database.attempts(id_)
    assert attempt["peak_memory"] < 150_000_000


@pytest.mark.parametrize(("task", "seconds"), [(app.half, 5.0), (app.half_with_threads, 3.0)], ids=["loop", "threads"])
async def test_half_a_core(database: Database, task: Any, seconds: float) -> None:
    (limited,) = await database.put(task, seconds)
    (control,) = await database.put(app.whole, seconds)
    await until_empty(database.url, child_processes=2)
    (share, left), (free, _) = await result(database, limited), await result(database, control)
    assert share <= 0.55
    # On a busy machine: what the control got, and what was left of each second in which it could not run.
    assert share >= 0.8 * min(free, left)


async def test_a_job_whose_time_is_up_is_not_stopped_while_it_cleans_up(database: Database, tmp_path: Path) -> None:
    # At a hundredth of a core its clean-up would take half a minute, three times its grace.
    note = tmp_path / "cleaned"
    (id_,) = await database.put(app.slow_to_end, str(note))
    await until_empty(database.url, child_processes=1)
    assert note.exists()
    assert (await database.job(id_))["error_type"] == "TimeoutError"


async def test_what_cannot_be_held_is_left_ready(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "_unmeasurable", lambda _: "there is nothing to measure with")
    (limited,) = await database.put(app.within)
    (other,) = await database.put(app.free_of_limits)
    async with running(database.url, child_processes=1):
        await database.wait_for(other, "succeeded")
        (later,) = await database.put(app.free_of_limits)
        await database.wait_for(later, "succeeded")
        assert (await database.job(limited))["state"] == "ready"
        known = await database.connection.fetchval("SELECT known FROM uno_jobs.workers WHERE state = 'running'")
        assert "within@1.0" not in known
        assert "free_of_limits@1.0" in known
    assert (
        "jobs of task 'within' (version 1.0) are not run here, since its limits cannot be held: "
        "max_memory: there is nothing to measure with"
    ) in caplog.messages


async def test_what_cannot_be_held_runs_where_that_is_allowed(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "_unmeasurable", lambda _: "there is nothing to measure with")
    (limited,) = await database.put(app.half, 0.0)
    await until_empty(database.url, child_processes=1, allow_unlimited=True)
    assert (await database.job(limited))["state"] == "succeeded"
    assert (
        "task 'half' (version 1.0) runs without its limits, as allowed: cpu_limit: there is nothing to measure with"
    ) in caplog.messages


async def test_limits_need_child_processes(database: Database) -> None:
    (limited,) = await database.put(app.own_pid)
    (other,) = await database.put(app.free_of_limits)
    async with running(database.url, child_processes=0):
        await database.wait_for(other, "succeeded")
        assert (await database.job(limited))["state"] == "ready"
    async with running(database.url, child_processes=0, allow_unlimited=True):
        await database.wait_for(limited, "succeeded")
    assert await result(database, limited) == os.getpid()


async def test_a_limited_job_that_is_cancelled_has_its_peak(database: Database) -> None:
    async with running(database.url, child_processes=1) as worker:
        (id_,) = await database.put(app.half, 1000.0)
        await database.wait_for(id_, "running")
        async with asyncio.timeout(30):
            while not worker.holdings.running:
                await asyncio.sleep(0.01)
        await database.connection.execute("SELECT uno_jobs.cancel($1)", id_)
        await database.wait_for(id_, "cancelled")
    (attempt,) = await database.attempts(id_)
    assert attempt["outcome"] == "cancelled"
    assert attempt["peak_memory"] > 1_000_000
