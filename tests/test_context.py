"""The current job: what it tells, and what can be told to it."""

from __future__ import annotations

import contextvars
import math
import threading
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from uno_jobs.context import MAX_PROGRESS_MESSAGE, Job, enter_job, get_current_job, leave_job
from uno_jobs.errors import InvalidOption, NoCurrentJob, NotSerializable

NOW = datetime(2024, 1, 1, tzinfo=UTC)


class Control:
    def __init__(self) -> None:
        self.reported: list[tuple[float, str]] = []
        self.flushed = 0

    def report_progress(self, job: Job, fraction: float, message: str) -> None:
        self.reported.append((fraction, message))

    async def flush_progress(self, job: Job) -> None:
        self.flushed += 1


def a_job(control: Control | None = None, **texts: str) -> Job:
    given: dict[str, Any] = {"args": "[]", "kwargs": "{}", "metadata": "{}", **texts}
    return Job(
        UUID(int=1), "work", "1.0", "default", 5, 2, 1, 4,
        given["args"], given["kwargs"], given["metadata"], NOW, None, NOW, None, 77, control,
    )  # fmt: skip


def test_outside_a_job() -> None:
    with pytest.raises(NoCurrentJob, match="test_task"):
        get_current_job()


def test_what_a_job_tells() -> None:
    job = a_job(args='["a",1]', kwargs='{"k":null}', metadata='{"user_id":5}')
    assert (job.id, job.task, job.version, job.queue, job.priority) == (UUID(int=1), "work", "1.0", "default", 5)
    assert (job.attempt, job.failures, job.max_attempts) == (2, 1, 4)
    assert (job.created_at, job.scheduled_at, job.started_at, job.workflow_id) == (NOW, None, NOW, None)
    assert (job.args, job.kwargs, job.metadata) == (["a", 1], {"k": None}, {"user_id": 5})
    assert job.metadata is job.metadata, "parsed once"
    assert repr(job) == f"<Job {UUID(int=1)} of work 1.0, attempt 2>"
    empty = a_job()
    assert (empty.args, empty.kwargs, empty.metadata) == ([], {}, {})


def test_entering_and_leaving_nest() -> None:
    outer, inner = a_job(), a_job()
    token = enter_job(outer)
    second = enter_job(inner)
    assert get_current_job() is inner
    leave_job(second)
    assert get_current_job() is outer
    leave_job(token)
    with pytest.raises(NoCurrentJob):
        get_current_job()


def test_a_thread_has_the_job_of_the_context_it_is_given() -> None:
    job = a_job()
    token = enter_job(job)
    context = contextvars.copy_context()
    leave_job(token)
    seen: list[Any] = []
    one = threading.Thread(target=context.run, args=(lambda: seen.append(get_current_job()),))
    one.start()
    one.join()
    assert seen == [job]


async def test_progress_takes_effect_with_and_without_await() -> None:
    control = Control()
    job = a_job(control)
    job.set_progress(0.25)
    assert control.reported == [(0.25, "")]
    assert control.flushed == 0
    await job.set_progress(1, "done")
    assert control.reported[-1] == (1.0, "done")
    assert control.flushed == 1
    job.set_progress(0, "x" * 5000)
    assert control.reported[-1] == (0.0, "x" * MAX_PROGRESS_MESSAGE)


async def test_progress_without_anybody_to_tell() -> None:
    await a_job().set_progress(0.5)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan, math.inf, "half", None, True])
def test_progress_that_is_none(fraction: Any) -> None:
    control = Control()
    with pytest.raises(InvalidOption, match="set_progress: fraction must be"):
        a_job(control).set_progress(fraction)
    assert control.reported == []


def test_a_message_that_cannot_be_stored() -> None:
    with pytest.raises(NotSerializable, match="set_progress: message"):
        a_job(Control()).set_progress(0.5, "\x00")


async def test_is_cancelled_reads_with_and_without_await() -> None:
    job = a_job()
    assert not job.is_cancelled()
    assert await job.is_cancelled() is False
    job.cancel_requested = True
    assert job.is_cancelled()
    assert await job.is_cancelled() is True
    assert repr(job.is_cancelled()) == "True"
