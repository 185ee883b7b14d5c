"""Migrations on a real server: up, down, twice at once, under odd names, and as SQL for somebody else to run."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from tests.storage import invariants
from tests.storage.catalog import catalog
from tests.storage.lab import Hand, Lab
from uno_jobs.errors import CodeTooOld, DatabaseUnavailable, SchemaNotInstalled, SchemaTooOld
from uno_jobs.storage import migrations
from uno_jobs.storage.schema import quote_schema
from uno_jobs.storage.session import check_schema, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.server_versions

ODD_NAMES = ["Weird Name-2", "user", "a.b", "UNO_JOBS", "ß" * 31 + "x"]


@pytest.fixture(autouse=True)
def sound() -> None:
    """The tests here check for themselves, in whichever schema."""


@contextlib.asynccontextmanager
async def looking(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def upgrade(url: str, schema: str = "uno_jobs") -> None:
    await asyncio.to_thread(migrations.upgrade, url, schema)


async def downgrade(url: str, schema: str = "uno_jobs") -> None:
    await asyncio.to_thread(migrations.downgrade, url, schema)


async def runs_a_job(url: str, schema: str) -> None:
    lab = await Lab.open(url, schema)
    try:
        hand = await lab.hand()
        ids = await lab.put(3)
        assert [job["id"] for job in await hand.claim()] == ids
        assert await hand.end(ids[2], "retried", delay=60, error="no") == {}
        assert await hand.succeed(ids[:2]) == {}
        assert await lab.states() == {"succeeded": 2, "scheduled": 1}
        await invariants.check(lab.eye, schema)
    finally:
        await lab.close()


def test_the_newest_revision_is_that_of_alembic() -> None:
    assert ScriptDirectory.from_config(migrations.make_config()).get_current_head() == migrations.newest_revision()


async def test_up_down_and_up_again(empty_database_url: str) -> None:
    assert await asyncio.to_thread(migrations.current_revision, empty_database_url) is None
    await upgrade(empty_database_url)
    await upgrade(empty_database_url)
    assert await asyncio.to_thread(migrations.current_revision, empty_database_url) == migrations.newest_revision()
    async with looking(empty_database_url) as connection:
        first = await catalog(connection, "uno_jobs")
        await downgrade(empty_database_url)
        left = await catalog(connection, "uno_jobs")
        assert {row[0] for row in left["relations"]} == {"schema_version", "schema_version_pkc"}
        assert not left["functions"]
        assert not left["enums"]
        await upgrade(empty_database_url)
        assert await catalog(connection, "uno_jobs") == first
    await runs_a_job(empty_database_url, "uno_jobs")


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
async def test_two_processes_upgrade_at_once(empty_database_url: str, isolation: str) -> None:
    async with looking(empty_database_url) as connection:
        database = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"""ALTER DATABASE "{database}" SET default_transaction_isolation = '{isolation}'""")
        # Both are held up before the first look at the schema, so that neither finds the other's work done.
        await connection.execute("SELECT pg_advisory_lock(hashtextextended('uno-jobs migrations uno_jobs', 0))")
        code = "import sys; from uno_jobs.storage.migrations import upgrade; upgrade(sys.argv[1])"
        processes = [subprocess.Popen([sys.executable, "-c", code, empty_database_url]) for _ in range(2)]
        try:
            async with asyncio.timeout(30):
                while await connection.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                ) < len(processes):
                    await asyncio.sleep(0.01)
            await connection.execute("SELECT pg_advisory_unlock_all()")
            assert [await asyncio.to_thread(process.wait, 30) for process in processes] == [0, 0]
        finally:
            for process in processes:
                process.kill()
                process.wait()
    await runs_a_job(empty_database_url, "uno_jobs")


@pytest.mark.parametrize("schema", ODD_NAMES)
async def test_odd_names(empty_database_url: str, schema: str) -> None:
    await upgrade(empty_database_url, schema)
    await runs_a_job(empty_database_url, schema)
    async with looking(empty_database_url) as connection:
        channel = await connection.fetchval(f"SELECT channel FROM {quote_schema(schema)}.schema_info")
        assert len(channel.encode()) < 64
        # Everything that was made is in this schema.
        made = (
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ($1)"
        )
        assert await connection.fetchval(made, ["public", "uno_jobs"]) == 0
    await downgrade(empty_database_url, schema)
    assert await asyncio.to_thread(migrations.current_revision, empty_database_url, schema) is None


async def test_two_schemas_in_one_database_do_not_meet(empty_database_url: str) -> None:
    await upgrade(empty_database_url)
    await upgrade(empty_database_url, "Weird Name-2")
    one, other = await Lab.open(empty_database_url), await Lab.open(empty_database_url, "Weird Name-2")
    try:
        heard: list[str] = []
        await one.eye.add_listener(await (await one.hand()).gateway.channel(), lambda *got: heard.append(got[3]))
        sleeper = await other.hand()
        await sleeper.gateway.mark_hungry(sleeper.id, ["default"], 60)
        ids = await other.put(2)
        assert await (await one.hand()).claim() == []
        assert {job["id"] for job in await sleeper.claim()} == set(ids)
        await one.eye.execute("SELECT pg_notify((SELECT channel FROM uno_jobs.schema_info), 'end')")
        async with asyncio.timeout(30):
            while "end" not in heard:
                await one.eye.fetchval("SELECT 1")
        assert heard == ["end"]
    finally:
        await one.close()
        await other.close()
    # The one goes, the other stays.
    await downgrade(empty_database_url)
    await runs_a_job_of_another(empty_database_url)


async def runs_a_job_of_another(url: str) -> None:
    connection = await connect(url, "Weird Name-2")
    try:
        assert await Hand(connection, "Weird Name-2").claim() == []
    finally:
        await connection.close()


async def test_an_applications_own_alembic_is_left_alone(empty_database_url: str) -> None:
    async with looking(empty_database_url) as connection:
        await connection.execute(
            "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('app7')"
        )
        await upgrade(empty_database_url)
        await downgrade(empty_database_url)
        await upgrade(empty_database_url)
        assert [tuple(row) for row in await connection.fetch("SELECT * FROM alembic_version")] == [("app7",)]


@pytest.mark.parametrize("schema", ["uno_jobs", "Weird Name-2"])
async def test_the_offline_sql_makes_the_same_schema(empty_database_url: str, schema: str) -> None:
    quoted = quote_schema(schema)
    await upgrade(empty_database_url, schema)
    async with looking(empty_database_url) as connection:
        online = await catalog(connection, quoted)
        await connection.execute(f"DROP SCHEMA {quoted} CASCADE")
        await connection.execute(await asyncio.to_thread(migrations.offline_sql, schema))
        offline = await catalog(connection, quoted)
    for part, rows in online.items():
        assert offline[part] == rows, part
    assert await asyncio.to_thread(migrations.current_revision, empty_database_url, schema) == "0001"
    await upgrade(empty_database_url, schema)  # finds nothing to do
    await runs_a_job(empty_database_url, schema)


async def test_everything_is_commented(database_url: str) -> None:
    async with looking(database_url) as connection:
        found = await catalog(connection, "uno_jobs")
    ours = [row for row in found["relations"] if row[0] != "schema_version"]
    silent = [row[0] for row in ours if row[1] in "rvS" and not row[4]]
    relations = {row[0] for row in ours if row[1] in "rv"}
    silent += [f"{row[0]}.{row[1]}" for row in found["columns"] if row[0] in relations and not row[6]]
    silent += [f"{row[0]}()" for row in found["functions"] if not row[8]]
    silent += [row[0] for part in ("enums", "domains") for row in found[part] if not row[2]]
    only_row = "schema_info.only_row"
    assert [name for name in silent if name != only_row] == []
    assert len(relations) > 15
    assert len(found["functions"]) > 25


async def test_functions_do_not_depend_on_the_callers_search_path(database_url: str) -> None:
    async with looking(database_url) as connection:
        found = await catalog(connection, "uno_jobs")
    loose = {row[0] for row in found["functions"] if not any("search_path=" in s for s in row[7] or ())}
    # clock() is inlined, which a SET forbids; it names all that it uses in full.
    assert loose == {"clock"}
    # And STABLE, so that it may bound the scan of an index (hazard 21).
    assert [row[4] for row in found["functions"] if row[0] == "clock"] == ["s"]


async def test_a_missing_schema_is_refused(empty_database_url: str) -> None:
    async with looking(empty_database_url) as connection:
        with pytest.raises(SchemaNotInstalled, match="uno-jobs db upgrade"):
            await check_schema(connection)
        await upgrade(empty_database_url)
        await check_schema(connection)
        with pytest.raises(SchemaNotInstalled, match="'other'"):
            await check_schema(connection, "other")
        await downgrade(empty_database_url)
        with pytest.raises(SchemaNotInstalled):
            await check_schema(connection)


async def test_a_schema_of_another_age(database_url: str) -> None:
    async with looking(database_url) as connection:
        await connection.execute("UPDATE uno_jobs.schema_info SET revision = 0")
        with pytest.raises(SchemaTooOld, match="uno-jobs db upgrade"):
            await check_schema(connection)
        # One release newer that still serves this code: a rolling upgrade goes on.
        await connection.execute("UPDATE uno_jobs.schema_info SET revision = 2, min_code = 1")
        await check_schema(connection)
        await connection.execute("UPDATE uno_jobs.schema_info SET revision = 3, min_code = 2")
        with pytest.raises(CodeTooOld, match="upgrade uno-jobs here"):
            await check_schema(connection)


async def test_what_cannot_be_reached_is_named(empty_database_url: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        await upgrade("postgresql://postgres@127.0.0.1:1/nowhere")
    missing = empty_database_url.rsplit("/", 1)[0] + "/h_no_such_database"
    with pytest.raises(DatabaseUnavailable, match="h_no_such_database"):
        await upgrade(missing)
    with pytest.raises(DatabaseUnavailable, match="h_no_such_database"):
        await connect(missing)
