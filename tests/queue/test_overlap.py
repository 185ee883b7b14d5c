"""A long bulk is checked while it is stored; what goes wrong in the middle leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator

from tests.queue.conftest import LIMIT, Database
from uno_jobs import Queue, task
from uno_jobs.errors import InvalidArguments
from uno_jobs.queue import batches, overlap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import SimpleNamespace as Tasks

SESSIONS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'uno-jobs queue'"


@pytest.fixture
def chunks_of_three() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(batches, "CHUNK", 3)
    yield
    patch.undo()


@contextlib.asynccontextmanager
async def locked(database: Database, table: str = "live_jobs") -> AsyncIterator[None]:
    """Keep everybody from adding to a table."""
    locker = await asyncpg.connect(database.url)
    try:
        async with locker.transaction():
            await locker.execute(f"LOCK TABLE uno_jobs.{table} IN EXCLUSIVE MODE")
            yield
    finally:
        await locker.close()


async def until(seen: list[int], count: int) -> None:
    async with asyncio.timeout(LIMIT):
        while len(seen) < count:
            await asyncio.sleep(0.005)


def watched(seen: list[int], *, refused: int | None = None) -> Any:
    """Return a task that notes which arguments were checked, and refuses one."""

    def look(value: int) -> int:
        if value not in seen:  # what was converted is checked once more, as the run will
            seen.append(value)
        if value == refused:
            raise ValueError("refused")
        return value

    @task
    async def watch(i: Annotated[int, AfterValidator(look)]) -> None: ...

    return watch


async def test_jobs_are_checked_while_those_before_them_are_stored(
    chunks_of_three: None, queue: Queue, database: Database
) -> None:
    seen: list[int] = []
    watch = watched(seen)
    async with locked(database):
        bulk = asyncio.create_task(queue.enqueue_many([watch.s(i) for i in range(10)]))
        await database.wait_for_waiting()
        await until(seen, 6)
        assert seen == [0, 1, 2, 3, 4, 5]  # no more than one statement ahead
        assert not bulk.done()
    handles = await bulk
    assert seen == list(range(10))
    assert [job["args"] for job in await database.jobs()] == [f"[{i}]" for i in range(10)]
    assert [handle.id for handle in handles] == [job["id"] for job in await database.jobs()]


async def test_one_that_is_wrong_leaves_nothing(chunks_of_three: None, queue: Queue, database: Database) -> None:
    seen: list[int] = []
    watch = watched(seen, refused=7)
    with pytest.raises(InvalidArguments, match="refused") as caught:
        await queue.enqueue_many([watch.s(i) for i in range(12)])
    assert caught.value.__notes__ == ["in item 7 of enqueue_many"]
    assert seen[-1] == 7
    assert await database.count() == 0
    sessions = await database.connection.fetch(SESSIONS)
    await queue.enqueue_many([watch.s(i) for i in range(6)])
    assert await database.count() == 6
    assert await database.connection.fetch(SESSIONS) == sessions


async def test_what_the_database_refuses_leaves_nothing(
    chunks_of_three: None, queue: Queue, database: Database, tasks: Tasks
) -> None:
    await database.connection.execute("ALTER TABLE uno_jobs.jobs ADD CONSTRAINT mine CHECK (args <> '[4]')")
    with pytest.raises(asyncpg.CheckViolationError, match="mine"):
        await queue.enqueue_many([tasks.add.s(i) for i in range(12)])
    assert await database.count() == 0
    await queue.enqueue_many([tasks.add.s(i) for i in range(5, 12)])
    assert await database.count() == 7


async def test_a_wrong_one_and_a_refusal_together(chunks_of_three: None, queue: Queue, database: Database) -> None:
    watch = watched([], refused=5)
    await database.connection.execute("ALTER TABLE uno_jobs.jobs ADD CONSTRAINT mine CHECK (args <> '[0]')")
    with pytest.raises(InvalidArguments, match="refused"):
        await queue.enqueue_many([watch.s(i) for i in range(12)])
    assert await database.count() == 0


async def test_cancelled_it_leaves_nothing(chunks_of_three: None, queue: Queue, database: Database) -> None:
    seen: list[int] = []
    watch = watched(seen)
    async with locked(database):
        bulk = asyncio.create_task(queue.enqueue_many([watch.s(i) for i in range(10)]))
        await database.wait_for_waiting()
        await until(seen, 6)
        before = await database.connection.fetch(SESSIONS)
        bulk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bulk
    await queue.enqueue(watch, [1])
    assert await database.count() == 1
    assert not {*before} & {*await database.connection.fetch(SESSIONS)}


async def test_slow_validators_do_not_hold_a_transaction_open(
    chunks_of_three: None, queue: Queue, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    watch = watched(seen)
    monkeypatch.setattr(overlap, "QUICK", -1.0)
    async with locked(database):
        bulk = asyncio.create_task(queue.enqueue_many([watch.s(i) for i in range(10)]))
        await database.wait_for_waiting()
        assert seen == list(range(10))
    assert len(await bulk) == 10


async def test_a_callers_transaction_is_not_begun_before_all_is_checked(
    chunks_of_three: None, queue: Queue, database: Database
) -> None:
    watch = watched([], refused=7)
    connection = await asyncpg.connect(database.url)
    try:
        async with connection.transaction():
            with pytest.raises(InvalidArguments):
                await queue.enqueue_many([watch.s(i) for i in range(12)], connection=connection)
            assert await connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 0
    finally:
        await connection.close()


async def test_the_list_may_change_meanwhile(
    chunks_of_three: None, queue: Queue, database: Database, tasks: Tasks
) -> None:
    jobs = [tasks.add.s(i) for i in range(10)]
    async with locked(database):
        bulk = asyncio.create_task(queue.enqueue_many(jobs))
        await database.wait_for_waiting()
        jobs.clear()
    assert len(await bulk) == await database.count() == 10


KINDS = ["plain", "late", "keyed", "by name", "name, keyed", "id"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(["plain", "late", "keyed", "by name", "name, keyed", "id"]), min_size=4, max_size=20)
)
async def test_any_mixture_is_stored_as_asked(
    chunks_of_three: None, queue: Queue, database: Database, tasks: Tasks, kinds: list[str]
) -> None:
    await database.connection.execute("TRUNCATE uno_jobs.jobs, uno_jobs.live_jobs")
    tasks_of = {
        "plain": lambda i: tasks.add.s(i),
        "late": lambda i: tasks.add.options(delay=60).s(i),
        "keyed": lambda _: tasks.send.s("ada"),
        "by name": lambda i: (tasks.add.name, [i]),
        "name, keyed": lambda _: (tasks.send.name, ["ada"]),
        "id": lambda i: tasks.add.options(id=f"01900000-0000-7000-8000-{i:012}").s(i),
    }
    handles = await queue.enqueue_many([tasks_of[kind](i) for i, kind in enumerate(kinds)])
    assert len(handles) == len(kinds)
    jobs = {job["id"]: job for job in await database.jobs()}
    assert {handle.id for handle in handles} == {*jobs}
    mails = [handle for handle, kind in zip(handles, kinds, strict=True) if "keyed" in kind]
    assert [handle.is_duplicate for handle in mails] == [place > 0 for place in range(len(mails))]
    assert len({handle.id for handle in mails}) <= 1
    for place, (handle, kind) in enumerate(zip(handles, kinds, strict=True)):
        assert jobs[handle.id]["args"] == ('["ada"]' if "keyed" in kind else f"[{place}]")
        assert jobs[handle.id]["state"] == ("scheduled" if kind == "late" else "ready")
