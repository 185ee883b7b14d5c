"""Hooks."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from uno_jobs.context import get_current_job
from uno_jobs.errors import JobFailed, NoCurrentJob
from uno_jobs.outcomes import (
    Cancelled,
    ErrorRecord,
    Failed,
    HandedBack,
    Outcome,
    Retried,
    Snoozed,
    Succeeded,
)
from uno_jobs.runners.hooks import run_hooks, wants_hooks
from uno_jobs.runners.invocation import Plan
from uno_jobs.runners.thread import Threads
from uno_jobs.tasks import task

from .jobs import a_job

RECORD = ErrorRecord("some.Error", "what was wrong", "Traceback …")


class Report(BaseModel):
    pages: int


async def with_hooks(fail: bool = False) -> Report:
    if fail:
        raise KeyError("gone")
    return Report(pages=3)


@pytest.fixture
def hooked() -> tuple[Any, list[Any]]:
    """A task with a sync and an async hook of each kind, and what they saw."""
    made = task(with_hooks)
    seen: list[Any] = []

    @made.on_success
    async def success(job: Any, result: Any) -> None:
        seen.append(("success", job is get_current_job(), result))

    @made.on_success
    def success_too(job: Any, result: Any) -> None:
        seen.append(("success too", job is get_current_job(), result))

    @made.on_failure
    async def failure(job: Any, error: Any) -> None:
        seen.append(("failure", job is get_current_job(), error))

    @made.on_retry
    def retry(job: Any, error: Any, retry_count: int) -> None:
        seen.append(("retry", job is get_current_job(), error, retry_count))

    return made, seen


async def test_success_gets_the_result_as_its_annotated_type(hooked: tuple[Any, list[Any]]) -> None:
    made, seen = hooked
    job = a_job(made)
    outcome = await Plan(made).perform(job)
    assert seen == [], "hooks wait until the outcome is durable"
    await run_hooks(made, job, outcome)
    assert seen == [("success", True, Report(pages=3)), ("success too", True, Report(pages=3))]
    with pytest.raises(NoCurrentJob):
        get_current_job()


async def test_retry_and_failure_get_the_error_itself(hooked: tuple[Any, list[Any]]) -> None:
    made, seen = hooked
    for failures in (0, 2, 3):
        job = a_job(made, True, failures=failures)
        await run_hooks(made, job, await Plan(made).perform(job))
    assert [(one[0], type(one[2]), *one[3:]) for one in seen] == [
        ("retry", KeyError, 1),
        ("retry", KeyError, 3),
        ("failure", KeyError),
    ]


async def test_where_the_error_is_not_at_hand_a_job_failed_takes_its_place(
    hooked: tuple[Any, list[Any]],
) -> None:
    made, seen = hooked
    await run_hooks(made, a_job(made), Failed(RECORD))
    error = seen[0][2]
    assert isinstance(error, JobFailed)
    assert str(error) == "some.Error: what was wrong"
    assert (error.error_type, error.traceback) == ("some.Error", "Traceback …")


@pytest.mark.parametrize("outcome", [Cancelled("x"), Snoozed(1), HandedBack("x")])
async def test_other_outcomes_have_no_hooks(hooked: tuple[Any, list[Any]], outcome: Outcome) -> None:
    made, seen = hooked
    assert not wants_hooks(made, outcome)
    await run_hooks(made, a_job(made), outcome)
    assert seen == []


async def test_wants_hooks(hooked: tuple[Any, list[Any]]) -> None:
    made, _ = hooked
    plain = task(name="plain")(with_hooks)
    for outcome in (Succeeded("null"), Failed(RECORD), Retried(RECORD, 1)):
        assert wants_hooks(made, outcome)
        assert not wants_hooks(plain, outcome)


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("error", [RuntimeError("in the hook"), SystemExit(1)])
async def test_what_a_hook_raises_is_logged_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture, asynchronous: bool, error: BaseException
) -> None:
    made = task(with_hooks)
    ran: list[str] = []

    async def later(job: Any, result: Any) -> None:
        raise error

    def now(job: Any, result: Any) -> None:
        raise error

    made.on_success(later if asynchronous else now)
    made.on_success(lambda job, result: ran.append("second"))
    with caplog.at_level(logging.ERROR, "uno_jobs.runners"):
        await run_hooks(made, a_job(made), Succeeded("null"))
    assert ran == ["second"]
    assert "hook" in caplog.text
    assert "of task with_hooks raised; the job's outcome stands" in caplog.text
    assert type(error).__name__ in caplog.text


async def test_synchronous_hooks_run_on_a_thread_where_there_are_some() -> None:
    made = task(with_hooks)
    seen: list[Any] = []

    @made.on_success
    def where(job: Any, result: Any) -> None:
        seen.append((threading.current_thread() is threading.main_thread(), get_current_job() is job))

    threads = Threads(1)
    await run_hooks(made, a_job(made), Succeeded("null"), threads=threads)
    threads.close()
    assert seen == [(False, True)]
