"""Bulk: any number of jobs, mixed, in one transaction, by few round trips."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from tests.queue.callers import calling
from uno_jobs.errors import DuplicateJob, InvalidArguments, InvalidOption
from uno_jobs.tasks import Signature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.queue.conftest import Database
    from uno_jobs import Queue

Tasks = SimpleNamespace


async def test_all_kinds_of_items(queue: Queue, database: Database, tasks: Tasks) -> None:
    handles = await queue.enqueue_many(
        item
        for item in [
            tasks.add.s(1),
            tasks.add.s(a=2, b=3),
            tasks.add.options(priority="low", delay=60, metadata={"k": 1}, expires=120, queue="slow").s(4),
            (tasks.add, [5]),
            (tasks.add, [], {"a": 6}),
            ("add", (7,)),
            (tasks.add.s(b=9), [8]),
            tasks.send.s("a"),
            tasks.send.s("a"),
        ]
    )
    jobs = {job["id"]: job for job in await database.jobs()}
    rows = [jobs[handle.id] for handle in handles]
    assert [(json.loads(row["args"]), json.loads(row["kwargs"])) for row in rows] == [
        ([1], {}), ([], {"a": 2, "b": 3}), ([4], {}), ([5], {}), ([], {"a": 6}), ([7], {}), ([8], {"b": 9}),
        (["a"], {}), (["a"], {}),
    ]  # fmt: skip
    odd = rows[2]
    assert (odd["queue"], odd["priority"], odd["state"], json.loads(odd["metadata"])) == (
        "slow",
        7,
        "scheduled",
        {"k": 1},
    )
    assert (odd["expires_at"] - odd["scheduled_at"]).total_seconds() == 60
    assert [handle.is_duplicate for handle in handles] == [False] * 8 + [True]
    assert await queue.enqueue_many([]) == []


@pytest.mark.parametrize("kind", ["asyncpg", "session-asyncpg", "connection-psycopg"])
async def test_two_round_trips_for_a_thousand(kind: str, database: Database, tasks: Tasks) -> None:
    async with calling(kind, database.url) as caller:
        await caller.begin()
        await caller.enqueue(tasks.add, 0)  # the check of the schema, once for each queue
        said: list[str] = []

        if kind == "asyncpg":
            caller.connection.add_query_logger(lambda record: said.append(record.query))
        else:
            engine = caller.connection.bind if kind.startswith("session") else caller.connection.engine

            @event.listens_for(getattr(engine, "sync_engine", engine), "before_cursor_execute")
            def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
                said.append(statement)

        for jobs, most in (
            ([tasks.add.s(n) for n in range(3000)], 6),
            ([tasks.add.s(n) for n in range(500)] + [tasks.send.s(str(n)) for n in range(500)], 2),
            ([tasks.send.s(str(n)) for n in range(2500)], 6),
            ([tasks.send.s(str(n)) for n in range(1001)] + [tasks.add.s(n) for n in range(2)], 4),
        ):
            said.clear()
            await caller.enqueue_many(jobs)
            await asyncio.sleep(0)  # query loggers are called soon, not at once
            assert 0 < len(said) <= most
            assert not any("SAVEPOINT" in one.upper() for one in said)
        await caller.commit()
    assert await database.count() == 1 + 3000 + 500 + 2500 + 2


@pytest.mark.parametrize("apart", [1, 1500])
async def test_a_key_given_twice_counts_once(apart: int, queue: Queue, database: Database, tasks: Tasks) -> None:
    between = [tasks.send.s(f"{n}") for n in range(apart)]
    handles = await queue.enqueue_many(
        [tasks.sync_user.s("u"), tasks.add.options(unique_key="k").s(1), *between,
         tasks.sync_user.s("u", True), tasks.add.options(unique_key="k").s(2)]
    )  # fmt: skip
    assert handles[0].id == handles[-2].id
    assert handles[1].id == handles[-1].id
    assert [handle.is_duplicate for handle in handles] == [False] * (apart + 2) + [True, True]
    assert [handle.replaced for handle in handles] == [False] * (apart + 2) + [True, False]
    jobs = {job["id"]: json.loads(job["args"]) for job in await database.jobs()}
    # To replace: the last wins. Else the first.
    assert (jobs[handles[0].id], jobs[handles[1].id]) == (["u", True], [1])


async def test_a_wrong_item_is_named_and_nothing_is_stored(queue: Queue, database: Database, tasks: Tasks) -> None:
    with pytest.raises(InvalidArguments, match="'a'") as caught:
        await queue.enqueue_many([tasks.add.s(1), tasks.add.s("x"), tasks.add.s(2)])
    assert caught.value.__notes__ == ["in item 1 of enqueue_many"]
    with pytest.raises(InvalidOption, match="given to enqueue_many itself"):
        await queue.enqueue_many([tasks.add.options(connection=object()).s(1)])
    with pytest.raises(InvalidOption, match="takes signatures"):
        await queue.enqueue_many([3])
    with pytest.raises(InvalidOption, match="task must be"):
        await queue.enqueue_many([(3, [1])])
    assert await database.count() == 0


async def test_a_duplicate_to_be_raised_undoes_the_bulk(queue: Queue, database: Database, tasks: Tasks) -> None:
    first = await queue.enqueue(tasks.send, ["a"])
    with pytest.raises(DuplicateJob, match="roll back") as caught:
        await queue.enqueue_many([tasks.add.s(1), tasks.send.s("b"), tasks.send.options(on_duplicate="raise").s("a")])
    assert caught.value.job_id == str(first.id)
    assert await database.count() == 1


async def test_workers_that_sleep_are_woken_once_it_is_committed(database: Database, tasks: Tasks) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    channel = await database.connection.fetchval("SELECT channel FROM uno_jobs.schema_info")
    await database.connection.add_listener(channel, lambda *said: heard.put_nowait(said[3]))
    await database.connection.execute("SELECT uno_jobs.mark_hungry(gen_random_uuid(), '{mails, default}', 60)")
    async with calling("session-asyncpg", database.url) as caller:
        await caller.enqueue(tasks.add, 1, notify=False)
        await caller.commit()
        await caller.enqueue_many([tasks.send.s("a"), tasks.add.options(queue="nobody").s(1)])
        await database.connection.fetchval("SELECT 1")
        assert heard.empty()
        await caller.commit()
        async with asyncio.timeout(30):
            assert await heard.get() == "ready mails"
        assert heard.empty()


async def test_options_are_each_jobs_own_though_a_generator_lets_its_signatures_go(
    queue: Queue, database: Database, tasks: Tasks
) -> None:
    def signatures() -> Iterator[Any]:
        first, between = tasks.add.options(queue="first").s(1), tasks.add.s(3)
        address = id(first.options)
        yield first
        del first
        yield between  # until here the loop that asks for the next one holds the first
        # The next options are made to lie where the first ones lay, if those are gone.
        kept = [{"queue": "second"}]
        while id(kept[-1]) != address and len(kept) < 10_000:
            kept.append({"queue": "second"})
        yield Signature(tasks.add, (2,), options=kept[-1])

    handles = await queue.enqueue_many(signatures())
    queues = [
        await database.connection.fetchval("SELECT queue FROM uno_jobs.jobs WHERE id = $1", h.id) for h in handles
    ]
    assert queues == ["first", "default", "second"]
