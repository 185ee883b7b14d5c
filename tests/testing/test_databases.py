"""Databases for tests: fresh, quick to make, and gone afterwards."""

from __future__ import annotations

import asyncio
import secrets
from urllib.parse import urlsplit

import asyncpg
import pytest

from uno_jobs.testing.databases import Databases


async def run(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


class Migration:
    """A migration that counts its calls, and needs to be where no event loop runs, as alembic's does."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, url: str) -> None:
        self.calls += 1
        asyncio.run(run(url, "CREATE TABLE things (n int)"))


async def names(url: str, like: str) -> list[str]:
    return [row[0] for row in await run(url, f"SELECT datname FROM pg_database WHERE datname LIKE '{like}%'")]


def prefix(url: str) -> str:
    return urlsplit(url).path.removeprefix("/").rpartition("_")[0]


def test_each_is_fresh_and_migrated_once_for_all(server_url: str):
    migration = Migration()
    databases = Databases(server_url, migration)
    with databases.migrated() as one, databases.migrated() as other:
        asyncio.run(run(one, "INSERT INTO things VALUES (1)"))
        assert asyncio.run(run(other, "SELECT * FROM things")) == []
        assert one != other
    with databases.empty() as empty, pytest.raises(asyncpg.UndefinedTableError):
        asyncio.run(run(empty, "SELECT * FROM things"))
    assert migration.calls == 1
    databases.close()
    databases.close()
    assert asyncio.run(names(server_url, prefix(one))) == []


async def test_an_event_loop_may_ask_too(server_url: str):
    databases = Databases(f"{server_url}?application_name=uno", Migration())
    with databases.migrated() as url:
        assert await run(url, "SELECT * FROM things") == []
        left_open = await asyncpg.connect(url)
    assert await names(server_url, prefix(url)) == [f"{prefix(url)}_template"]
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await left_open.fetchval("SELECT 1")
    await left_open.close()
    databases.close()


async def test_a_migration_that_fails_leaves_no_template(server_url: str):
    seen: list[str] = []

    def fail(url: str) -> None:
        seen.append(url)
        raise LookupError("no such revision")

    databases = Databases(server_url, fail)
    with pytest.raises(LookupError), databases.migrated():
        pass
    assert await names(server_url, prefix(seen[0])) == []
    databases.close()


async def test_a_connection_that_was_cut_is_made_anew_and_none_is_left(server_url: str):
    ours = f"FROM pg_stat_activity WHERE application_name = '{(name := 'cut_' + secrets.token_hex(4))}'"
    databases = Databases(f"{server_url}?application_name={name}", Migration())
    for _ in range(2):
        with databases.empty():
            assert await run(server_url, f"SELECT pg_terminate_backend(pid, 10000) {ours}") == [(True,)]
    databases.close()
    while await run(server_url, f"SELECT 1 {ours}"):
        await asyncio.sleep(0.01)


async def test_somebody_in_the_template_is_waited_for(server_url: str):
    databases = Databases(server_url, Migration())
    with databases.migrated() as url:
        pass
    inside = await asyncpg.connect(databases.url_of(f"{prefix(url)}_template"))

    def make() -> None:
        with databases.migrated() as url:
            asyncio.run(run(url, "SELECT * FROM things"))

    made = asyncio.create_task(asyncio.to_thread(make))
    while not await run(server_url, f"SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE%{prefix(url)}_2%'"):
        await asyncio.sleep(0.01)
    await inside.close()
    await made
    databases.close()
