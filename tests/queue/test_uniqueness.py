"""Unique keys and ids of the caller's: duplicates, replacing, and races of two transactions for one key."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.queue.callers import LEVELS, READ_COMMITTED, calling
from uno_jobs.errors import DuplicateJob, EnqueueConflict
from uno_jobs.storage.gateway import Gateway

if TYPE_CHECKING:
    from tests.queue.conftest import Database
    from uno_jobs import Queue

Tasks = SimpleNamespace

PAIRS = [("asyncpg", "asyncpg"), ("session-psycopg", "session-asyncpg"), ("psycopg-async", "connection-asyncpg")]
ORDERS = [*PAIRS, *((second, first) for first, second in PAIRS[1:])]


async def claim(database: Database, *known: str, queue: str = "default") -> list[asyncpg.Record]:
    gateway = Gateway(database.connection, "uno_jobs")
    rows = await gateway.claim(uuid.uuid4(), 7, 100, [queue], [100], [0] * 10, list(known))
    return [row for row in rows if row["id"] is not None]


# --- duplicates ---------------------------------------------------------------------------------------------


async def test_equal_calls_are_one_however_they_are_written(queue: Queue, tasks: Tasks) -> None:
    first = await queue.enqueue(tasks.send, ["a"])
    same = [
        await queue.enqueue(tasks.send, ["a", "hello"]),
        await queue.enqueue(tasks.send, kwargs={"subject": "hello", "to": "a"}),
        await queue.enqueue(tasks.send.s("a"), kwargs={"subject": "hello"}),
        await queue.enqueue("send", ["a"]),
        await tasks.send.options(via=queue).enqueue("a"),
    ]
    assert {handle.id for handle in same} == {first.id}
    assert all(handle.is_duplicate and not handle.replaced for handle in same)
    assert not (await queue.enqueue(tasks.send, ["a", "bye"])).is_duplicate


async def test_a_key_makes_any_task_unique(queue: Queue, database: Database, tasks: Tasks) -> None:
    first = await queue.enqueue(tasks.add, [1], unique_key="k")
    assert (await queue.enqueue(tasks.add, [2], unique_key="k")).id == first.id
    assert not (await queue.enqueue(tasks.add, [1])).is_duplicate
    assert not (await queue.enqueue(tasks.send, ["k"], unique_key="k")).is_duplicate
    assert json.loads((await database.jobs())[0]["args"]) == [1]


async def test_raise_names_the_job_and_leaves_the_transaction_whole(database: Database, tasks: Tasks) -> None:
    async with calling("session-asyncpg", database.url) as caller:
        first = await caller.enqueue(tasks.send, "a")
        with pytest.raises(DuplicateJob, match="is unfinished and holds this key") as caught:
            await caller.enqueue(tasks.send, "a", on_duplicate="raise")
        assert caught.value.job_id == str(first.id)
        await caller.enqueue(tasks.send, "b")
        await caller.commit()
    assert await database.count() == 2


async def test_replace_puts_new_arguments_on_what_has_not_started(
    queue: Queue, database: Database, tasks: Tasks
) -> None:
    first = await queue.enqueue(tasks.sync_user, ["u"], metadata={"n": 1})
    second = await queue.enqueue(tasks.sync_user, ["u", True], metadata={"n": 2})
    assert (second.id, second.is_duplicate, second.replaced) == (first.id, True, True)
    (job,) = await database.jobs()
    assert (json.loads(job["args"]), json.loads(job["metadata"])) == (["u", True], {"n": 2})
    # unique_until="started": its start frees the key.
    assert len(await claim(database, "sync_user@1.0")) == 1
    third = await queue.enqueue(tasks.sync_user, ["u"])
    assert (third.id != first.id, third.is_duplicate, third.replaced) == (True, False, False)


async def test_replace_changes_nothing_once_started(queue: Queue, database: Database, tasks: Tasks) -> None:
    first = await queue.enqueue(tasks.send, ["a"])
    assert len(await claim(database, "send@1.0", queue="mails")) == 1
    second = await queue.enqueue(tasks.send, ["a"], on_duplicate="replace", metadata={"n": 2})
    assert (second.id, second.is_duplicate, second.replaced) == (first.id, True, False)
    assert json.loads((await database.jobs())[0]["metadata"]) == {}


async def test_an_id_is_enqueued_once(queue: Queue, database: Database, tasks: Tasks) -> None:
    one = uuid.uuid4()
    first = await queue.enqueue(tasks.add, [1], id=one)
    again = await queue.enqueue(tasks.add, [2], id=str(one))
    assert (first.id, first.is_duplicate, again.id, again.is_duplicate) == (one, False, one, True)
    with pytest.raises(DuplicateJob, match="has this id"):
        await queue.enqueue(tasks.add, [2], id=one, on_duplicate="raise")
    many = await queue.enqueue_many(
        [tasks.add.options(id=one).s(3), tasks.add.s(4), tasks.add.options(id=uuid.UUID(int=7)).s(5)]
    )
    assert [handle.is_duplicate for handle in many] == [True, False, False]
    assert [json.loads(job["args"]) for job in await database.jobs() if job["id"] == one] == [[1]]


# --- races --------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def racing(
    database: Database,
    kinds: tuple[str, str],
    task: Any,
    calls: tuple[Any, Any],
    level: str = READ_COMMITTED,
    **options: Any,
) -> Any:
    """The first has enqueued and holds its transaction open, the second waits for it in its own."""
    async with calling(kinds[0], database.url) as first, calling(kinds[1], database.url, level) as second:
        await first.begin()
        await second.begin()
        await second.raw("SELECT count(*) FROM uno_jobs.jobs")  # takes the snapshot, where there is one
        holder = await first.enqueue(task, *calls[0], **options)
        waiting = asyncio.create_task(second.enqueue(task, *calls[1], **options))
        await database.wait_for_waiting()
        yield first, holder, second, waiting


@pytest.mark.parametrize("kinds", ORDERS)
async def test_the_second_gets_the_firsts_job_when_it_commits(
    kinds: tuple[str, str], database: Database, tasks: Tasks
) -> None:
    async with racing(database, kinds, tasks.send, (["a"], ["a"])) as (first, holder, second, waiting):
        await first.commit()
        handle = await waiting
        assert (handle.id, handle.is_duplicate) == (holder.id, True)
        await second.enqueue(tasks.add, 1)  # its transaction is whole
        await second.commit()
    assert await database.count() == 2


@pytest.mark.parametrize("kinds", ORDERS)
async def test_the_second_gets_its_own_when_the_first_rolls_back(
    kinds: tuple[str, str], database: Database, tasks: Tasks
) -> None:
    async with racing(database, kinds, tasks.send, (["a"], ["a"])) as (first, holder, second, waiting):
        await first.rollback()
        handle = await waiting
        assert (handle.id != holder.id, handle.is_duplicate) == (True, False)
        await second.commit()
    (job,) = await database.jobs()
    assert job["id"] == handle.id


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("kinds", ORDERS)
async def test_replacing_waits_too(kinds: tuple[str, str], commits: bool, database: Database, tasks: Tasks) -> None:
    calls = (["u", False], ["u", True])
    async with racing(database, kinds, tasks.sync_user, calls) as (first, holder, second, waiting):
        await (first.commit() if commits else first.rollback())
        handle = await waiting
        assert (handle.is_duplicate, handle.replaced, handle.id == holder.id) == (commits, commits, commits)
        await second.commit()
    (job,) = await database.jobs()
    assert (job["id"], json.loads(job["args"])) == (handle.id, ["u", True])


@pytest.mark.parametrize("how", ["return", "replace"])
@pytest.mark.parametrize("level", LEVELS[1:])
@pytest.mark.parametrize("kinds", ORDERS)
async def test_a_race_lost_under_a_snapshot_asks_for_a_retry(
    kinds: tuple[str, str], level: str, how: str, database: Database, tasks: Tasks
) -> None:
    race = racing(database, kinds, tasks.send, (["a"], ["a"]), level, on_duplicate=how)
    async with race as (first, holder, second, waiting):
        await first.commit()
        with pytest.raises(EnqueueConflict, match="retry the transaction"):
            await waiting
        await second.rollback()
        await second.begin()
        assert (await second.enqueue(tasks.send, "a")).id == holder.id
        await second.commit()
    assert await database.count() == 1


@pytest.mark.parametrize("level", LEVELS[1:])
async def test_a_race_won_under_a_snapshot_is_won(level: str, database: Database, tasks: Tasks) -> None:
    race = racing(database, ("asyncpg", "session-psycopg"), tasks.send, (["a"], ["a"]), level)
    async with race as (first, _, second, waiting):
        await first.rollback()
        assert not (await waiting).is_duplicate
        await second.commit()
    assert await database.count() == 1


@pytest.mark.parametrize("commits", [True, False])
async def test_two_requests_with_one_id_are_one(commits: bool, database: Database, tasks: Tasks) -> None:
    one = uuid.uuid4()
    race = racing(database, ("asyncpg", "session-psycopg"), tasks.add, ([1], [2]), id=one)
    async with race as (first, _, second, waiting):
        await (first.commit() if commits else first.rollback())
        assert (await waiting).is_duplicate == commits
        await second.commit()
    (job,) = await database.jobs()
    assert json.loads(job["args"]) == [1 if commits else 2]


@pytest.mark.parametrize("count", [2, 1500])
@pytest.mark.parametrize("how", ["arguments", "keys", "ids"])
async def test_bulks_in_opposite_orders_do_not_deadlock(
    count: int, how: str, queue: Queue, database: Database, tasks: Tasks
) -> None:
    ids = [uuid.UUID(int=n) for n in range(count)]
    jobs = [
        tasks.send.s(f"{n:05}")
        if how == "arguments"
        else tasks.add.options(unique_key=f"{n:05}").s(n)
        if how == "keys"
        else tasks.add.options(id=ids[n]).s(n)
        for n in range(count)
    ]
    async with calling("asyncpg", database.url) as third, asyncio.timeout(60):
        # A third transaction holds a key of the middle, so that both come to a halt there.
        await third.begin()
        await third.enqueue_many([jobs[count // 2]])
        both = [
            asyncio.create_task(queue.enqueue_many(jobs)),
            asyncio.create_task(queue.enqueue_many(list(reversed(jobs)))),
        ]
        await database.wait_for_waiting(2)
        await third.rollback()
        first, second = await asyncio.gather(*both)
    assert [handle.id for handle in first] == [handle.id for handle in reversed(second)]
    for one, other in zip(first, reversed(second), strict=True):
        assert one.is_duplicate != other.is_duplicate
    assert await database.count() == count


# --- others must not wait for a caller ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["return", "replace"])
async def test_a_caller_never_locks_a_job_that_runs(how: str, queue: Queue, database: Database, tasks: Tasks) -> None:
    handle = await queue.enqueue(tasks.send, ["a"])
    await claim(database, "send@1.0", queue="mails")
    async with calling("session-psycopg", database.url) as caller:
        for _ in range(2):
            assert (await caller.enqueue(tasks.send, "a", on_duplicate=how)).is_duplicate
        await caller.enqueue_many([tasks.send.options(on_duplicate=how).s("a")])
        # The worker's completion finds the row free.
        assert (
            await database.connection.fetchval(
                "SELECT id FROM uno_jobs.live_jobs WHERE state = 'running' FOR UPDATE NOWAIT"
            )
            == handle.id
        )
        await caller.commit()


async def test_a_claim_takes_what_was_replaced_or_leaves_it(queue: Queue, database: Database, tasks: Tasks) -> None:
    await queue.enqueue(tasks.sync_user, ["u", False])
    async with calling("session-psycopg", database.url) as caller:
        assert (await caller.enqueue(tasks.sync_user, "u", True)).replaced
        assert await claim(database, "sync_user@1.0") == []  # passes over it, does not wait
        await caller.commit()
    (row,) = await claim(database, "sync_user@1.0")
    assert json.loads(row["args"]) == ["u", True]


async def test_a_claim_that_comes_between_wins(queue: Queue, database: Database, tasks: Tasks) -> None:
    first = await queue.enqueue(tasks.send, ["a"], metadata={"n": 1})
    async with database.connection.transaction():
        assert len(await claim(database, "send@1.0", queue="mails")) == 1
        # The replacer waits for the claim's transaction, and then finds the job started.
        replacing = asyncio.create_task(queue.enqueue(tasks.send, ["a"], on_duplicate="replace", metadata={"n": 2}))
        other = await asyncpg.connect(database.url)
        try:
            async with asyncio.timeout(30):
                while not await other.fetchval(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ):
                    await asyncio.sleep(0.005)
        finally:
            await other.close()
    handle = await replacing
    assert (handle.id, handle.is_duplicate, handle.replaced) == (first.id, True, False)
    assert json.loads((await database.jobs())[0]["metadata"]) == {"n": 1}
