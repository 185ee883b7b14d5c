"""``uno-jobs db``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import execute


def test_upgrade_current_check_downgrade(command: Any, database_url: str) -> None:
    schema = ("--schema", "Second Schema")
    assert command("db", "current", *schema, url=database_url).status == 1
    upgraded = command("db", "upgrade", *schema)
    assert (upgraded.status, upgraded.out) == (0, "schema Second Schema is at revision 0001\n")
    assert command("db", "upgrade", *schema).status == 0
    current = command("db", "current", "--json", *schema)
    assert (current.status, current.json) == (0, {"schema": "Second Schema", "revision": "0001", "newest": "0001"})
    checked = command("db", "check", "--json", *schema)
    assert (checked.status, checked.json) == (0, {"schema": "Second Schema", "ok": True, "differences": []})
    assert "--yes" in command("db", "downgrade", "base", *schema).err
    assert command("db", "downgrade", "base", "--yes", *schema).status == 0
    assert command("db", "current", *schema).status == 1
    assert command("db", "check", *schema).status == 1
    # The other schema was not touched.
    assert command("db", "check").out == "schema uno_jobs is as it should be\n"


@pytest.mark.parametrize(
    ("damage", "difference"),
    [
        ("DROP VIEW uno_jobs.failed_jobs", "the view failed_jobs is missing"),
        ("DROP INDEX uno_jobs.live_jobs_ready", "the index live_jobs_ready is missing"),
        ("DROP TABLE uno_jobs.progress CASCADE", "the table progress is missing"),
        ("DROP SEQUENCE uno_jobs.ready_seq", "the sequence ready_seq is missing"),
        ("DROP FUNCTION uno_jobs.beat", "the function beat is missing"),
        (
            "CREATE OR REPLACE FUNCTION uno_jobs.clock() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now()'",
            "the function clock has another body than this code's",
        ),
        (
            "CREATE FUNCTION uno_jobs.clock(x int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "the function clock(x integer) was added",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'uno_jobs.outcomes_failed'::regclass",
            "the index outcomes_failed is not valid",
        ),
        ("UPDATE uno_jobs.schema_version SET version_num = '0000'", "the schema is at revision 0000"),
    ],
)
def test_check_names_what_differs(command: Any, database_url: str, damage: str, difference: str) -> None:
    execute(database_url, damage)
    checked = command("db", "check", url=database_url)
    assert checked.status == 1
    assert difference in checked.out


def test_sql_needs_no_database_and_does_what_upgrade_does(command: Any, database_url: str) -> None:
    printed = command("db", "sql", "--schema", "by_hand")
    assert printed.status == 0

    async def run() -> None:
        import asyncpg

        connection = await asyncpg.connect(database_url)
        await connection.execute(printed.out)
        await connection.close()

    import asyncio

    asyncio.run(run())
    checked = command("db", "check", "--schema", "by_hand", url=database_url)
    assert (checked.status, checked.err) == (0, "")


def test_a_revision_that_there_is_not_is_named(command: Any, database_url: str) -> None:
    refused = command("db", "upgrade", "9999", url=database_url)
    assert refused.status == 2
    assert "9999" in refused.err


def test_a_role_that_may_not_is_told_so(command: Any, database_url: str) -> None:
    execute(
        database_url,
        "DO $$ BEGIN CREATE ROLE uno_jobs_test_nobody LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    host = database_url.rpartition("@")[2]
    url = f"postgresql://uno_jobs_test_nobody@{host}"
    try:
        refused = command("db", "upgrade", "--schema", "mine", url=url)
        assert refused.status == 1
        assert len(refused.err.splitlines()) == 1
        looked = command("status", url=url)
        assert looked.status == 1
        assert len(looked.err.splitlines()) == 1
    finally:
        execute(database_url, "DROP ROLE uno_jobs_test_nobody")
