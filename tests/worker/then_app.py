"""Tasks that add steps, for the children of the workers in the tests."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from uno_jobs.context import get_current_job
from uno_jobs.tasks import task


@task
async def start() -> list:
    return []


@task
async def note(seen: list, word: str) -> list:
    return [*seen, word]


@task(runs_in="thread")
def on_a_thread(seen: list) -> list:
    get_current_job().then(note.s("thread added"))
    return [*seen, "thread"]


@task(max_retries=1, retry_delay=0)
def in_a_child(seen: list) -> list:
    job = get_current_job()
    job.then(note.s("child added"))
    if job.attempt == 1:
        raise ValueError("not this time")
    return [*seen, "child"]


@task
def in_a_child_with_a_transaction(seen: list) -> Any:
    job = get_current_job()
    with job.transaction(result=[*seen, "transaction"]) as tx:
        tx.session.execute(text("INSERT INTO effects VALUES ('done')"))
        assert job.then(note.s("transaction added")).id


@task(timeout=60, timeout_action="terminate")
async def async_in_a_child(seen: list) -> list:
    await get_current_job().then(note.s("async added"))
    return [*seen, "async"]


@task(max_retries=0)
async def fails() -> int:
    raise ValueError("no")


@task
async def succeeds(number: int) -> int:
    return number


def _parents() -> list:
    return [
        [str(one.id), one.task, one.state, one.result, one.error_type, one.error] for one in get_current_job().parents
    ]


@task
async def tells(before: Any = None) -> list:
    return _parents()


@task
def tells_in_a_child(before: Any = None) -> list:
    return _parents()
