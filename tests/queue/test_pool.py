"""The queue's own pool: how many connections, which ones are used again, and what a cancellation leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from uno_jobs import Queue
from uno_jobs.errors import DatabaseUnavailable, SchemaNotInstalled
from uno_jobs.storage.connections import pool as pools
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.connections.pool import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from uno_jobs.storage.connections.link import Steps

SIZE = 3


class Opened:
    """A pool, and all connections that it has opened."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.connections: list[Any] = []
        self.pool = Pool(self._connect, SIZE)

    async def _connect(self) -> Any:
        self.connections.append(await asyncpg.connect(self._url))
        return self.connections[-1]

    async def backend(self) -> int:
        async with self.pool.lend() as connection:
            return await connection.fetchval("SELECT pg_backend_pid()")


@pytest.fixture
async def opened(database: Any) -> AsyncGenerator[Opened]:
    opened = Opened(database.url)
    yield opened
    await opened.pool.close()
    assert all(connection.is_closed() for connection in opened.connections)


async def test_no_more_are_opened_than_there_are_places(opened: Opened) -> None:
    async def one() -> None:
        async with opened.pool.lend() as connection:
            await connection.fetchval("SELECT pg_sleep(0.01)")

    await asyncio.gather(*(one() for _ in range(5 * SIZE)))
    assert len(opened.connections) == SIZE


async def test_one_after_another_use_the_same(opened: Opened) -> None:
    assert await opened.backend() == await opened.backend()
    assert len(opened.connections) == 1


async def test_an_error_of_a_statement_costs_no_connection(opened: Opened) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with opened.pool.lend() as connection:
            await connection.execute("SELECT * FROM missing")
    await opened.backend()
    assert len(opened.connections) == 1


@pytest.mark.parametrize("error", [OSError("cut off"), TimeoutError(), asyncpg.InternalClientError("unexpected")])
async def test_after_an_error_that_leaves_a_connection_in_doubt_it_is_not_used_again(
    opened: Opened, error: Exception
) -> None:
    with pytest.raises(type(error)):
        async with opened.pool.lend() as connection:
            raise error
    assert connection.is_closed()
    await opened.backend()
    assert len(opened.connections) == 2


async def test_a_queue_tells_its_pool_what_went_wrong_not_what_it_tells_its_caller(database: Any) -> None:
    """The caller's error, DatabaseUnavailable, would not say that the connection is in doubt."""
    seen: list[str] = []

    def steps(error: Exception | None) -> Steps[None]:
        rows = yield Statement("SELECT pg_backend_pid()::text")
        seen.append(rows[0][0])
        if error is not None:
            raise error

    async with Queue(database.url) as queue:
        await queue._by_own(steps(None), whole=False)
        with pytest.raises(DatabaseUnavailable):
            await queue._by_own(steps(OSError("cut off")), whole=False)
        await queue._by_own(steps(None), whole=False)
    assert seen[0] == seen[1] != seen[2]


async def test_a_transaction_that_is_left_open_is_not_handed_on(opened: Opened) -> None:
    async with opened.pool.lend() as connection:
        await connection.execute("BEGIN")
    await opened.backend()
    assert len(opened.connections) == 2


async def test_a_cancelled_statement_takes_its_connection_with_it_and_frees_its_place(opened: Opened) -> None:
    async def hang(begun: asyncio.Event) -> None:
        async with opened.pool.lend() as connection:
            begun.set()
            await connection.execute("SELECT pg_sleep(600)")

    for _ in range(2 * SIZE):
        begun = asyncio.Event()
        task = asyncio.create_task(hang(begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(30):
        await opened.backend()
    assert len(opened.connections) == 2 * SIZE + 1


async def test_one_that_the_server_closed_is_not_lent_again(opened: Opened, database: Any) -> None:
    backend = await opened.backend()
    await database.connection.execute("SELECT pg_terminate_backend($1, 10000)", backend)
    async with asyncio.timeout(30):
        while not opened.connections[0].is_closed():
            await asyncio.sleep(0.01)
    assert await opened.backend() != backend


async def test_one_that_was_idle_for_long_is_closed(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = await opened.backend()
    monkeypatch.setattr(pools, "MAX_IDLE", -1.0)
    assert await opened.backend() != backend
    assert opened.connections[0].is_closed()


async def test_one_that_was_idle_for_long_is_not_waited_for(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, close = asyncio.Event(), pools._close

    async def late(connection: Any) -> None:
        await closed.wait()
        await close(connection)

    backend = await opened.backend()
    monkeypatch.setattr(pools, "MAX_IDLE", -1.0)
    monkeypatch.setattr(pools, "_close", late)
    async with asyncio.timeout(30):
        assert await opened.backend() != backend
    assert not opened.connections[0].is_closed()
    closed.set()


async def test_an_error_of_the_borrower_s_own_costs_no_connection(opened: Opened) -> None:
    with pytest.raises(LookupError):
        async with opened.pool.lend():
            raise LookupError
    await opened.backend()
    assert len(opened.connections) == 1


async def test_a_cancelled_statement_has_ended_when_the_borrower_goes_on(opened: Opened, database: Any) -> None:
    async def hang(begun: asyncio.Event) -> None:
        async with opened.pool.lend() as connection:
            await connection.execute("SET application_name = 'hanging'")
            begun.set()
            await connection.execute("SELECT pg_sleep(600)")

    begun = asyncio.Event()
    task = asyncio.create_task(hang(begun))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    active = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hanging' AND state = 'active'"
    assert await database.connection.fetchval(active) == 0


async def test_closing_waits_for_what_is_lent(opened: Opened) -> None:
    closing: asyncio.Task[None]
    async with opened.pool.lend() as connection:
        closing = asyncio.create_task(opened.pool.close())
        assert await connection.fetchval("SELECT 1") == 1
        assert not closing.done()
    await closing
    assert opened.connections[0].is_closed()


async def test_a_cancelled_enqueue_has_ended_when_the_caller_goes_on(database: Any, tasks: Any) -> None:
    sessions = (
        "SELECT count(*) FILTER (WHERE state = 'active'), array_agg(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'uno-jobs queue'"
    )
    async with Queue(database.url) as queue:
        await queue.enqueue(tasks.add, [1, 2])  # from here on, one plain job is one statement on the pool's connection
        _, before = await database.connection.fetchrow(sessions)
        locker = await asyncpg.connect(database.url)
        async with locker.transaction():
            await locker.execute("LOCK TABLE uno_jobs.live_jobs IN EXCLUSIVE MODE")
            enqueue = asyncio.create_task(queue.enqueue(tasks.add, [3, 4]))
            await database.wait_for_waiting()
            enqueue.cancel()
            with pytest.raises(asyncio.CancelledError):
                await enqueue
            assert await database.connection.fetchval(sessions) == 0
        await locker.close()
        await queue.enqueue(tasks.add, [5, 6])
        _, after = await database.connection.fetchrow(sessions)
    assert not {*before} & {*after}
    rows = await database.connection.fetch("SELECT args::text FROM uno_jobs.jobs ORDER BY id")
    assert [row[0] for row in rows] == ["[1, 2]", "[5, 6]"]


async def test_what_the_database_says_of_an_enqueue_is_translated_and_costs_no_connection(
    database: Any, tasks: Any
) -> None:
    backends = (
        "SELECT array_agg(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'uno-jobs queue'"
    )
    async with Queue(database.url) as queue:
        await queue.enqueue(tasks.add, [1, 2])
        before = await database.connection.fetchval(backends)
        await database.connection.execute("ALTER TABLE uno_jobs.live_jobs RENAME TO away")
        try:
            with pytest.raises(SchemaNotInstalled):
                await queue.enqueue(tasks.add, [3, 4])
        finally:
            await database.connection.execute("ALTER TABLE uno_jobs.away RENAME TO live_jobs")
        await queue.enqueue(tasks.add, [5, 6])
        assert await database.connection.fetchval(backends) == before
