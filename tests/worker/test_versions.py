"""Versions: a rolling deploy, upgrades, enqueueing by name, and jobs of unknown versions at the head of a queue."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import uuid_utils.compat as uuids

from tests.worker.conftest import LIMIT, Database, running, until_empty
from uno_jobs.context import get_current_job
from uno_jobs.errors import InvalidArguments, TaskNotFound
from uno_jobs.queue import Queue
from uno_jobs.tasks import TaskRegistry, task

if TYPE_CHECKING:
    from uuid import UUID

    from uno_jobs.tasks.registry import Registry

Ran = list[tuple[str, str, str, Any]]
"""What ran: the version of the code, that of the job, and the arguments."""


def rename(args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Make the call of version 1.0 one of 2.0."""
    return args, {"options": {"from": "1.0"}, **kwargs}


def old_code(ran: Ran) -> Registry:
    """The tasks of an application before the deploy."""
    with TaskRegistry.isolated() as registry:

        @task(name="process_data", version="1.0")
        async def process_data_v1(data_id: str) -> str:
            ran.append(("1.0", get_current_job().version, data_id, None))
            return f"{data_id} by 1.0"

    return registry


def new_code(ran: Ran, *, upgrade: bool = False) -> Registry:
    """The tasks of the application after it."""
    with TaskRegistry.isolated() as registry:

        @task(name="process_data", version="2.0", upgrade_from={"1.0": rename} if upgrade else {})
        async def process_data_v2(data_id: str, options: dict[str, Any] | None = None) -> str:
            ran.append(("2.0", get_current_job().version, data_id, options))
            return f"{data_id} by 2.0"

    return registry


async def put(database: Database, version: str, data_ids: list[str], *, queue: str = "default") -> list[UUID]:
    ids = [uuids.uuid7() for _ in data_ids]
    many = len(ids)
    await database.connection.execute(
        "SELECT uno_jobs.enqueue_plain($1, $2, $3, $4, $5, $6, $7, NULL, NULL, NULL, NULL, true)",
        ids,
        ["process_data"] * many,
        [version] * many,
        [queue] * many,
        [5] * many,
        [json.dumps([data_id]) for data_id in data_ids],
        ["{}"] * many,
    )
    return ids


async def by_state(database: Database, version: str) -> Counter[str]:
    rows = await database.connection.fetch(
        "SELECT state::text FROM uno_jobs.job_status WHERE task = 'process_data' AND version = $1", version
    )
    return Counter(row[0] for row in rows)


async def all_finished(database: Database, ids: list[UUID]) -> None:
    await database.wait_until(
        "SELECT count(*) = cardinality($1::uuid[]) FROM uno_jobs.outcomes WHERE id = ANY ($1)", ids
    )


async def test_a_rolling_deploy(database: Database) -> None:
    """No job fails, and none is touched by a worker that does not know its version."""
    ran: Ran = []
    async with contextlib.AsyncExitStack() as stack:
        old = await stack.enter_async_context(running(database.url, registry=old_code(ran), concurrency=10))
        # The application is ahead of the workers: its new processes enqueue what nobody knows yet.
        early = await put(database, "2.0", [f"early {n}" for n in range(50)])
        ones = await put(database, "1.0", [f"one {n}" for n in range(200)])
        await all_finished(database, ones)
        rows = await database.connection.fetch("SELECT state::text, attempt FROM uno_jobs.live_jobs")
        assert Counter(map(tuple, rows)) == {("ready", 0): 50}

        new = await stack.enter_async_context(running(database.url, registry=new_code(ran), concurrency=10))
        # Side by side, with both kinds of application still enqueueing.
        for round_ in range(20):
            ones += await put(database, "1.0", [f"one {round_}.{n}" for n in range(10)])
            early += await put(database, "2.0", [f"two {round_}.{n}" for n in range(10)])
        await all_finished(database, ones + early)
        workers = dict(
            await database.connection.fetch("""
                SELECT DISTINCT j.version, a.worker_id FROM uno_jobs.attempts a JOIN uno_jobs.jobs j ON j.id = a.job_id
                """)
        )
        assert workers == {"1.0": old.identity.id, "2.0": new.identity.id}

    assert await by_state(database, "1.0") == {"succeeded": 400}
    assert await by_state(database, "2.0") == {"succeeded": 250}
    assert all(code == version for code, version, *_ in ran)
    # Each was started once: nobody took one, and gave it back.
    assert {row[0] for row in await database.connection.fetch("SELECT attempt FROM uno_jobs.outcomes")} == {1}
    # Both kinds know of both versions.
    assert dict(await database.connection.fetch("SELECT version, task FROM uno_jobs.task_versions")) == {
        "1.0": "process_data",
        "2.0": "process_data",
    }


async def test_the_new_version_takes_over_jobs_of_the_old(database: Database) -> None:
    ran: Ran = []
    async with contextlib.AsyncExitStack() as stack:
        async with running(database.url, registry=old_code(ran)):
            await stack.enter_async_context(running(database.url, registry=new_code(ran, upgrade=True)))
            both = await put(database, "1.0", [f"one {n}" for n in range(50)])
            await all_finished(database, both)
        # The old worker is gone.
        left = await put(database, "1.0", ["left over"])
        await all_finished(database, left)

    assert await by_state(database, "1.0") == {"succeeded": 51}
    assert ran[-1] == ("2.0", "1.0", "left over", {"from": "1.0"})
    assert {(code, options and options["from"]) for code, _, _, options in ran} <= {("1.0", None), ("2.0", "1.0")}
    # Rewritten in memory only: the job still says what was asked for.
    job = await database.job(left[0])
    assert (job["version"], job["args"], job["kwargs"]) == ("1.0", '["left over"]', "{}")


async def test_by_name_without_version_the_highest_living_is_meant(database: Database) -> None:
    ran: Ran = []

    async def enqueue(*args: Any) -> str:
        # A queue of its own each time: one remembers for some seconds what it has looked up.
        async with Queue(database.url) as queue:
            handle = await queue.enqueue("process_data", args=list(args))
            async with asyncio.timeout(LIMIT):
                return await handle.result()

    with pytest.raises(TaskNotFound, match="process_data"):
        await enqueue("too early")
    async with running(database.url, registry=old_code(ran)):
        assert await enqueue("a") == "a by 1.0"
        async with running(database.url, registry=new_code(ran)):
            assert await enqueue("b") == "b by 2.0"
            with pytest.raises(InvalidArguments, match="data_id"):
                await enqueue(["no text"])
        # What was rolled back is nobody's to run.
        assert await enqueue("c") == "c by 1.0"
    with pytest.raises(TaskNotFound, match="process_data"):
        await enqueue("too late")


async def test_by_name_a_version_may_be_asked_for(database: Database) -> None:
    ran: Ran = []
    async with (
        Queue(database.url) as queue,
        running(database.url, registry=old_code(ran)),
        running(database.url, registry=new_code(ran)),
    ):
        handle = await queue.enqueue("process_data", args=["d"], version="1.0")
        assert await handle.result() == "d by 1.0"
        handle = await queue.enqueue("process_data", args=["d"], version="2.0")
        assert await handle.result() == "d by 2.0"
        with pytest.raises(TaskNotFound, match=r"3\.0"):
            await queue.enqueue("process_data", args=["d"], version="3.0")


async def test_what_this_process_has_registered_comes_first(database: Database) -> None:
    ran: Ran = []

    @task(name="process_data", version="1.5")
    async def process_data(data_id: str) -> str:
        return f"{data_id} by 1.5"

    async with Queue(database.url) as queue, running(database.url, registry=new_code(ran)):
        handle = await queue.enqueue("process_data", args=["e"])
        assert (await handle.status()).version == "1.5"
    await until_empty(database.url)
    async with Queue(database.url) as queue:
        assert (await queue.job(handle.id)).result == "e by 1.5"


UNKNOWN = 100_000
KNOWN = 5_000
ROUNDS = 5


async def test_jobs_of_an_unknown_version_do_not_slow_down_those_behind_them(database: Database) -> None:
    """Two queues, alike but for 100,000 jobs of an unknown version at the head of one: drained in turns."""
    connection = database.connection
    await connection.execute(
        """
        WITH new AS (
            INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
            SELECT gen_random_uuid(), now(), 5, 'process_data', '9.0', 'blocked', '[]', '{}'
            FROM generate_series(1, $1::integer) RETURNING id, priority, task, version, queue
        )
        INSERT INTO uno_jobs.live_jobs (id, seq, state, priority, task, version, queue)
        SELECT id, nextval('uno_jobs.ready_seq'), 'ready', priority, task, version, queue FROM new
        """,
        UNKNOWN,
    )
    await connection.execute("ANALYZE uno_jobs.jobs; ANALYZE uno_jobs.live_jobs")
    registry = old_code([])

    async def drain(queue: str) -> float:
        """Seconds from the worker's first look to the end of the last job."""
        ids = await put(database, "1.0", [str(n) for n in range(KNOWN)], queue=queue)
        began = await connection.fetchval("SELECT clock_timestamp()")
        async with running(database.url, registry=registry, queues=((queue, None),)):
            await all_finished(database, ids)
        return await connection.fetchval(
            "SELECT extract(epoch FROM max(finished_at) - $2)::float FROM uno_jobs.outcomes WHERE id = ANY ($1)",
            ids,
            began,
        )

    await drain("clear")  # warms up both the server and this process

    async def ratio() -> float:
        """How much longer it takes behind the others: the median of pairs that were measured one after the other."""
        pairs: list[float] = []
        for round_ in range(ROUNDS):
            seconds = {queue: await drain(queue) for queue in sorted(["blocked", "clear"], reverse=bool(round_ % 2))}
            pairs.append(seconds["blocked"] / seconds["clear"])
        return statistics.median(pairs)

    # A busy machine may spoil a measurement, but not three of them.
    measured = [await ratio()]
    while measured[-1] > 1.5 and len(measured) < 3:
        measured.append(await ratio())
    assert min(measured) <= 1.5, measured
    row = await connection.fetchrow(
        "SELECT count(*), max(attempt), bool_and(state = 'ready') FROM uno_jobs.live_jobs WHERE version = '9.0'"
    )
    assert row is not None
    assert tuple(row) == (UNKNOWN, 0, True)
