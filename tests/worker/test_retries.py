"""Retries through a real worker: when each is due, what each try left behind, and what is not retried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.worker.conftest import Database, running, until_empty
from uno_jobs.context import get_current_job
from uno_jobs.errors import Cancel, Fail, Retry, Snooze
from uno_jobs.tasks import task

if TYPE_CHECKING:
    from uuid import UUID


async def schedule(database: Database, id_: UUID) -> list[float]:
    """Run a job to its end, each retry as soon as its time is known; return the seconds that each was to wait."""
    waits: list[float] = []
    async with running(database.url):
        while (job := await database.wait_for(id_, "scheduled", "succeeded", "failed", "cancelled"))[
            "state"
        ] == "scheduled":
            last = (await database.attempts(id_))[-1]
            waits.append((job["next_attempt_at"] - last["finished_at"]).total_seconds())
            await database.connection.execute("SELECT uno_jobs.retry($1)", id_)
    assert job["next_attempt_at"] is None
    return waits


async def test_the_schedule_of_a_backoff_with_its_cap(database: Database) -> None:
    @task(max_retries=4, retry_delay=100, retry_backoff=True, retry_backoff_factor=3, retry_max_delay=500)
    async def fails() -> None:
        raise ConnectionError(f"try {get_current_job().attempt}")

    (id_,) = await database.put(fails)
    assert await schedule(database, id_) == [100, 300, 500, 500]
    job = await database.job(id_)
    assert (job["state"], job["attempt"], job["failures"], job["error"]) == ("failed", 5, 5, "try 5")
    attempts = await database.attempts(id_)
    assert [(one["attempt"], one["outcome"], one["error_type"], one["error"]) for one in attempts] == [
        (number, "retried" if number < 5 else "failed", "ConnectionError", f"try {number}") for number in range(1, 6)
    ]
    for number, one in enumerate(attempts, 1):
        assert 'raise ConnectionError(f"try {get_current_job().attempt}")' in one["traceback"]
        assert one["traceback"].rstrip().endswith(f"ConnectionError: try {number}")


async def test_without_backoff_each_waits_alike(database: Database) -> None:
    @task(max_retries=3, retry_delay=70, retry_backoff_factor=5)
    async def fails() -> None:
        raise ConnectionError

    (id_,) = await database.put(fails)
    assert await schedule(database, id_) == [70, 70, 70]


async def test_jitter_spreads_what_failed_together(database: Database) -> None:
    @task(retry_delay=1000, retry_jitter=True)
    async def fails() -> None:
        raise ConnectionError

    ids = await database.put(fails, times=40)
    await until_empty(database.url)
    waits = [
        (
            (await database.job(id_))["next_attempt_at"] - (await database.attempts(id_))[0]["finished_at"]
        ).total_seconds()
        for id_ in ids
    ]
    assert all(500 <= wait <= 1500 for wait in waits)
    assert min(waits) < 1000 < max(waits)


async def test_only_these_exceptions_are_retried(database: Database) -> None:
    @task(retry_for_exceptions=[ConnectionError, TimeoutError], retry_delay=3600)
    async def raises(kind: str) -> None:
        raise {"subclass": ConnectionResetError, "other": LookupError}[kind](kind)

    (subclass,) = await database.put(raises, "subclass")
    (other,) = await database.put(raises, "other")
    await until_empty(database.url)
    assert (await database.job(subclass))["state"] == "scheduled"
    job = await database.job(other)
    assert (job["state"], job["attempt"], job["error_type"]) == ("failed", 1, "LookupError")


async def test_a_retry_that_the_task_asks_for_uses_up_its_retries(database: Database) -> None:
    @task(max_retries=2, retry_delay=100, retry_backoff=True, retry_for_exceptions=[])
    async def asks() -> None:
        raise Retry("not yet", delay=50 if get_current_job().attempt == 1 else None)

    (id_,) = await database.put(asks)
    assert await schedule(database, id_) == [50, 200]
    job = await database.job(id_)
    assert (job["state"], job["attempt"], job["failures"]) == ("failed", 3, 3)
    assert (job["error_type"], job["error"]) == ("uno_jobs.errors.Retry", "not yet")


async def test_a_snooze_uses_up_nothing(database: Database) -> None:
    @task(max_retries=0)
    async def snoozes() -> int:
        if get_current_job().attempt < 4:
            raise Snooze(30)
        return get_current_job().attempt

    (id_,) = await database.put(snoozes)
    assert await schedule(database, id_) == [30, 30, 30]
    job = await database.job(id_)
    assert (job["state"], job["result"], job["attempt"], job["failures"]) == ("succeeded", "4", 4, 0)
    assert [one["outcome"] for one in await database.attempts(id_)] == ["snoozed"] * 3 + ["succeeded"]


@pytest.mark.parametrize(("error", "state"), [(Fail("hopeless"), "failed"), (Cancel("not wanted"), "cancelled")])
async def test_after_a_failure_the_task_may_still_end_its_job(database: Database, error: Exception, state: str) -> None:
    @task(max_retries=9, retry_delay=60)
    async def ends() -> None:
        raise ConnectionError("first") if get_current_job().attempt == 1 else error

    (id_,) = await database.put(ends)
    assert await schedule(database, id_) == [60]
    job = await database.job(id_)
    assert (job["state"], job["attempt"], job["error"]) == (state, 2, str(error))
    first, last = await database.attempts(id_)
    assert (first["outcome"], first["error"], last["outcome"]) == ("retried", "first", state)


async def test_arguments_that_do_not_fit_are_not_retried(database: Database) -> None:
    @task(max_retries=9, retry_delay=0)
    async def strict(number: int) -> None: ...

    (id_,) = await database.put(strict, "no number")
    await until_empty(database.url)
    job = await database.job(id_)
    assert (job["state"], job["attempt"], job["error_type"]) == ("failed", 1, "uno_jobs.errors.InvalidArguments")


async def test_a_traceback_is_bounded(database: Database) -> None:
    class HugeError(Exception):
        pass

    @task(retry_delay=3600)
    async def fails() -> None:
        raise HugeError("é" * 100_000)

    (id_,) = await database.put(fails)
    await until_empty(database.url)
    (attempt,) = await database.attempts(id_)
    assert attempt["error_type"].endswith("HugeError")
    assert len(attempt["error"].encode()) <= 4_000
    assert 31_000 < len(attempt["traceback"].encode()) <= 32_000
    assert "raise HugeError" in attempt["traceback"]
