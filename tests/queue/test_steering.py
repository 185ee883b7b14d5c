"""Pausing, resuming, weighing and purging by a queue object: on every kind of connection, and blocking."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.queue.callers import KINDS, calling
from uno_jobs import Queue, SyncQueue
from uno_jobs.errors import InvalidOption, QueueNotFound, WrongColour
from uno_jobs.queue import steered

if TYPE_CHECKING:
    from tests.queue.conftest import Database

Tasks = SimpleNamespace


async def row(database: Database, queue: str) -> dict[str, Any]:
    found = await database.connection.fetchrow("SELECT * FROM uno_jobs.queue_status WHERE queue = $1", queue)
    return dict(found or {})


@pytest.mark.parametrize("kind", KINDS)
async def test_all_stands_or_falls_with_the_callers_transaction(
    kind: str, queue: Queue, database: Database, tasks: Tasks
) -> None:
    for _ in range(3):
        await queue.enqueue(tasks.add, [1])
    async with calling(kind, database.url) as caller:
        for end in (caller.rollback, caller.commit):
            await caller.begin()

            async def steer(name: str, *args: Any) -> Any:
                method = getattr(caller.queue, name)
                if isinstance(caller.queue, SyncQueue):
                    return await asyncio.to_thread(method, *args, connection=caller.connection)
                return await method(*args, connection=caller.connection)

            with pytest.raises(QueueNotFound, match="there are: default"):
                await steer("pause_queue", "nowhere")
            # The refusal has not broken the transaction.
            assert await steer("pause_queue", "default", "why")
            await steer("set_queue_weight", "default", 4)
            assert await steer("purge_queue", "default", "old") == 3
            assert await steer("resume_queue", "default")
            assert await steer("pause_queue", "default", "again")
            seen = await row(database, "default")
            assert (seen["ready"], seen["paused_at"], seen["weight"]) == (3, None, 1)
            await end()
        seen = await row(database, "default")
        assert (seen["ready"], seen["pause_reason"], seen["weight"]) == (0, "again", 4)
        assert {job["error"] for job in await database.jobs()} == {"its queue was purged: old"}


async def test_on_connections_of_its_own(queue: Queue, database: Database, tasks: Tasks) -> None:
    with pytest.raises(QueueNotFound, match="there is none at all yet"):
        await queue.pause_queue("mail")
    assert await queue.pause_queue("mail", create=True)
    assert not await queue.pause_queue("mail", "too late")
    assert (await row(database, "mail"))["pause_reason"] is None
    assert await queue.resume_queue("mail")
    assert not await queue.resume_queue("mail")
    await queue.set_queue_weight("mail", 7)
    assert (await row(database, "mail"))["weight"] == 7


async def test_a_purge_goes_on_until_nothing_is_left(
    queue: Queue, database: Database, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steered, "PURGE_BATCH", 2)
    await queue.enqueue_many([tasks.add.s(n) for n in range(7)])
    assert await queue.count_purgeable("default") == 7
    assert await queue.purge_queue("default") == 7
    commits = await database.connection.fetchval("SELECT count(DISTINCT finished_at) FROM uno_jobs.outcomes")
    assert commits == 4


async def test_blocking(database: Database) -> None:
    def work() -> None:
        with SyncQueue(database.url) as queue:
            assert queue.pause_queue("mail", "why", create=True)
            queue.set_queue_weight("mail", 2)
            assert queue.count_purgeable("mail") == queue.purge_queue("mail") == 0
            assert queue.resume_queue("mail")
            with pytest.raises(QueueNotFound, match="there are: mail"):
                queue.resume_queue("mial")

    await asyncio.to_thread(work)
    queue = SyncQueue(database.url)
    with pytest.raises(WrongColour):
        queue.pause_queue("mail")


@pytest.mark.parametrize("name", ["", "q" * 129, 7, None, "a\nb"])
async def test_what_is_no_queues_name(queue: Queue, name: Any) -> None:
    for method in (queue.pause_queue, queue.resume_queue, queue.purge_queue, queue.count_purgeable):
        with pytest.raises(InvalidOption, match="queue must"):
            await method(name)


async def test_what_is_no_weight_and_no_reason(queue: Queue, database: Database) -> None:
    for weight in (0, 101, 1.5, True, "3", None):
        with pytest.raises(InvalidOption, match="weight must be a whole number from 1 to 100"):
            await queue.set_queue_weight("mail", weight, create=True)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidOption, match="at most 4000"):
        await queue.pause_queue("mail", "x" * 4001, create=True)
    assert await row(database, "mail") == {}
