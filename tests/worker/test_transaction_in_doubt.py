"""Commits of a job's own transaction whose answer does not come: found out, whichever way they went."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from tests.proxy import Proxy
from tests.worker.conftest import LIMIT, Database, running
from uno_jobs import get_current_job
from uno_jobs.tasks import task
from uno_jobs.transactions import block, doubt

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

NAME = "uno-jobs transaction"
ASYNCHRONOUS = ["session", "asyncpg", "psycopg"]
SYNCHRONOUS = ["session", "psycopg"]


@pytest.fixture
async def effects(database: Database) -> Database:
    await database.connection.execute("CREATE TABLE effects (attempt int NOT NULL)")
    return database


async def written(database: Database) -> list[int]:
    """Return which attempts left an effect."""
    return [row[0] for row in await database.connection.fetch("SELECT attempt FROM effects ORDER BY attempt")]


async def ends(database: Database, id_: UUID) -> list[str]:
    return [one["outcome"] for one in await database.attempts(id_)]


def define(kind: Any, before_end: Callable[[int], Any], after: list[Any]) -> Any:
    """A task that writes the number of its attempt, and calls something as the last of its block."""

    @task(max_retries=2, retry_delay=0)
    async def works() -> None:
        job = get_current_job()
        async with job.transaction(kind) as tx:
            statement = f"INSERT INTO effects VALUES ({job.attempt})"
            await (tx.session.execute(text(statement)) if kind == "session" else tx.connection.execute(statement))
            before_end(job.attempt)
        after.append(job.attempt)

    return works


def define_sync(kind: Any, before_end: Callable[[int], Any], after: list[Any]) -> Any:
    @task(max_retries=2, retry_delay=0, runs_in="thread")
    def works() -> None:
        job = get_current_job()
        with job.transaction(kind) as tx:
            statement = f"INSERT INTO effects VALUES ({job.attempt})"
            _ = tx.session.execute(text(statement)) if kind == "session" else tx.connection.execute(statement)
            before_end(job.attempt)
        after.append(job.attempt)

    return works


@pytest.mark.parametrize(
    ("define", "kind"),
    [*((define, kind) for kind in ASYNCHRONOUS), *((define_sync, kind) for kind in SYNCHRONOUS)],
)
@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (b"COMMIT\0", ["succeeded"]),  # the server committed
        (b"finish_in_transaction", ["retried", "succeeded"]),  # it has not been asked to
    ],
)
async def test_a_connection_lost_at_the_end_is_looked_into(
    effects: Database, define: Any, kind: Any, lost: bytes, expected: list[str]
) -> None:
    after: list[Any] = []
    async with Proxy(effects.url) as proxy:
        happened: list[asyncio.Event] = []

        def lose(attempt: int) -> None:
            if attempt == 1:
                happened.append(proxy.lose_reply(NAME, containing=lost))

        works = define(kind, lose, after)
        (id_,) = await effects.put(works)
        async with running(proxy.url):
            await effects.wait_for(id_, "succeeded")
            async with asyncio.timeout(LIMIT):
                while not after:
                    await asyncio.sleep(0.005)
    assert happened[0].is_set()
    assert await ends(effects, id_) == expected
    assert await written(effects) == after == [len(expected)]


@pytest.mark.parametrize(
    ("define", "kind"),
    [*((define, kind) for kind in ASYNCHRONOUS), *((define_sync, kind) for kind in SYNCHRONOUS)],
)
async def test_a_network_that_falls_silent_at_the_end_is_given_up(
    effects: Database, define: Any, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "COMMIT_TIMEOUT", 0.5)
    given_up = threading.Event()
    look_up = doubt.look_up

    async def tell(*args: Any) -> Any:
        given_up.set()
        return await look_up(*args)

    for module in (block, doubt):
        monkeypatch.setattr(module, "look_up", tell)
    after: list[Any] = []
    async with Proxy(effects.url) as proxy:
        loop = asyncio.get_running_loop()

        def fall_silent(attempt: int) -> None:
            if attempt == 1:
                loop.call_soon_threadsafe(proxy.speaking.clear)

        works = define(kind, fall_silent, after)
        (id_,) = await effects.put(works)
        async with running(proxy.url):
            assert await asyncio.to_thread(given_up.wait, LIMIT)
            proxy.speaking.set()
            await effects.wait_for(id_, "succeeded")
            async with asyncio.timeout(LIMIT):
                while not after:
                    await asyncio.sleep(0.005)
    assert await ends(effects, id_) == ["retried", "succeeded"]
    assert await written(effects) == after == [2]


async def test_a_lease_that_is_over_is_told_from_a_commit_that_was_lost(effects: Database) -> None:
    after: list[Any] = []
    async with Proxy(effects.url) as proxy:
        inside, go_on = asyncio.Event(), asyncio.Event()

        @task
        async def works() -> None:
            job = get_current_job()
            async with job.transaction() as tx:
                await tx.session.execute(text(f"INSERT INTO effects VALUES ({job.attempt})"))
                inside.set()
                await go_on.wait()
                if job.attempt == 1:
                    proxy.lose_reply(NAME, containing=b"the lease of job")
            after.append(job.attempt)

        (id_,) = await effects.put(works)
        async with running(proxy.url) as worker:
            await asyncio.wait_for(inside.wait(), LIMIT)
            await effects.connection.execute("SELECT uno_jobs.rescue($1, 'a test', 3)", worker.identity.id)
            go_on.set()
            await effects.wait_for(id_, "succeeded")
    assert await ends(effects, id_) == ["lost", "succeeded"]
    assert await written(effects) == after == [2]
